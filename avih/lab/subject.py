"""What is attacked: a stored gallery version, with what is public of it and what only its owner can do."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from torch import nn

from avih.attack.pairs import Pairs, Pictures, lot
from avih.errors import UsageError
from avih.recognisers import Recogniser
from avih.settings import KeySettings, ProtectSettings

FEWEST_TARGETS = 8
Recover = Callable[[Sequence[str], Pictures], Pictures]


@dataclass(frozen=True, eq=False, repr=False)
class Subject:
    """A gallery version as the lab meets it; pictures stay in memory.

    Args:
        gallery, version: its name.
        pairs: stored pictures read back, with their originals.
        nonces: what is stored beside each picture, in the order of ``pairs``.
        others: originals of the same version that are not protected or not read; only for reference.
        recogniser: the service model, which everybody has.
        protect, key: the recipe, which is public (Kerckhoffs).
        generator: the key's generator where it is no secret (``keyed``); else None.
        recover: what the owner gets back from pictures stored under these names.
        data: which data this is, for the report.
        consenting: whether its reconstructions may be shown.
    """

    gallery: str
    version: str
    pairs: Pairs
    nonces: tuple[str, ...]
    others: tuple[tuple[str, ...], Pictures] | None
    recogniser: Recogniser
    protect: ProtectSettings
    key: KeySettings
    generator: nn.Module | None
    recover: Recover
    data: str
    consenting: bool = False

    def nonces_of(self, images: Sequence[str]) -> tuple[str, ...]:
        """Return the nonces of named pictures."""
        known = dict(zip(self.pairs.images, self.nonces, strict=True))
        return tuple(known[image] for image in images)


@dataclass(frozen=True, eq=False)
class Parts:
    """Which picture plays which part; drawn by lot from names, so that a second run draws alike.

    Attributes:
        leaked: pairs that the attacker may have; the first N are a leak of N.
        targets: attacked pictures, of persons of whom nothing leaked.
        references: originals with their persons that the second recogniser knows; no target among them.
    """

    leaked: Pairs
    targets: Pairs
    references: tuple[tuple[str, ...], Pictures]


def draw_parts(subject: Subject, *, targets: int, leaked: int) -> Parts:
    """Give every picture its part: half of the persons leak, the others are attacked.

    Nobody leaks who is attacked: f(x') = f(x) by design, so whoever has the recogniser finds the leaked photo
    that looks most alike without any key, and naming persons in this way would say nothing of the key.

    Raises:
        UsageError: fewer than four persons, or nobody who could be attacked with another photo for reference.
    """
    pairs, others = subject.pairs, subject.others
    photos: dict[str, list[str]] = {}
    for image, person in sorted(zip(pairs.images, pairs.persons, strict=True), key=lambda one: lot(one[0])):
        photos.setdefault(person or f"/{image}", []).append(image)
    elsewhere = set(others[0]) if others else set()
    drawn = sorted(photos, key=lot)
    several = [person for person in drawn if len(photos[person]) > 1 or person in elsewhere]
    if len(drawn) < 4 or len(several) < 2:
        raise UsageError(
            f"Expected at least 4 persons, 2 of them with several photos, got {len(drawn)} and {len(several)}: "
            "there is nobody to recognise. Audit a larger gallery."
        )
    attacked_persons = several[: max(1, len(several) // 2)]
    chosen = _in_turns({person: _share(photos[person], person in elsewhere) for person in attacked_persons})
    chosen = chosen[:targets]
    left = set(attacked_persons)
    leak = _in_turns({person: photos[person] for person in drawn if person not in left})[:leaked]
    if len(leak) < 2 or not chosen:
        raise UsageError(
            f"Expected at least 2 pictures to leak and one to attack, got {len(leak)} and {len(chosen)}. "
            "Audit a larger gallery."
        )
    rest = pairs.named([image for image in pairs.images if image not in set(chosen)])
    persons, originals = rest.persons, rest.originals
    if others:
        persons, originals = (*persons, *others[0]), np.concatenate([originals, others[1]])
    return Parts(pairs.named(leak), pairs.named(chosen), (persons, originals))


def _share(images: list[str], elsewhere: bool) -> list[str]:
    """Return what is attacked of one person: a third, so that enough is left to recognise the person by."""
    return images if elsewhere and len(images) == 1 else images[: max(1, len(images) // 3)]


def _in_turns(photos: dict[str, list[str]]) -> list[str]:
    """Take one photo of each person after the other."""
    turns = max((len(images) for images in photos.values()), default=0)
    return [images[turn] for turn in range(turns) for images in photos.values() if turn < len(images)]
