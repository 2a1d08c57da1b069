"""``python -m benchmarks.faults``."""

from benchmarks.faults.command import start

if __name__ == "__main__":
    start()
