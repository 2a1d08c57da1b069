"""SIGKILL of the process that runs a flow, at random points: the same command again must make it whole."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

from benchmarks.faults import works
from benchmarks.faults.bench import PROTECT, RUN, Bench, Start, Undisturbed, given
from benchmarks.faults.fault import Attempt, Fault, Lost
from benchmarks.faults.forks import Hook, Work
from benchmarks.faults.gallery import Gallery
from benchmarks.faults.hooks import AtChange

SIGKILLED: Final = -9
DRAWS: Final = 8  # a point late in the run may come after its end; then another is drawn


@dataclass(frozen=True)
class Course:
    """What a killed work starts from, is, and must come to after a rerun."""

    name: str
    start: Start
    work: Work
    arguments: tuple[str, ...]
    check: Callable[[Gallery, Undisturbed, int], None]


def _same(gallery: Gallery, undisturbed: Undisturbed, _: int) -> None:
    gallery.accounted()
    gallery.same_bytes(undisturbed.gallery)


def _live(gallery: Gallery, _: Undisturbed, __: int) -> None:
    gallery.serves()


def _rotated(gallery: Gallery, _: Undisturbed, ended: int) -> None:
    gallery.serves()
    gallery.rotated(times=1 + ended)  # the rerun of a rotation that had come to its end is another one


COURSES: Final = {
    "protect": Course("protect", "begun", works.command, PROTECT, _same),
    "run": Course("run from photos", "nothing", works.run_all, RUN, _live),
    "rotate": Course("rotate", "live", works.rotate, ("{store}",), _rotated),
}


@dataclass(frozen=True)
class Point:
    """When a process is killed: at a change of a file, or at a moment."""

    change: int = 0
    seconds: float = 0.0

    @classmethod
    def draw(cls, draw: Random, undisturbed: Undisturbed) -> "Point":
        """Draw one: half of them at a change, half at any moment."""
        if draw.random() < 0.5:
            return cls(change=draw.randint(1, undisturbed.changes))
        return cls(seconds=draw.uniform(0, undisturbed.seconds))

    def hooks(self, gallery: Gallery) -> Sequence[Hook]:
        """Return what the process must carry in itself."""
        return [AtChange(gallery.address, "kill", self.change)] if self.change else []

    def __str__(self) -> str:
        return f"change {self.change} of a file" if self.change else f"second {self.seconds:.2f}"


def kill_and_rerun(course: Course) -> Attempt:
    """Return one attempt: kill, look, do it again, look closely."""

    def attempt(bench: Bench, draw: Random) -> str:
        undisturbed = bench.undisturbed(course.name, course.start, course.work, *course.arguments)
        gallery, point = killed(bench, draw, course, undisturbed)
        try:
            gallery.nothing_half()
            if course.start == "live":
                gallery.serves()
            ended = gallery.rotations()
            again = bench.run(gallery, course.work, *course.arguments)
            again.require_code(0, what="the rerun")
            course.check(gallery, undisturbed, ended)
            gallery.whole()
        except Lost as loss:
            raise Lost(f"killed at {point}: {loss}") from None
        return "at a change of a file" if point.change else "at a random moment"

    return attempt


def killed(bench: Bench, draw: Random, course: Course, undisturbed: Undisturbed) -> tuple[Gallery, Point]:
    """Start a work on a gallery of its own and kill it at a random point of it."""
    for _ in range(DRAWS):
        gallery, point = bench.gallery(course.start), Point.draw(draw, undisturbed)
        running = bench.forks.start(
            course.work, *given(course.arguments, gallery), before=[works.cheap_keys, *point.hooks(gallery)]
        )
        ended = running.wait() if point.change else running.kill_after(point.seconds)
        if ended.code == SIGKILLED:
            bench.say(f"  killed at {point}")
            return gallery, point
        ended.require_code(0, what=f"not killed at {point}")
    raise Lost(f"the work ended before {DRAWS} points that were drawn within its time")


BREAKS: Final = (
    "SIGKILL, then the same command again: every photo one result, no half shard, nothing left, verify ok"
)
FAULTS: Final = (
    Fault("SIGKILL of avih protect", f"{BREAKS}, bytes of an undisturbed run",
          kill_and_rerun(COURSES["protect"]), quick=4, full=50),
    Fault("SIGKILL of avih run", f"{BREAKS}, live", kill_and_rerun(COURSES["run"]), quick=2, full=25),
    Fault("SIGKILL of avih rotate", f"{BREAKS}, one active key, no plan left",
          kill_and_rerun(COURSES["rotate"]), quick=2, full=25),
)  # fmt: skip
