"""Clocks that jump by a year, before a command and in the middle of one: nothing is decided by them alone."""

import json
from random import Random
from typing import Final

from benchmarks.faults import works
from benchmarks.faults.bench import PROTECT, RUN, Bench, given
from benchmarks.faults.fault import Fault, require
from benchmarks.faults.hooks import ClockJump

YEAR: Final = 366 * 86400.0
DIRECTIONS: Final = {"forward": YEAR, "back": -YEAR}


def between(bench: Bench, draw: Random) -> str:
    """Let the clock be a year off for one command after another: protect, rotate, a night, verify."""
    bench.undisturbed("run", "begun", works.run_all, *RUN)
    gallery = bench.gallery("live")
    order = draw.sample(list(DIRECTIONS), 2)
    for name in order:
        before = [works.cheap_keys, ClockJump(DIRECTIONS[name])]
        bench.forks.run(works.rotate, gallery.address, before=before).require_code(0, what=f"rotate, {name}")
        gallery.serves()
        gallery.rotated(1 + order.index(name))
        night = bench.forks.run(works.command, *gallery.command("nightly", "--json"), before=before)
        night.require_code(0, what=f"nightly, {name}")
        require(not json.loads(night.said)["changed_anything"], "a night did something where nothing changed")
        for words in (gallery.command("verify"), ("status", "--store", gallery.address)):
            ended = bench.forks.run(works.command, *words, before=before)
            ended.require_code(0, what=f"avih {words[0]}, {name}")
    gallery.whole()
    bench.command(gallery, "nightly").require_code(0, what="nightly, right again")
    return "rotate, nightly, verify and status go on; the key log stays a chain"


def during(bench: Bench, draw: Random) -> str:
    """Let the clock jump at a random look at it, in the middle of protecting and of rotating."""
    bench.undisturbed("run", "begun", works.run_all, *RUN)
    bench.undisturbed("protect", "begun", works.command, *PROTECT)
    for name, seconds in DIRECTIONS.items():
        jump = ClockJump(seconds, after=draw.randint(1, 12))
        gallery = bench.gallery("begun")
        before = [works.cheap_keys, jump]
        ended = bench.forks.run(works.command, *given(PROTECT, gallery), before=before)
        ended.require_code(0, what=f"protect, {name} at look {jump.after}")
        gallery.same_bytes(bench.gallery("protected"))
        gallery.whole()
        gallery = bench.gallery("live")
        ended = bench.forks.run(works.rotate, gallery.address, before=before)
        ended.require_code(0, what=f"rotate, {name} at look {jump.after}")
        gallery.serves()
        gallery.rotated()
        gallery.whole()
    return "the bytes of an undisturbed run; rotation whole"


FAULTS: Final = (
    Fault("clock a year off between commands", "forward and back: rotate, nightly, verify, status", between,
          full=3),
    Fault("clock jumps a year during a command", "forward and back: protect, rotate", during, full=3),
)  # fmt: skip
