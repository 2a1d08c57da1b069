"""Naming persons by labelled protected photos: whether x' tells who it shows without the service's model."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import RidgeClassifier
from sklearn.preprocessing import StandardScaler

from avih.attack.measure import dealt_to_others
from avih.attack.pairs import Pairs, Pictures
from avih.attack.second import gradient_histograms
from avih.lab.attack import Finding
from avih.lab.lab import Lab
from avih.lab.tools.inversion import features_of
from avih.lab.verdict import named_level

Describe = Callable[[Pictures], NDArray[Any]]

SHOTS: Final = (1, 5, 20)  # labelled protected photos per person
MOST_PERSONS: Final = 40
MOST_PHOTOS: Final = 24  # of one person: 20 to learn from, the others to be named
BY_DESIGN: Final = "the service's features (by design)"
RIDGE: Final = 0.1  # of a description's own mean square


def named_by_labels(lab: Lab) -> Iterator[Finding]:
    """Learn persons from labelled protected photos, and name others of their protected photos.

    Only the largest number of labels is judged: one rate of several is above its limit by luck sooner.
    """
    photos = _photos(lab)
    if len(photos) < 2:
        text = f"Not tried: it takes 2 persons with several protected photos, and there are {len(photos)}."
        yield Finding("naming by labelled protected photos", {}, text)
        return
    most = max(_share(rows) for rows in photos.values())
    sizes = sorted({min(shots, most) for shots in SHOTS})
    for name, describe in _descriptions(lab).items():
        lab.tell(f"persons named by labelled protected photos, {name}")
        described = _Described.of(lab.subject.pairs, photos, describe)
        for shots in sizes:
            label = f"up to {shots} labelled photos per person, {name}"
            judged = shots == sizes[-1] and name != BY_DESIGN
            yield _naming(lab, label, described, judged, _labelled(photos, shots, seed=lab.settings.seed))


@dataclass(frozen=True, eq=False)
class _Described:
    """Descriptions of originals and of protected pictures, row by row as ``rows`` of the gallery."""

    rows: list[int]
    names: NDArray[np.str_]
    kinds: dict[str, NDArray[Any]]

    @classmethod
    def of(cls, pairs: Pairs, photos: dict[str, list[int]], describe: Describe) -> "_Described":
        """Describe the chosen photos once."""
        rows = [row for chosen in photos.values() for row in chosen]
        kinds = {"originals": describe(pairs.originals[rows]), "protected": describe(pairs.protected[rows])}
        return cls(rows, np.array(pairs.persons)[rows], kinds)


def _photos(lab: Lab) -> dict[str, list[int]]:
    """Return the rows of persons with several photos."""
    photos: dict[str, list[int]] = {}
    for row, person in enumerate(lab.subject.pairs.persons):
        if person:
            photos.setdefault(person, []).append(row)
    several = {person: rows[:MOST_PHOTOS] for person, rows in photos.items() if len(rows) > 1}
    return dict(list(several.items())[:MOST_PERSONS])


def _share(rows: list[int]) -> int:
    """Return how many photos of a person may be learned from: a quarter and at least one is to be named."""
    return max(1, min(3 * len(rows) // 4, len(rows) - 1))


def _labelled(photos: dict[str, list[int]], shots: int, *, seed: int) -> tuple[list[int], list[int]]:
    """Split the photos of each person: so many to learn from, the others to be named; places in the whole."""
    known: list[int] = []
    asked: list[int] = []
    draw, first = np.random.default_rng(seed), 0
    for rows in photos.values():
        mixed = (first + draw.permutation(len(rows))).tolist()
        cut, first = min(shots, _share(rows)), first + len(rows)
        known, asked = known + mixed[:cut], asked + mixed[cut:]
    return known, asked


def _naming(
    lab: Lab, label: str, described: _Described, judged: bool, parts: tuple[list[int], list[int]]
) -> Finding:
    (known, asked), limits, names = parts, lab.settings.limits, described.names
    found = {
        kind: name_persons(rows[known], names[known], rows[asked]) for kind, rows in described.kinds.items()
    }
    rates = {kind: float((one == names[asked]).mean()) for kind, one in found.items()}
    # Its own answers dealt out at random: whoever always names one person is right now and then.
    dealt = dealt_to_others(found["protected"], names[asked])
    prior = max(1 / len(set(names[known].tolist())), dealt)
    works = rates["originals"] >= limits.second_minimum
    hits = round(rates["protected"] * len(asked))
    values = {
        "named": rates["protected"],
        "chance": prior,
        "named_on_originals": rates["originals"],
        "photos": float(len(asked)),
    }
    text = "How often persons of protected photos are named by what was learned from other protected photos."
    if not works:
        text += " Not judged: learned from originals in the same way, it does not name persons either."
    level = (
        named_level(hits / len(asked), prior, tries=len(asked), limits=limits) if judged and works else None
    )
    return Finding(label, values, text, level)


def name_persons(known: NDArray[Any], persons: NDArray[np.str_], asked: NDArray[Any]) -> NDArray[np.str_]:
    """Name persons by ridge regression on descriptions.

    Shape:
        - known: ``(n, d)`` with ``persons`` ``(n,)``; asked: ``(m, d)``; output: ``(m,)``.
    """
    scale, length = StandardScaler().fit(known), known.shape[1] ** 0.5
    model = RidgeClassifier(alpha=RIDGE, solver="cholesky").fit(scale.transform(known) / length, persons)
    found: NDArray[np.str_] = model.predict(scale.transform(asked) / length)
    return found


def _pixels(pictures: Pictures) -> NDArray[Any]:
    return pictures.reshape(len(pictures), -1).astype(np.float32)


def _folded(pictures: Pictures) -> NDArray[Any]:
    """Return the distance of each value from mid grey: what turning values over does not change."""
    folded: NDArray[Any] = np.abs(_pixels(pictures) - 127.5)
    return folded


def _descriptions(lab: Lab) -> dict[str, Describe]:
    return {
        "pixels": _pixels,
        "folded pixels": _folded,
        "gradient histograms": gradient_histograms,
        BY_DESIGN: lambda pictures: features_of(lab.subject.recogniser, pictures).numpy(),
    }
