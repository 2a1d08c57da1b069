"""How much memory each step over a whole gallery takes, from a thousand photos to a million.

``python -m benchmarks.memory --rows 1000,10000,100000,1000000 --json``

Each step runs in a fresh process, whose highest resident memory is asked of the system when it ends. This process
imports nothing large: a new process begins with the highest memory of the one that started it.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

SIZES = "1000,10000,100000,1000000"
STEPS = (
    *("index", "index again", "read index", "write shards", "sign", "verify", "summarise", "gate"),
    *("make folder", "list folder"),
)
MADE_FOR_OTHERS = ("make folder",)  # run, but not measured
MEBIBYTE = 2**20


def main() -> None:
    arguments = _arguments()
    if arguments.child:
        _run_child(arguments)
        return
    sizes = sorted({int(rows) for rows in arguments.rows.split(",")})
    results = []
    for rows in sizes:
        results += measure(rows, shard_size=arguments.shard_size, parent=arguments.folder)
    report = {
        "unit": "MiB of highest resident memory",
        "shard_size": arguments.shard_size,
        "sizes": sizes,
        "steps": results,
        "growth": growth(results),
        "machine": _machine(),
    }
    print(json.dumps(report, indent=2) if arguments.json else as_table(results, sizes))


def measure(rows: int, *, shard_size: int, parent: Path | None = None) -> list[dict[str, Any]]:
    """Run all steps on a synthetic gallery of so many photos; return each one's memory and seconds."""
    folder = Path(tempfile.mkdtemp(prefix="avih-memory-", dir=parent))
    found = []
    try:
        for step in STEPS:
            print(f"{rows} photos: {step}", file=sys.stderr)
            measured = _in_fresh_process(step, rows=rows, shard_size=shard_size, folder=folder)
            if step not in MADE_FOR_OTHERS:
                found.append({"step": step, "rows": rows, **measured})
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return found


def _in_fresh_process(step: str, *, rows: int, shard_size: int, folder: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.memory", "--child", step, "--rows", str(rows),
               "--shard-size", str(shard_size), "--folder", str(folder)]  # fmt: skip
    # One thread: several would each keep buffers of their own, more on a machine with more cores.
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


def _run_child(arguments: argparse.Namespace) -> None:
    """Run one step in this process and print what it took."""
    import pyarrow as pa

    pa.set_cpu_count(1)
    from benchmarks import memory_steps

    imported = _peak()
    began = time.perf_counter()
    memory_steps.run(
        arguments.child, folder=arguments.folder, rows=int(arguments.rows), shard_size=arguments.shard_size
    )
    seconds = round(time.perf_counter() - began, 2)
    print(json.dumps({"peak_mib": _peak(), "imported_mib": imported, "seconds": seconds}))


def _peak() -> float:
    """Return the highest resident memory of this process so far, in MiB."""
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
    return round(used * unit / MEBIBYTE, 1)


def growth(results: list[dict[str, Any]]) -> dict[str, float]:
    """Return by how much each step's memory at the largest size exceeds that at the smallest, in MiB."""
    by_step: dict[str, list[dict[str, Any]]] = {}
    for result in sorted(results, key=lambda result: result["rows"]):
        by_step.setdefault(result["step"], []).append(result)
    return {step: round(found[-1]["peak_mib"] - found[0]["peak_mib"], 1) for step, found in by_step.items()}


def as_table(results: list[dict[str, Any]], sizes: list[int]) -> str:
    """Return a Markdown table: steps down, sizes across, highest resident memory in MiB and seconds."""
    cells = {(result["step"], result["rows"]): result for result in results}
    grown = growth(results)
    lines = [
        f"| step | {' | '.join(f'{rows:,}' for rows in sizes)} | more |",
        f"|---|{'---|' * (len(sizes) + 1)}",
    ]
    for step in grown:
        found = [cells[step, rows] for rows in sizes]
        figures = " | ".join(f"{result['peak_mib']:.0f} ({result['seconds']:.1f} s)" for result in found)
        lines.append(f"| {step} | {figures} | {grown[step]:+.0f} |")
    return "\n".join([*lines, "", "MiB of highest resident memory of a fresh process (and its seconds)."])


def _machine() -> dict[str, str]:
    uname = os.uname()
    return {"system": uname.sysname, "machine": uname.machine, "python": sys.version.split()[0]}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure the memory of every step over a whole gallery.")
    parser.add_argument("--rows", default=SIZES, help="numbers of photos, with commas between")
    parser.add_argument("--shard-size", type=int, default=2000, help="photos per shard")
    parser.add_argument("--folder", type=Path, help="where the synthetic galleries are made (and removed)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--child", choices=STEPS, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
