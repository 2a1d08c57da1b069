"""``python -m benchmarks.scale_out``: efficiency from 1 to N workers, and what a shard costs besides.

The work is a stand-in of fixed duration that takes no processor, so that the figures are the engine's and not
those of this machine's cores. A real scheduler, real worker processes, a real Prefect server; tasks go the way of
every stage. namespaces.sh runs the same on several hosts with networks of their own.
"""

import argparse
import json
import logging
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from rich.table import Table

from avih.errors import AvihError, UsageError
from benchmarks.machine import describe_machine, err, out

PASSPHRASE = "a benchmark keeps no secret"


def counts_of(text: str) -> tuple[int, ...]:
    """Read rising counts of workers: ``1,2,4,8``.

    Raises:
        UsageError: they are none, or do not rise.
    """
    try:
        counts = tuple(int(one) for one in text.split(","))
    except ValueError:
        counts = ()
    if not counts or min(counts) < 1 or list(counts) != sorted(set(counts)):
        raise UsageError(f"Expected rising counts of workers, for instance 1,2,4,8, got {text!r}.")
    return counts


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale_out", description=__doc__)
    parser.add_argument("--workers", default="1,2,4,8", help="Rising counts of workers. Default: 1,2,4,8.")
    parser.add_argument(
        "--seconds", type=float, default=1.0, help="Duration of a stand-in shard. Default: 1."
    )
    parser.add_argument("--shards", type=int, default=4, help="Per worker, in the shorter round. Default: 4.")
    parser.add_argument(
        "--protect", action="store_true", help="Make a real small gallery there too; compare it."
    )
    parser.add_argument("--scheduler", default="127.0.0.1", metavar="ADDRESS[=NAMESPACE]")
    parser.add_argument(
        "--machine", action="append", metavar="ADDRESS[=NAMESPACE]",
        help="Where workers run, in turn; may be repeated. Default: this machine.",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="Print one JSON object.")
    return parser.parse_args(arguments)


def measured(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Run everything that was asked for, in a folder of its own."""
    # Prefect's temporary server of this run keeps its database here, and asks nobody for an address.
    os.environ.setdefault("AVIH_PASSPHRASE", PASSPHRASE)
    os.environ["AVIH_STORE"] = str(folder / "store")
    os.environ["PREFECT_HOME"] = str(folder / "prefect")
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "CRITICAL")
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # many workers share the cores of this machine
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))  # another number would give other last bits
    import flows.environment  # noqa: F401  # before prefect

    from benchmarks.scale_out.cluster import Machine, cluster
    from benchmarks.scale_out.gallery import compare
    from benchmarks.scale_out.measure import report, rounds

    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    counts = counts_of(options.workers)
    machines = [Machine.parse(text) for text in options.machine or ["127.0.0.1"]]
    with cluster(folder / "logs", scheduler=Machine.parse(options.scheduler), machines=machines) as made:
        done = rounds(
            made, folder=folder / "stand-in", counts=counts, shards=options.shards, seconds=options.seconds,
            say=err.print,
        )  # fmt: skip
        result = report(done, seconds=options.seconds, machine=describe_machine())
        result["machines"] = len(machines)
        result["namespaces"] = [one.namespace for one in machines if one.namespace]
        if options.protect:
            err.print("a real gallery, here and there")
            result["gallery"] = compare(folder / "store", made.runner())
    return result


def show(result: dict[str, Any]) -> None:
    """Print the table."""
    table = Table(
        "workers", "shards/s", "speed-up", "efficiency", "ms per shard", "ms per run", "processor ms per shard",
        title=f"stand-in shards of {result['seconds_per_shard']:g} s, {result['machine']['cores']} cores",
        title_justify="left",
    )  # fmt: skip
    for one in result["figures"]:
        used = ", ".join(f"{name} {value:.0f}" for name, value in one["processor_ms"].items())
        table.add_row(
            str(one["workers"]), f"{one['shards_per_second']:.2f}", f"{one['speedup']:.2f}",
            f"{one['efficiency']:.1%}", f"{one['overhead_ms']:.0f}", f"{one['begin_ms']:.0f}", used,
        )  # fmt: skip
    out().print(table)
    if gallery := result.get("gallery"):
        verdict = "the same bytes" if gallery["equal"] else "OTHER BYTES"
        out().print(
            f"a gallery of {gallery['images']} images in {gallery['shards']} shards: {verdict} in "
            f"{gallery['files_compared']} files; {gallery['seconds_here']} s here, "
            f"{gallery['seconds_there']} s there"
        )


def main(arguments: list[str] | None = None) -> int:
    """Run from the command line; 1 if a gallery that was made elsewhere has other bytes."""
    options = parse(arguments)
    try:
        with tempfile.TemporaryDirectory(prefix="avih-scale-out-") as folder:
            result = measured(options, Path(folder))
    except AvihError as error:
        err.print(f"error: {error}", markup=False)
        return error.exit_code
    if options.json:
        print(json.dumps(result, indent=1))
    else:
        show(result)
    return int(not result.get("gallery", {"equal": True})["equal"])


if __name__ == "__main__":
    sys.exit(main())
