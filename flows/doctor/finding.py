"""What a check of the doctor gets, and what it says."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Literal

from avih.naming import Store
from tasks.records import Record

State = Literal["fine", "mended", "to do", "not known"]
REPAIR: Final = "Run avih doctor --repair."


@dataclass(frozen=True)
class Case:
    """The store that is examined; ``repair`` allows to mend what is found."""

    store: Store
    repair: bool


class Finding(Record):
    """One line: what was looked at, how it is, and what to do; ``to_do`` is empty where there is nothing."""

    what: str
    state: State
    found: str
    to_do: str = ""


Check = Callable[[Case], Iterable[Finding]]


def fine(what: str, found: str) -> Finding:
    """Say that nothing is to do."""
    return Finding(what=what, state="fine", found=found)


def to_do(what: str, found: str, *, do: str) -> Finding:
    """Say that somebody has to do something."""
    return Finding(what=what, state="to do", found=found, to_do=do)


def not_known(what: str, found: str, *, do: str = "") -> Finding:
    """Say that it cannot be told from here."""
    return Finding(what=what, state="not known", found=found, to_do=do)


def mended(what: str, found: str) -> Finding:
    """Say that it was put right."""
    return Finding(what=what, state="mended", found=found)
