"""Try every kind of bad input, each in a folder of its own; memory bombs in a process of their own."""

import json
import subprocess
import sys
from dataclasses import asdict
from functools import cache
from pathlib import Path

from benchmarks.bad_inputs import archives, cards, choices, keys, photos, records, shards, weights
from benchmarks.bad_inputs.kind import BadInput, Trial, try_in_own_folder

ROOT = Path(__file__).parents[2]


@cache
def all_kinds() -> tuple[BadInput, ...]:
    """Return every kind that is known."""
    parts = (photos, archives, weights, cards, keys, records, shards, choices)
    return tuple(kind for part in parts for kind in part.kinds())


def try_each() -> list[Trial]:
    """Try every kind."""
    return [try_in_own_folder(kind) for kind in all_kinds() if not kind.bomb] + bombs_in_a_process()


def try_bombs() -> None:
    """Try what is made to fill memory or a disk, and print a line of JSON for each."""
    for kind in all_kinds():
        if kind.bomb:
            print(json.dumps(asdict(try_in_own_folder(kind))), flush=True)


def bombs_in_a_process() -> list[Trial]:
    """Try what is made to fill memory in a process that it may kill; what it did not reach did not survive."""
    command = [sys.executable, "-m", "benchmarks.bad_inputs", "--bombs"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    trials = {trial.name: trial for trial in (Trial(**json.loads(line)) for line in lines)}
    ended = f"the process ended with {done.returncode} before or during it"
    return [
        trials.get(kind.name) or Trial(kind.name, kind.door, "", done.stderr[-400:], 0.0, ended)
        for kind in all_kinds()
        if kind.bomb
    ]


def try_all() -> list[tuple[str, bool, str]]:
    """Try every kind; return its name, whether avih survived it, and what was said or went wrong."""
    return [
        (f"{trial.door}: {trial.name}", trial.survived, trial.problem or f"{trial.got}: {trial.said}")
        for trial in try_each()
    ]
