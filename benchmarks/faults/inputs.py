"""Bad inputs of every kind, by every door: a named error, memory bounded, nothing outside the target folder."""

import json
import subprocess
import sys
from random import Random
from typing import Final

from benchmarks.faults.bench import Bench
from benchmarks.faults.fault import Fault, Many, require


def bad_inputs(bench: Bench, _: Random) -> Many:
    """Try all kinds that ``python -m benchmarks.bad_inputs`` knows."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.bad_inputs", "--json"], capture_output=True, text=True, check=False
    )
    require(done.stdout.startswith("{"), f"no result: {done.stderr[-300:]}")
    found = json.loads(done.stdout)
    doors = {row["door"] for row in found["rows"]}
    losses = [f"{row['door']}: {row['name']}: {row['problem']}" for row in found["rows"] if row["problem"]]
    note = f"{found['tried']} kinds by {len(doors)} doors (python -m benchmarks.bad_inputs)"
    return Many(found["survived"], tuple(losses), note)


FAULTS: Final = (
    Fault("bad inputs", "photos, archives, weights, cards, keys, records, settings", bad_inputs),
)
