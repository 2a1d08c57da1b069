"""Rank-1 identification by the papers' protocol: whether the recogniser still finds persons in the gallery.

AVIH (ICCV 2023), section 4.1: up to 12 persons with more than 12 photos each are the probe persons; everybody
else's photos are the gallery's distractors. Each photo of a probe person is put into the gallery in turn, and
the person's other photos are asked about: is the placed photo more similar than every distractor? Photos of
the *other* probe persons play no part then (355 probe photos and 12,878 others are all of LFW).
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from avih.errors import UsageError
from avih.evaluation.metrics import Floats, unit_rows

PROBE_PERSONS: Final = 12
MINIMUM_PHOTOS: Final = 13  # "more than 12 facial images"
BLOCK: Final = 4096  # gallery rows compared at once, to bound the memory
# Two cosines nearer than this are equal: the order of additions in a matrix product moves the last digits.
TIE: Final = 1e-9

Right = NDArray[np.bool_]
Column = Sequence[Any] | NDArray[Any]


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

    Shape: all arrays (comparisons,); ``persons`` names the probe person, for :func:`bootstrap_interval`.
    """

    persons: NDArray[np.str_]
    original: Right
    one: Right
    all_protected: Right


def choose_probe_persons(
    persons: Sequence[str], *, count: int = PROBE_PERSONS, minimum_photos: int = MINIMUM_PHOTOS, seed: int = 0
) -> tuple[tuple[str, ...], str]:
    """Choose the probe persons and say what, if anything, differs from the papers' protocol.

    Where more persons qualify than are wanted, each draws a lot from ``seed`` and the name alone, so neither
    the photos' order nor a newcomer with few photos changes the choice. Where fewer than two qualify, the
    persons with the most photos (at least two) take their place. Where that leaves nobody as a distractor,
    half of them become distractors: without any, every answer would be right.

    Args:
        persons: the person on each photo; an empty text is somebody unknown, who can only be a distractor.
        count: how many probe persons at most.
        minimum_photos: how many photos a probe person should have.
        seed: which of the qualified persons are taken.

    Returns:
        The chosen persons in alphabetical order (none: impossible), and a note (empty: as in the papers).

    Raises:
        UsageError: ``count`` is below 1 or ``minimum_photos`` below 2.
    """
    if count < 1 or minimum_photos < 2:
        raise UsageError(f"Expected count >= 1 and minimum_photos >= 2, got {count} and {minimum_photos}.")
    photos = Counter(str(person) for person in persons if person)
    drawn = sorted(photos, key=lambda person: _draw(person, seed=seed))
    enough = [person for person in drawn if photos[person] >= minimum_photos]
    notes = []
    if len(enough) >= 2:
        chosen = enough[:count]
    else:
        several = [person for person in drawn if photos[person] >= 2]
        chosen = sorted(several, key=lambda person: -photos[person])[:count]  # stable: ties stay as drawn
        if not chosen:
            return (), "No person has 2 photos, so identification cannot be measured."
        fewest, most = photos[chosen[-1]], photos[chosen[0]]
        notes.append(
            f"Fewer than 2 persons have at least {minimum_photos} photos each; instead the probe persons are "
            f"the {len(chosen)} with the most photos ({fewest} to {most} each)."
        )
    if len(chosen) == len(photos) and all(persons):
        if len(chosen) == 1:
            return (), "All photos show one person, so there is nobody to be confused with."
        notes.append(
            f"All {len(chosen)} persons could be probe persons; {len(chosen) - len(chosen) // 2} of them "
            "are distractors instead."
        )
        chosen = chosen[: len(chosen) // 2]
    return tuple(sorted(chosen)), " ".join(notes)


def _draw(person: str, *, seed: int) -> bytes:
    """Return a person's lot: the same in every gallery and with every version of numpy."""
    return hashlib.sha256(f"{seed}/{person}".encode()).digest()


def identify(
    *,
    original: NDArray[Any],
    protected: NDArray[Any],
    persons: Sequence[str],
    count: int = PROBE_PERSONS,
    minimum_photos: int = MINIMUM_PHOTOS,
    seed: int = 0,
) -> IdentificationResult:
    """Measure rank-1 identification in an ORIGINAL, a ONE and an ALL gallery; probes are always originals.

    ORIGINAL: only originals in the gallery. ONE: the placed photo is its protected image. ALL: every photo
    in the gallery is its protected image. A comparison is right if the placed photo's cosine is *above* that
    of every distractor. A tie counts as wrong: otherwise a recogniser that gives every photo the same
    feature would be right every time. Accuracy is the mean over all pairs (placed photo, probe photo). Row i
    of both arrays and of ``persons`` is one photo; the rest is as for :func:`choose_probe_persons`.

    Shape:
        original, protected: float (n, d), of any lengths: only directions count.

    Raises:
        UsageError: the shapes do not fit together, or a feature is not finite.
    """
    _check(original=original, protected=protected, persons=persons)
    chosen, note = choose_probe_persons(persons, count=count, minimum_photos=minimum_photos, seed=seed)
    if not chosen:
        return IdentificationResult(None, None, None, (), 0, 0, 0, note)
    compared = compare_photos(original=original, protected=protected, persons=persons, probe_persons=chosen)
    probe_photos = sum(person in chosen for person in persons)
    return IdentificationResult(
        acc_original=float(compared.original.mean()),
        acc_one=float(compared.one.mean()),
        acc_all=float(compared.all_protected.mean()),
        probe_persons=chosen,
        probe_photos=probe_photos,
        comparisons=len(compared.persons),
        gallery_size=len(persons) - probe_photos + 1,
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
    _check(original=original, protected=protected, persons=persons)
    names = np.array([str(person) for person in persons])
    is_probe = np.isin(names, list(probe_persons))
    distractors = np.flatnonzero(~is_probe)
    if distractors.size == 0:
        raise UsageError("Expected photos of others than the probe persons, got none: choose fewer of them.")
    rows = np.flatnonzero(is_probe)
    probes, placed = unit_rows(original[rows]), unit_rows(protected[rows])
    rival_original = _best_cosine(probes, features=original, rows=distractors)
    rival_protected = _best_cosine(probes, features=protected, rows=distractors)
    found: dict[str, list[Any]] = {"persons": [], "original": [], "one": [], "all_protected": []}
    for person in sorted(set(probe_persons)):
        own = np.flatnonzero(names[rows] == person)
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
    return Comparisons(**{name: np.concatenate(parts) for name, parts in found.items()})


def _best_cosine(probes: Floats, *, features: NDArray[Any], rows: NDArray[np.intp]) -> Floats:
    """Return each probe's highest cosine with any of the chosen rows, block by block."""
    best = np.full(len(probes), -np.inf)
    for start in range(0, len(rows), BLOCK):
        block = unit_rows(features[rows[start : start + BLOCK]])
        np.maximum(best, (probes @ block.T).max(axis=1), out=best)
    return best


def _check(*, original: NDArray[Any], protected: NDArray[Any], persons: Sequence[str]) -> None:
    nothing = len(persons) == original.size == protected.size == 0  # features of no photo have no length
    shapes_fit = original.ndim == 2 and original.shape == protected.shape and len(original) == len(persons)
    if not (nothing or shapes_fit):
        raise UsageError(
            "Expected features (n, d) of n originals and of their protected images and n persons, got "
            f"{original.shape}, {protected.shape} and {len(persons)}: leave out photos that have only one."
        )


def bootstrap_interval(
    values: Column, groups: Column, *, repeats: int = 1000, seed: int = 0, level: float = 0.95
) -> tuple[float, float]:
    """Return an interval for the mean of ``values`` by drawing whole groups (persons) with replacement.

    Photos of one person are alike, so drawing photos instead of persons would make the interval too narrow
    (the cluster bootstrap, percentile interval: Davison and Hinkley 1997, section 3.8).

    Args:
        values: one figure per photo or comparison, (n,).
        groups: the person each belongs to, (n,).
        repeats: how many times the persons are drawn.
        seed: seed of the drawing.
        level: share of the drawn means inside the interval, between 0 and 1.

    Raises:
        UsageError: lengths differ, a value is not finite, fewer than 2 groups, or a level outside (0, 1).
    """
    numbers = np.asarray(values, dtype=np.float64)
    names, membership = np.unique(np.asarray(groups), return_inverse=True)
    if numbers.ndim != 1 or numbers.shape != membership.shape or not np.isfinite(numbers).all():
        raise UsageError(
            f"Expected n finite values and n groups, got {numbers.shape} and {membership.shape}."
        )
    if len(names) < 2 or repeats < 1 or not 0 < level < 1:
        raise UsageError(
            f"Expected 2 groups or more, a repeat or more and a level between 0 and 1, got {len(names)}, "
            f"{repeats} and {level}."
        )
    sums, sizes = np.bincount(membership, weights=numbers), np.bincount(membership)
    generator, means = np.random.default_rng(seed), np.empty(repeats)
    for repeat in range(repeats):
        drawn = generator.integers(0, len(names), size=len(names))
        means[repeat] = sums[drawn].sum() / sizes[drawn].sum()
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
