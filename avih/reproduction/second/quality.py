"""What a recogniser is worth on originals: identification among few and among many, and verification."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from avih.errors import UsageError
from avih.evaluation.identification import compare_photos
from avih.reproduction.faces import Faces, Picture
from avih.reproduction.outcome import Row, mean_row
from avih.settings import Frozen

Floats = NDArray[np.float64]
FALSE_MATCHES: Final = 1e-3


class SecondQuality(Frozen):
    """What a recogniser finds in originals of the test persons; rates in percent, intervals by person."""

    rank_1: Row = Field(description="One photo of each test person in the gallery, all others asked about.")
    strangers: Row = Field(
        description="The papers' protocol: a photo of the person among those of strangers."
    )
    true_matches: Row = Field(description="Pairs of one person above the limit.")
    false_matches: float = Field(
        description="Share of pairs of two persons above that limit: 1e-3 or nearest."
    )
    impostors: int = Field(description="Pairs of two persons.")

    @property
    def rows(self) -> tuple[Row, ...]:
        """The figures as rows of a table."""
        return self.rank_1, self.strangers, self.true_matches


@dataclass(frozen=True)
class Verified:
    """True and false matches at one limit.

    Shape:
        - accepted: bool, one per pair of one person; persons: whom each pair shows.
    """

    limit: float
    accepted: NDArray[np.bool_]
    persons: NDArray[np.str_]
    false_matches: float
    impostors: int


def verified(features: Floats, persons: Sequence[str], *, false_matches: float = FALSE_MATCHES) -> Verified:
    """Compare every pair of photos, at the lowest limit that lets through at most a share of impostors.

    With fewer impostor pairs than one in ``1 / false_matches`` the limit lets through one pair at most.

    Shape: features (n, d), unit rows; persons (n,).

    Raises:
        UsageError: no pair of one person, or none of two.
    """
    names = np.asarray(persons)
    first, second = np.triu_indices(len(names), k=1)
    cosines, same = (features @ features.T)[first, second], names[first] == names[second]
    impostors = np.sort(cosines[~same])[::-1]
    if not same.any() or not len(impostors):
        raise UsageError("Expected two photos of a person and photos of two persons: give more photos.")
    allowed = min(max(int(false_matches * len(impostors)), 1), len(impostors) - 1)
    limit = float(impostors[allowed])
    passed = float((impostors > limit).mean())
    return Verified(limit, cosines[same] > limit, names[first][same], passed, len(impostors))


def one_each(features: Floats, persons: Sequence[str]) -> tuple[NDArray[np.bool_], NDArray[np.str_]]:
    """Identify with one photo of each person in the gallery: the first of all, then the second, and so on.

    Shape: features (n, d), unit rows; persons (n,); returns whether right, and whose photo was asked about:
    ``rounds * (n - persons)`` each, with as many rounds as the person with the fewest photos has.
    """
    names = np.asarray(persons)
    rows = {person: np.flatnonzero(names == person) for person in np.unique(names)}
    right, asked = [], []
    for turn in range(min(len(own) for own in rows.values())):
        gallery = np.array([own[turn] for own in rows.values()])
        probes = np.setdiff1d(np.arange(len(names)), gallery)
        nearest = (features[probes] @ features[gallery].T).argmax(axis=1)
        right.append(names[gallery][nearest] == names[probes])
        asked.append(names[probes])
    return np.concatenate(right), np.concatenate(asked)


def measure(embed: Callable[[Sequence[Picture]], Floats], known: Faces, *, model: str) -> SecondQuality:
    """Measure a recogniser on the originals of the test persons, among the strangers with one photo each.

    Args:
        embed: gives the unit features of pictures, ``(n, d)``.
        known: whom to measure on.
        model: the recogniser's name, for the tables.
    """
    test, alone = known.aligned("test"), known.aligned("single")
    features, others = embed([face.pixels for face in test]), embed([face.pixels for face in alone])
    persons, strangers = [face.person for face in test], [face.person for face in alone]
    both = np.concatenate([features, others])
    compared = compare_photos(
        original=both, protected=both, persons=persons + strangers, probe_persons=sorted(set(persons))
    )
    right, asked = one_each(features, persons)
    pairs = verified(features, persons)

    def row(label: str, metric: str, values: NDArray[np.bool_], whose: NDArray[np.str_]) -> Row:
        return mean_row(
            label=label, metric=metric, values=values.tolist(), persons=whose.tolist(), percent=True,
            data=known.data, model=model,
        )  # fmt: skip

    count = len(set(persons))
    return SecondQuality(
        rank_1=row(f"originals, one photo of each of {count} persons in the gallery", "rank_1", right, asked),
        strangers=row(
            f"originals, gallery of {compared.distractors} photos of strangers", "acc", compared.original,
            compared.persons,
        ),
        true_matches=row(
            f"originals, pairs of one person at {100 * pairs.false_matches:.2g} % false matches", "tar",
            pairs.accepted, pairs.persons,
        ),
        false_matches=pairs.false_matches,
        impostors=pairs.impostors,
    )  # fmt: skip
