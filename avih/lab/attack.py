"""What an attack is: one file with ``FACTS`` and ``run``, like a test.

``run`` yields guesses (pictures held against originals) and findings (figures of another kind). It never judges
itself: the lab measures every guess in one way and judges it against the guess without the picture. Where a
gallery has too few pictures, persons or keys for it, it raises :class:`avih.errors.TooFew`; any other error means
that it broke.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from avih.attack.pairs import Pairs, Pictures
from avih.attack.verdict import Level

if TYPE_CHECKING:
    from avih.lab.lab import Lab

# key: decides the verdict of the gallery. by design: what the recogniser tells whatever the key is; shown, not
# counted. no evidence: statistics that say nothing of security. owner: what the owner's own pictures bear.
Kind = Literal["key", "by design", "no evidence", "owner"]


@dataclass(frozen=True)
class AttackFacts:
    """What a reader has to know of an attack.

    Args:
        name: its module's name; what reports and MLflow call it.
        title: in plain words.
        claim: which claim of which paper it tests, with the section.
        holds: what the attacker has.
        kind: whether it decides the verdict.
        methods: protection methods it makes sense for; empty: all.
        recoveries: recoveries it makes sense for; empty: all.
    """

    name: str
    title: str
    claim: str
    holds: str
    kind: Kind = "key"
    methods: tuple[str, ...] = ()
    recoveries: tuple[str, ...] = ()

    def fits(self, *, method: str, recovery: str) -> bool:
        """Tell whether there is anything to attack in this way."""
        return method in (self.methods or (method,)) and recovery in (self.recoveries or (recovery,))


@dataclass(frozen=True, eq=False)
class Guess:
    """What an attack makes of some pictures.

    Args:
        label: which variant of the attack.
        targets: what is attacked: names, persons, originals, what the attacker saw.
        pictures: the reconstructions, row by row.
        blind: the same attack without the picture (fed noise, or a mean); any number of them, the best counts.
        facts: figures of the variant, such as ``{"pairs": 32}``.
        kind: where one variant is of another kind than its attack.

    Shape:
        - pictures and each of ``blind``: ``(n, H, W, 3)`` uint8, as ``targets``.
    """

    label: str
    targets: Pairs
    pictures: Pictures
    blind: tuple[Pictures, ...] = ()
    facts: Mapping[str, float | int | str] = field(default_factory=dict)
    kind: Kind | None = None


@dataclass(frozen=True)
class Finding:
    """A result that is no picture: rates, correlations, robustness.

    Args:
        label: what was tried.
        values: figures; rates from 0 to 1.
        text: what it means, in a sentence.
        level: its own verdict, where the attack can give one; none: it is shown and not judged.
    """

    label: str
    values: Mapping[str, float | None]
    text: str
    level: Level | None = None


Result = Guess | Finding
Run = Callable[["Lab"], Iterator[Result]]


@dataclass(frozen=True)
class Attack:
    """An attack of the registry: its facts and how it runs."""

    facts: AttackFacts
    run: Run
