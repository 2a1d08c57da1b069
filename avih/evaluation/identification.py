"""Rank-1 identification by the papers' protocol: whether the recogniser still finds persons in the gallery.

AVIH (ICCV 2023), section 4.1: up to 12 persons with more than 12 photos each are the probe persons; everybody
else's photos are the gallery's distractors. Each photo of a probe person is put into the gallery in turn, and
the person's other photos are asked about: is the placed photo more similar than every distractor? Photos of
the *other* probe persons play no part then (355 probe photos and 12,878 others are all of LFW).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from avih.errors import UsageError
from avih.evaluation.metrics import Floats, unit_rows
from avih.evaluation.probe_persons import MINIMUM_PHOTOS, PROBE_PERSONS, PersonCounts, choose_probe_persons

BLOCK: Final = 4096  # gallery rows compared at once, to bound the memory
# Two cosines nearer than this are equal: the order of additions in a matrix product moves the last digits.
TIE: Final = 1e-9

Right = NDArray[np.bool_]


@dataclass(frozen=True)
class Features:
    """Features of some photos and the person on each: row i of both arrays and of ``persons`` is one photo.

    Shape:
        original, protected: float (n, d), of any lengths: only directions count.
    """

    original: NDArray[Any]
    protected: NDArray[Any]
    persons: Sequence[str]


# Reads a gallery's features part by part: those of some persons, or of everybody (None).
ReadFeatures = Callable[[frozenset[str] | None], Iterator[Features]]


@dataclass(frozen=True)
class IdentificationResult:
    """Rank-1 accuracies as fractions, None where there is nothing to measure (``note`` says why)."""

    acc_original: float | None
    acc_one: float | None
    acc_all: float | None
    probe_persons: tuple[str, ...]
    probe_photos: int
    comparisons: int
    gallery_size: int
    note: str


@dataclass(frozen=True)
class Comparisons:
    """Whether each (placed photo, probe photo) pair was right, with no, one or all gallery photos protected.

    Shape: all arrays (comparisons,); ``persons`` names the probe person, for
    :func:`avih.evaluation.bootstrap.bootstrap_interval`.

    Attributes:
        probes: how many photos were asked about.
        distractors: how many photos of others they were compared with.
    """

    persons: NDArray[np.str_]
    original: Right
    one: Right
    all_protected: Right
    probes: int
    distractors: int


def identify(
    *,
    original: NDArray[Any],
    protected: NDArray[Any],
    persons: Sequence[str],
    count: int = PROBE_PERSONS,
    minimum_photos: int = MINIMUM_PHOTOS,
    seed: int = 0,
) -> IdentificationResult:
    """Measure rank-1 identification of features that are in memory: :func:`identify_parts` of one part.

    Shape:
        original, protected: float (n, d), of any lengths: only directions count.

    Raises:
        UsageError: the shapes do not fit together, or a feature is not finite.
    """
    whole = Features(original, protected, persons)
    _check(whole)
    counts = PersonCounts()
    counts.add(persons)
    return identify_parts(
        _reader(whole), counts=counts, count=count, minimum_photos=minimum_photos, seed=seed
    )


def identify_parts(
    read: ReadFeatures,
    *,
    counts: PersonCounts,
    count: int = PROBE_PERSONS,
    minimum_photos: int = MINIMUM_PHOTOS,
    seed: int = 0,
) -> IdentificationResult:
    """Measure rank-1 identification in an ORIGINAL, a ONE and an ALL gallery; probes are always originals.

    ORIGINAL: only originals in the gallery. ONE: the placed photo is its protected image. ALL: every photo
    in the gallery is its protected image. A comparison is right if the placed photo's cosine is *above* that
    of every distractor. A tie counts as wrong: otherwise a recogniser that gives every photo the same
    feature would be right every time. Accuracy is the mean over all pairs (placed photo, probe photo).
    In memory are the probe persons' features and one part of the gallery's.

    Args:
        read: reads the features; it is called twice.
        counts: the photos of each person.
        count: how many probe persons at most.
        minimum_photos: how many photos a probe person should have.
        seed: which of the qualified persons are taken.

    Raises:
        UsageError: the shapes do not fit together, or a feature is not finite.
    """
    chosen, note = choose_probe_persons(counts, count=count, minimum_photos=minimum_photos, seed=seed)
    if not chosen:
        return IdentificationResult(None, None, None, (), 0, 0, 0, note)
    compared = compare_parts(read, probe_persons=chosen)
    return IdentificationResult(
        acc_original=float(compared.original.mean()),
        acc_one=float(compared.one.mean()),
        acc_all=float(compared.all_protected.mean()),
        probe_persons=chosen,
        probe_photos=compared.probes,
        comparisons=len(compared.persons),
        gallery_size=compared.distractors + 1,
        note=note,
    )


def compare_photos(
    *,
    original: NDArray[Any],
    protected: NDArray[Any],
    persons: Sequence[str],
    probe_persons: Sequence[str],
) -> Comparisons:
    """Make every comparison of :func:`identify` and return them one by one, for intervals by person.

    Shape: original, protected: float (n, d).

    Raises:
        UsageError: the shapes do not fit together, a feature is not finite, or there is no distractor.
    """
    return compare_parts(_reader(Features(original, protected, persons)), probe_persons=probe_persons)


def compare_parts(read: ReadFeatures, *, probe_persons: Sequence[str]) -> Comparisons:
    """Make every comparison of :func:`identify_parts`.

    Raises:
        UsageError: the shapes do not fit together, a feature is not finite, or there is no distractor.
    """
    chosen = frozenset(probe_persons)
    own_parts = list(read(chosen))
    for part in own_parts:
        _check(part)
    names = np.array([str(person) for part in own_parts for person in part.persons])
    probes = np.concatenate([unit_rows(part.original) for part in own_parts])
    placed = np.concatenate([unit_rows(part.protected) for part in own_parts])
    rival_original, rival_protected, distractors = _best_rivals(read, chosen=chosen, probes=probes)
    if not distractors:
        raise UsageError("Expected photos of others than the probe persons, got none: choose fewer of them.")
    found: dict[str, list[Any]] = {"persons": [], "original": [], "one": [], "all_protected": []}
    for person in sorted(chosen):
        own = np.flatnonzero(names == person)
        others = ~np.eye(own.size, dtype=bool)  # a photo is never compared with itself
        unprotected = (probes[own] @ probes[own].T)[others]  # row: placed photo, column: probe
        hidden = (placed[own] @ probes[own].T)[others]
        limit, limit_all = (
            np.broadcast_to(rival[own], others.shape)[others] + TIE
            for rival in (rival_original, rival_protected)
        )
        found["persons"].append(np.full(unprotected.size, person, dtype=names.dtype))
        found["original"].append(unprotected > limit)
        found["one"].append(hidden > limit)
        found["all_protected"].append(hidden > limit_all)
    arrays = {name: np.concatenate(parts) for name, parts in found.items()}
    return Comparisons(**arrays, probes=len(probes), distractors=distractors)


def _best_rivals(read: ReadFeatures, *, chosen: frozenset[str], probes: Floats) -> tuple[Floats, Floats, int]:
    """Return each probe's highest cosine with others' originals and protected photos, and how many these are."""
    best_original, best_protected = (np.full(len(probes), -np.inf) for _ in range(2))
    distractors = 0
    for part in read(None):
        _check(part)
        rows = np.flatnonzero(~np.isin([str(person) for person in part.persons], list(chosen)))
        distractors += rows.size
        for start in range(0, rows.size, BLOCK):
            block = rows[start : start + BLOCK]
            for best, features in ((best_original, part.original), (best_protected, part.protected)):
                np.maximum(best, (probes @ unit_rows(features[block]).T).max(axis=1), out=best)
    return best_original, best_protected, distractors


def _reader(whole: Features) -> ReadFeatures:
    """Read features that are in memory."""

    def read(persons: frozenset[str] | None) -> Iterator[Features]:
        rows = [place for place, name in enumerate(whole.persons) if persons is None or str(name) in persons]
        named = [whole.persons[place] for place in rows]
        yield Features(whole.original[rows], whole.protected[rows], named) if persons is not None else whole

    return read


def _check(part: Features) -> None:
    original, protected, persons = part.original, part.protected, part.persons
    nothing = len(persons) == original.size == protected.size == 0  # features of no photo have no length
    shapes_fit = original.ndim == 2 and original.shape == protected.shape and len(original) == len(persons)
    if not (nothing or shapes_fit):
        raise UsageError(
            "Expected features (n, d) of n originals and of their protected images and n persons, got "
            f"{original.shape}, {protected.shape} and {len(persons)}: leave out photos that have only one."
        )
