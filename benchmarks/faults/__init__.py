"""Break things on purpose; nothing may be lost: ``python -m benchmarks.faults --profile quick --json``."""
