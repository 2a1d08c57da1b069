"""What a check of a recogniser says: one line for each question, in words, and the exit code of them all."""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from avih.errors import AvihError, IntegrityError, UsageError

State = Literal["ok", "warning", "wrong"]


@dataclass(frozen=True)
class Finding:
    """One answer.

    Attributes:
        state: whether anything has to be done.
        what: the question in a word or two.
        text: what was found.
        do: what to do about it; empty where nothing is to be done or the text says it.
        code: the exit code that a wrong answer asks for.
    """

    state: State
    what: str
    text: str
    do: str = ""
    code: int = 0


@dataclass(frozen=True)
class Checked:
    """All answers about one card, in the order in which they were asked.

    Attributes:
        card: the card's name, or what was given as its path.
        findings: the answers.
        probe: a ``[probe]`` table for a card that has none; else empty.
        scores: how well photos are told apart, by the card and by its alternatives; empty without photos.
    """

    card: str
    findings: tuple[Finding, ...]
    probe: str = ""
    scores: tuple[dict[str, Any], ...] = field(default=())

    @property
    def exit_code(self) -> int:
        """0: nothing wrong; 2: card or network cannot be used like this; 3: weights or probe refused."""
        return max((finding.code for finding in self.findings), default=0)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self) | {"exit_code": self.exit_code}


def ok(what: str, text: str) -> Finding:
    """Nothing to do."""
    return Finding("ok", what, text)


def warning(what: str, text: str, do: str) -> Finding:
    """It works; something should be done."""
    return Finding("warning", what, text, do)


def wrong(what: str, text: str, do: str, *, kind: type[AvihError] = UsageError) -> Finding:
    """It cannot stay like this."""
    return Finding("wrong", what, text, do, kind.exit_code)


def refused(what: str, error: AvihError, do: str = "") -> Finding:
    """What loading would have stopped with; the error says itself what to do."""
    code = IntegrityError.exit_code if error.exit_code == IntegrityError.exit_code else UsageError.exit_code
    return Finding("wrong", what, str(error), do, code)
