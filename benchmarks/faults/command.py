"""The command: which faults, how many attempts, and the table or the JSON object that comes out."""

import argparse
import json
import os
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from benchmarks.faults.bench import Bench, Profile
from benchmarks.faults.fault import Fault, Row, try_fault
from benchmarks.faults.registry import all_faults
from benchmarks.machine import describe_machine, err, out

COLUMNS = ("fault", "tried", "survived", "lost", "seconds", "note")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; return the exit code: 1 if anything was lost, 2 for what cannot be done."""
    options = _parse(arguments)
    if options.markdown:
        print(as_markdown(json.loads(options.markdown.read_text())))
        return 0
    faults = [fault for fault in all_faults() if fault.attempts(options.profile)]
    chosen = [fault for fault in faults if not options.only or _wanted(fault, options.only)]
    if not chosen:
        names = "\n  ".join(fault.name for fault in faults)
        err.print(f"Expected --only to name a fault, got none of these:\n  {names}", markup=False)
        return 2
    report = run(chosen, profile=options.profile, seed=options.seed, most=options.attempts)
    if options.json:
        print(json.dumps(report, indent=2))
    else:
        out().print(as_table(report))
    return 1 if report["lost"] else 0


def run(faults: Sequence[Fault], *, profile: Profile, seed: int, most: int | None = None) -> dict[str, Any]:
    """Try faults one after another and return what became of them; ``most`` limits the attempts at each."""
    began = time.monotonic()
    with Bench(profile, seed, say=_say) as bench:
        bench.say(f"profile {profile}, seed {seed}")
        rows: list[Row] = []
        for number, fault in enumerate(faults, start=1):
            rows.append(try_fault(fault, bench, most=most))
            bench.say(
                f"[{number}/{len(faults)}] {fault.name}: {rows[-1].survived} of {rows[-1].tried} survived"
            )
    return {
        "tried": sum(row.tried for row in rows),
        "survived": sum(row.survived for row in rows),
        "lost": sum(row.lost for row in rows),
        "profile": profile,
        "seed": seed,
        "seconds": round(time.monotonic() - began, 1),
        "machine": describe_machine(),
        "rows": [row.as_json() for row in rows],
    }


def as_table(report: dict[str, Any]) -> Table:
    """Draw the rows, the sums last."""
    table = Table(*COLUMNS, title=f"Faults, profile {report['profile']}, seed {report['seed']}")
    for row in report["rows"]:
        losses = "".join(f"\nLOST: {loss}" for loss in row["losses"])
        table.add_row(*(str(row[name]) for name in COLUMNS[:-1]), row["note"] + losses)
    sums = [str(report[name]) for name in ("tried", "survived", "lost", "seconds")]
    table.add_row("all", *sums, "", style="bold")
    return table


def as_markdown(report: dict[str, Any]) -> str:
    """Write the rows as the table that stands in the documentation."""
    lines = ["| fault | tried | survived | lost | note |", "|---|---|---|---|---|"]
    lines += [
        f"| {row['fault']} | {row['tried']} | {row['survived']} | {row['lost']} | {row['note']} |"
        for row in report["rows"]
    ]
    sums = " | ".join(f"**{report[name]}**" for name in ("tried", "survived", "lost"))
    return "\n".join([*lines, f"| **all** | {sums} | {report['seconds']:.0f} s |"])


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description=__doc__)
    parser.add_argument("--profile", choices=("quick", "full"), default="quick")
    parser.add_argument("--json", action="store_true", help="print one JSON object on standard output")
    parser.add_argument(
        "--only", action="append", metavar="TEXT", help="faults whose name holds it; repeatable"
    )
    parser.add_argument("--attempts", type=int, default=None, help="most attempts at each fault")
    parser.add_argument("--seed", type=int, default=None, help="of all random points; drawn if not given")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="print a kept JSON object as a table")
    options = parser.parse_args(arguments)
    if options.seed is None:
        options.seed = random.randrange(10**6)
    return options


def _wanted(fault: Fault, texts: Sequence[str]) -> bool:
    return any(text.lower() in fault.name.lower() for text in texts)


def _say(line: str) -> None:
    err.print(line, markup=False)


def start() -> None:
    """Run as a program; standard output is for the result alone, whatever a library prints."""
    saved = os.dup(1)
    os.dup2(2, 1)
    sys.stdout.flush()
    with os.fdopen(saved, "w") as result:
        real, sys.stdout = sys.stdout, result
        try:
            code = main()
        finally:
            result.flush()
            sys.stdout = real
    sys.exit(code)
