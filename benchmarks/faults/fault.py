"""What a fault is: a name, what it breaks, and one attempt at it; and what became of all attempts."""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks.faults.bench import Bench

MOST_TOLD = 3  # kinds of outcome in a note


class Lost(Exception):
    """Something did not survive: bytes, rows, a message, or the way back."""


class NotPossibleHere(Exception):
    """The machine does not let the fault happen; it counts as not tried."""


def require(condition: object, otherwise: str) -> None:
    """Check that something survived.

    Raises:
        Lost: it did not; the text says what.
    """
    if not condition:
        raise Lost(otherwise)


@dataclass(frozen=True)
class Many:
    """What became of an attempt that tried many things: how many survived, each loss, and a word on all."""

    survived: int
    losses: tuple[str, ...]
    note: str


# One attempt: it draws its point from the numbers given, and returns in a few words how it survived.
Attempt = Callable[["Bench", Random], "str | Many"]


@dataclass(frozen=True)
class Fault:
    """One way in which things break.

    Args:
        name: of its row, and what ``--only`` looks for.
        breaks: what is broken, and what must hold all the same.
        attempt: break it once and look.
        quick, full: how many attempts each profile makes; with none the fault is left out.
    """

    name: str
    breaks: str
    attempt: Attempt
    quick: int = 1
    full: int = 1

    def attempts(self, profile: str) -> int:
        """Return how many attempts a profile makes."""
        return self.quick if profile == "quick" else self.full


@dataclass
class Row:
    """What became of one fault; every loss is a sentence that says at which point."""

    fault: str
    breaks: str
    tried: int = 0
    survived: int = 0
    lost: int = 0
    seconds: float = 0.0
    note: str = ""
    losses: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Return the row as plain values."""
        return {**vars(self), "seconds": round(self.seconds, 1)}


def try_fault(fault: Fault, bench: "Bench", *, most: int | None = None) -> Row:
    """Make all attempts at a fault; none stops the others.

    Each attempt draws from numbers of its own, so that one can be repeated alone.
    """
    row, outcomes, began = Row(fault.name, fault.breaks), Counter[str](), time.monotonic()
    attempts = fault.attempts(bench.profile)
    for number in range(attempts if most is None else min(most, attempts)):
        bench.say(f"{fault.name}, {number + 1}")
        try:
            found = _tried(fault, bench, number)
        except NotPossibleHere as reason:
            found = Many(0, (), f"not possible here: {reason}")
        finally:
            bench.tidy()
        row.survived += found.survived
        row.losses += [f"attempt {number + 1}, seed {bench.seed}: {loss}" for loss in found.losses]
        outcomes[found.note] += bool(found.note)
    row.lost, row.seconds, row.note = len(row.losses), time.monotonic() - began, _note(+outcomes)
    row.tried = row.survived + row.lost
    for text in row.losses:
        bench.say(f"LOST {fault.name}, {text}")
    return row


def _tried(fault: Fault, bench: "Bench", number: int) -> Many:
    """Make one attempt; whatever it raises, but that the machine does not allow it, is a loss."""
    try:
        found = fault.attempt(bench, Random(f"{bench.seed}/{fault.name}/{number}"))
    except NotPossibleHere:
        raise
    except Lost as loss:
        return Many(0, (str(loss),), "")
    except Exception as error:  # an attempt that breaks down is a loss, and the others want trying too
        return Many(0, (f"{type(error).__name__}: {error}",), "")
    return Many(1, (), found) if isinstance(found, str) else found


def _note(outcomes: Counter[str]) -> str:
    told = [f"{text} ({count}x)" if count > 1 else text for text, count in outcomes.most_common(MOST_TOLD)]
    more = len(outcomes) - MOST_TOLD
    return "; ".join(told) + (f"; and {more} more" if more > 0 else "")
