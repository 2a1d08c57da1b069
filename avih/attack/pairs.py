"""Leaked pairs, and who is leaked, who is attacked and who is only the second recogniser's reference.

All choices are drawn by lot from names, so that two versions of a gallery, and a second try, choose alike.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from avih.attack.settings import AttackSettings
from avih.errors import UsageError

Pictures = NDArray[np.uint8]

FEWEST = 4  # pairs: two to train on, one to stop by, one to attack
FEWEST_TESTS = 8
SEVERAL = 3  # photos: one attacked, one leaked or memorised, one for reference


def lot(name: str) -> bytes:
    """Return a name's lot: the same in every version and on every machine."""
    return hashlib.sha256(f"attack/{name}".encode()).digest()


@dataclass(frozen=True, eq=False, repr=False)
class Pairs:
    """Protected images with their originals, in memory only.

    Shape:
        - originals, protected: ``(n, H, W, 3)`` uint8; row i of all four belongs to one image.
    """

    images: tuple[str, ...]
    persons: tuple[str, ...]
    originals: Pictures
    protected: Pictures

    def __post_init__(self) -> None:
        sizes = {len(self.images), len(self.persons), len(self.originals), len(self.protected)}
        if len(sizes) != 1 or self.originals.shape != self.protected.shape:
            raise UsageError(
                f"Expected as many names, persons, originals and protected images, got {len(self.images)}, "
                f"{len(self.persons)}, {self.originals.shape} and {self.protected.shape}."
            )

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        return f"Pairs({len(self)} images)"

    def named(self, names: Iterable[str]) -> "Pairs":
        """Return the pairs of those names that are there, in the order of the names."""
        place = {name: row for row, name in enumerate(self.images)}
        rows = [place[name] for name in names if name in place]
        return Pairs(
            images=tuple(self.images[row] for row in rows),
            persons=tuple(self.persons[row] for row in rows),
            originals=self.originals[rows],
            protected=self.protected[rows],
        )

    def with_inputs(self, protected: Pictures) -> "Pairs":
        """Return the same originals with other protected images."""
        return replace(self, protected=protected)


@dataclass(frozen=True)
class Split:
    """The part that each image of a key plays, by name.

    Attributes:
        leaked: what the attacker has, by lot: the first N are a leak of N pairs.
        memorised: some of the leaked images, attacked as well.
        known: attacked images that were not leaked, of persons others of whose photos were.
        strangers: attacked images of persons of whom nothing was leaked.
        references: the second recogniser's gallery, disjoint from all that is attacked.
    """

    leaked: tuple[str, ...]
    memorised: tuple[str, ...]
    known: tuple[str, ...]
    strangers: tuple[str, ...]
    references: tuple[str, ...]

    @property
    def others(self) -> tuple[str, ...]:
        """All attacked images that were not leaked."""
        return self.known + self.strangers


def split_images(*, images: Sequence[str], persons: Sequence[str], settings: AttackSettings) -> Split:
    """Give every image its part.

    Of each person with three or more photos a quarter is attacked (of those who never leak: half), as many leaked
    ones are measured for what was memorised, and at least one is left for reference. Where a gallery has too few
    such persons, whole persons are attacked instead; without a reference they count for SSIM alone.

    Raises:
        UsageError: fewer than four images.
    """
    if len(images) < FEWEST:
        raise UsageError(f"Expected at least {FEWEST} protected images to attack, got {len(images)}.")
    photos: dict[str, list[str]] = defaultdict(list)
    for image, person in sorted(zip(images, persons, strict=True), key=lambda pair: lot(pair[0])):
        photos[person or f"/{image}"].append(image)  # somebody unknown is a person alone
    drawn = sorted(photos, key=lot)
    several = [person for person in drawn if len(photos[person]) >= SEVERAL]
    # Among three persons or more at least one never leaks.
    count = max(int(len(several) >= SEVERAL), round(settings.outsiders * len(several)))
    outsiders, insiders = several[:count], several[count:]
    half = max(1, settings.test_images // 2)
    strangers = _part(photos, outsiders, divisor=2, most=half)
    known = _part(photos, insiders, divisor=4, most=half)
    left_out = set(outsiders)
    few = [person for person in reversed(drawn) if len(photos[person]) < SEVERAL]
    wanted = min(FEWEST_TESTS, len(images) // FEWEST, settings.test_images)
    while len(strangers) + len(known) < wanted and few:
        person = few.pop(0)
        left_out.add(person)
        strangers += photos[person]
    attacked = {*strangers, *known}
    leaked = [
        image
        for person in drawn
        if person not in left_out
        for image in photos[person]
        if image not in attacked
    ]
    rest = {person: [image for image in photos[person] if image not in attacked] for person in insiders}
    memorised = _part(rest, insiders, divisor=4, most=half) or sorted(leaked, key=lot)[:FEWEST_TESTS]
    attacked |= set(memorised)
    return Split(
        leaked=tuple(sorted(leaked, key=lot)),
        memorised=tuple(memorised),
        known=tuple(known),
        strangers=tuple(strangers),
        references=tuple(image for image in images if image not in attacked),
    )


def _part(photos: dict[str, list[str]], persons: Sequence[str], *, divisor: int, most: int) -> list[str]:
    """Take a part of each person's photos, one person after the other, one photo per turn."""
    quotas = {person: max(1, len(photos[person]) // divisor) for person in persons if len(photos[person]) > 1}
    turns = max(quotas.values(), default=0)
    taken = [photos[p][turn] for turn in range(turns) for p, quota in quotas.items() if turn < quota]
    return taken[:most]
