"""``python -m benchmarks.bad_inputs``: try every kind of bad input and count, by door, what was survived."""

import argparse
import json
import sys
from collections import Counter
from dataclasses import asdict

from rich.table import Table

from benchmarks.bad_inputs.kind import Trial
from benchmarks.bad_inputs.trying import try_bombs, try_each
from benchmarks.machine import out


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bad_inputs", description=__doc__)
    parser.add_argument("--json", action="store_true", help="Print one JSON object.")
    parser.add_argument("--bombs", action="store_true", help="Only what is made to fill memory, a line each.")
    arguments = parser.parse_args()
    if arguments.bombs:
        try_bombs()
        return
    trials = try_each()
    lost = [trial for trial in trials if not trial.survived]
    if arguments.json:
        rows = [asdict(trial) for trial in trials]
        counts = {"tried": len(trials), "survived": len(trials) - len(lost), "lost": len(lost)}
        print(json.dumps({**counts, "rows": rows}, indent=2))
    else:
        _show(trials)
        for trial in lost:
            print(f"lost: {trial.door}: {trial.name}: {trial.problem}")
    sys.exit(bool(lost))


def _show(trials: list[Trial]) -> None:
    table = Table("comes in as", "kinds", "survived", "most memory above the start, MiB")
    kinds, survived = Counter(t.door for t in trials), Counter(t.door for t in trials if t.survived)
    for door, count in kinds.items():
        most = max(trial.grown_mib for trial in trials if trial.door == door)
        table.add_row(door, str(count), str(survived[door]), f"{most:.0f}")
    table.add_row("all", str(len(trials)), str(sum(survived.values())), "")
    out().print(table)


if __name__ == "__main__":
    main()
