"""Two runs at once on one gallery: the second says who holds it, and a killed holder holds nothing."""

import re
import socket
from random import Random
from typing import Final

from benchmarks.faults import works
from benchmarks.faults.bench import PROTECT, RUN, Bench, given
from benchmarks.faults.fault import Fault, require
from benchmarks.faults.gallery import Gallery
from benchmarks.faults.hooks import AtChange
from benchmarks.faults.processes import Running, until

BUSY: Final = 1


def _held(bench: Bench, draw: Random) -> tuple[Gallery, Running]:
    """Start a run that is stopped at a random change of a file, with the gallery's lock in its hands."""
    undisturbed = bench.undisturbed("run", "begun", works.run_all, *RUN)
    gallery = bench.gallery("begun")
    stopping = AtChange(gallery.address, "stop", draw.randint(3, undisturbed.changes - 3))
    holder = bench.forks.start(works.run_all, *given(RUN, gallery), before=[works.cheap_keys, stopping])
    until(holder.is_stopped, what="the first run holds the gallery")
    return gallery, holder


def second_run(bench: Bench, draw: Random) -> str:
    """Begin a second run while the first is at work; then let the first end."""
    gallery, holder = _held(bench, draw)
    second = bench.run(gallery, works.run_all, *RUN).require_code(BUSY, what="the second run")
    told = re.search(r"avih run by process (\d+) on (\S+) since (\S+)\.", second.said)
    require(told is not None, f"the second run does not name the holder: {second.last_line}")
    assert told is not None
    require(told[1] == str(holder.number) and told[2] == socket.gethostname(), f"another holder: {told[0]}")
    holder.go_on()
    holder.wait().require_code(0, what="the first run")
    _ended_well(bench, gallery)
    return "the second names process, host and time, exit code 1; the first ends well"


def stale_lock(bench: Bench, draw: Random) -> str:
    """Kill the holder; the gallery is free at once."""
    gallery, holder = _held(bench, draw)
    holder.kill()
    bench.run(gallery, works.run_all, *RUN).require_code(0, what="the run after the holder's death")
    _ended_well(bench, gallery)
    return "free at once"


def two_protects(bench: Bench, _: Random) -> str:
    """Protect one gallery twice at the same time: ``avih protect`` takes no lock, and needs none."""
    bench.undisturbed("protect", "begun", works.command, *PROTECT)
    gallery = bench.gallery("begun")
    both = [
        bench.forks.start(works.command, *given(PROTECT, gallery), before=[works.cheap_keys])
        for _ in range(2)
    ]
    for running in both:
        running.wait().require_code(0, what="one of two at once")
    gallery.accounted()
    gallery.same_bytes(bench.gallery("protected"))
    gallery.whole()
    return "both end well, with the bytes of one"


def _ended_well(bench: Bench, gallery: Gallery) -> None:
    gallery.serves()
    gallery.same_bytes(bench.gallery("live"))
    gallery.whole()


FAULTS: Final = (
    Fault("two runs at once", "avih run while another holds the gallery", second_run, full=5),
    Fault("stale lock", "avih run after its holder was killed", stale_lock, full=5),
    Fault("two avih protect at once", "both write the same shards", two_protects, full=5),
)
