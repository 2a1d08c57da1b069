"""A store on S3 whose network is lost while shards are made: said, nothing half there, and finished later."""

from pathlib import Path
from random import Random
from typing import Final

from benchmarks.faults import works
from benchmarks.faults.bench import PROTECT, Bench
from benchmarks.faults.fault import Fault, require
from benchmarks.faults.gallery import Gallery
from benchmarks.faults.hooks import AtChange
from benchmarks.faults.processes import until

FAILED: Final = 1
LAST: Final = 60  # the network is lost at one of the first changes of files in the working copy


def lost_network(bench: Bench, draw: Random) -> str:
    """Cut the line to the S3 server at a random point of protecting; lay it again for a second command."""
    undisturbed = bench.undisturbed("protect", "begun", works.command, *PROTECT)
    begun, s3, number = bench.gallery("begun"), bench.s3, draw.randint(1, LAST)
    prefix, cache = begun.root.name, begun.root / "cache"
    address = s3.fill(prefix, Path(begun.address))
    words, environment = ("protect", "--gallery", works.GALLERY, "--store", address), s3.environment(cache)
    running = bench.forks.start(
        works.command, *words, before=[works.cheap_keys, AtChange(str(cache), "stop", number)],
        environment=environment,
    )  # fmt: skip
    until(lambda: running.is_stopped() or running.process.exitcode is not None, what=f"change {number}")
    try:
        s3.line.cut()
        if running.is_stopped():
            running.go_on()
        ended = running.wait().require_code(0, FAILED, what=f"cut at change {number}")
    finally:
        s3.line.lay()
    if ended.code:
        require("Expected an answer from the store" in ended.said, f"not told: {ended.last_line}")
    elsewhere(bench, prefix, begun).nothing_half()
    again = bench.forks.run(works.command, *words, before=[works.cheap_keys], environment=environment)
    again.require_code(0, what="the rerun")
    seen = elsewhere(bench, prefix, begun)
    seen.accounted()
    seen.same_bytes(undisturbed.gallery)
    seen.whole()
    return "said, and whole on S3 after a rerun" if ended.code else "ended before it was noticed"


def elsewhere(bench: Bench, prefix: str, gallery: Gallery) -> Gallery:
    """Return what lies on S3 as another machine sees it."""
    seen = Gallery(gallery.root / f"seen-{len(list(gallery.root.iterdir()))}")
    bench.s3.fetch(prefix, Path(seen.address))
    return seen


FAULTS: Final = (
    Fault("network to S3 lost", "avih protect in a store at s3://, at a random point", lost_network, full=10),
)
