"""Which reading of a card tells persons apart best, on photos whose persons are known."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from avih.align import AlignedFace, Aligner
from avih.datasets import open_source
from avih.errors import ImageRefused
from avih.images import decode_photo
from avih.recognisers.alternatives import Alternative, ranges, swapped, templates
from avih.recognisers.card import RecogniserCard
from avih.recognisers.findings import Finding, ok, warning, wrong
from avih.recognisers.load import Recogniser

MOST_PERSONS: Final = 40
PHOTOS_EACH: Final = 4
FEWEST_PERSONS: Final = 5
BATCH: Final = 16
SURE: Final = 3.0  # standard errors, over persons, before an alternative counts as better
LEAST_AREA: Final = 0.005  # gained
LEAST_GAP: Final = 0.05  # gained; small galleries are named right by a half-wrong card too
POOR_AREA: Final = 0.9
TEMPLATES_READ: Final = ("112x112", "112x96", "224x224")  # others show the same part of a face
UNALIGNED: Final = "not aligned"

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Score:
    """How well one reading of the card tells the photos' persons apart.

    Attributes:
        name: the reading.
        change: lines for the card; empty for the card itself and where no line does it.
        rank_1: share of photos whose most similar other photo shows the same person.
        area: chance that a photo is more similar to one of its person than to one of another (AUC).
        same: mean cosine of two photos of a person.
        other: mean cosine of photos of two persons.
    """

    name: str
    change: str
    rank_1: float
    area: float
    same: float
    other: float


@dataclass(frozen=True)
class Scores:
    """All readings on the same photos.

    Attributes:
        photos: photos with a face that were used.
        persons: persons with at least two of them.
        gray: whether no photo has colours.
        readings: the card's own first.
        per_person: each reading's area and gap (cosine in the person less that to others), for each person.
    """

    photos: int
    persons: int
    gray: bool
    readings: tuple[Score, ...]
    per_person: tuple[NDArray[np.float64], ...]

    def as_rows(self) -> tuple[dict[str, Any], ...]:
        """Return plain values."""
        return tuple(asdict(score) for score in self.readings)

    def better(self) -> Score | None:
        """Return the reading that is better than the card's by more than chance, or None."""
        sure = []
        for score, figures in zip(self.readings, self.per_person, strict=True):
            gain = figures - self.per_person[0]
            mean, chance = gain.mean(axis=0), SURE * gain.std(axis=0, ddof=1) / len(gain) ** 0.5
            by_area, by_gap = mean > np.maximum([LEAST_AREA, LEAST_GAP], chance)
            if by_area or (by_gap and mean[0] > -LEAST_AREA):
                sure.append((round(float(mean[1]), 2), score))
        return max(sure, key=lambda entry: entry[0])[1] if sure else None


def photo_scores(recogniser: Recogniser, folder: Path) -> Scores:
    """Score the card and its alternatives, one change at a time.

    Raises:
        UsageError: the folder cannot be read as photos.
    """
    photos, persons = _photos(folder)
    faces = _aligned(photos, recogniser.card.template)
    # A person with one face cannot be compared with itself.
    kept = [i for i, face in enumerate(faces) if face is not None]
    kept = [i for i in kept if sum(persons[k] == persons[i] for k in kept) > 1]
    names = np.array([persons[i] for i in kept])
    count = len(set(names))
    gray = all(bool((photos[i] == photos[i][..., :1]).all()) for i in kept)
    if count < FEWEST_PERSONS:
        return Scores(len(kept), count, gray, (), ())
    readings, figures = [], []
    for one in _readings(recogniser, gray=gray):
        pictures = _pictures([photos[i] for i in kept], [faces[i] for i in kept], one, recogniser.card)
        features = _features(one.of(recogniser), pictures)
        if features is not None and len(features) == len(names):
            score, per_person = _scored(one, features, names)
            readings.append(score)
            figures.append(per_person)
    return Scores(len(kept), count, gray, tuple(readings), tuple(figures))


def photos_findings(card: RecogniserCard, scores: Scores) -> list[Finding]:
    """Put the scores into words."""
    found = []
    if scores.persons < FEWEST_PERSONS:
        return [warning("photos", f"faces of {scores.persons} persons with two photos or more, too few to judge",
                        f"Give photos of at least {FEWEST_PERSONS} persons, a folder for each.")]  # fmt: skip
    own, better = scores.readings[0], scores.better()
    text = (
        f"{scores.photos} photos of {scores.persons} persons: {own.rank_1:.0%} named right, cosine "
        f"{own.same:.2f} in a person and {own.other:.2f} between persons, area {own.area:.3f}"
    )
    if better is not None:
        said = (
            f"{better.name} names {better.rank_1:.0%} instead of {own.rank_1:.0%} (area {better.area:.3f} "
            f"instead of {own.area:.3f}, cosines {better.same:.2f} and {better.other:.2f})"
        )
        do = f"Set {better.change}, and check again." if better.change else (
            "The network was trained on photos that are not aligned like this. avih aligns every face: take a "
            "network trained on aligned faces."
        )  # fmt: skip
        found.append((wrong if better.change else warning)("photos", f"{text}; {said}", do))
    elif own.area < POOR_AREA:
        do = "No alternative does better: check the weights, and whether the network is one for faces."
        found.append(warning("photos", text, do))
    else:
        found.append(ok("photos", f"{text}; no alternative does better"))
    if scores.gray:
        found.append(warning("colours", f"the photos are gray: colour order {card.colour_order} cannot be judged",
                             "Give photos with colours."))  # fmt: skip
    return found


def _photos(folder: Path) -> tuple[list[Pixels], list[str]]:
    """Read up to so many photos of up to so many persons."""
    source = open_source(source=str(folder))
    by_person: dict[str, list[Any]] = {}
    for photo in source.photos():
        by_person.setdefault(photo.person, []).append(photo)
    pixels, persons = [], []
    for person, photos in islice(((p, f) for p, f in by_person.items() if len(f) > 1), MOST_PERSONS):
        for photo in photos[:PHOTOS_EACH]:
            try:
                pixels.append(decode_photo(source.read(photo), name=photo.path).pixels)
                persons.append(person)
            except ImageRefused:  # a damaged photo is no loss here
                continue
    return pixels, persons


def _aligned(photos: Sequence[Pixels], template: str) -> list[Pixels | None]:
    faces = Aligner(template=template).align(photos)
    return [face.pixels if isinstance(face, AlignedFace) else None for face in faces]


def _readings(recogniser: Recogniser, *, gray: bool) -> list[Alternative]:
    colours = [] if gray else [swapped(recogniser.card)]
    sizes = templates(recogniser, TEMPLATES_READ)
    own = Alternative("as in the card", {})
    return [own, *colours, *ranges(recogniser.card), *sizes, Alternative(UNALIGNED, {})]


def _pictures(
    photos: list[Pixels], faces: list[Pixels | None], one: Alternative, card: RecogniserCard
) -> list[Pixels]:
    """Return what the network is shown in this reading."""
    if one.name == UNALIGNED:
        size = (card.input_width, card.input_height)
        return [np.asarray(Image.fromarray(p).resize(size, Image.Resampling.BILINEAR)) for p in photos]
    if "template" in one.changes:
        faces = _aligned(photos, one.changes["template"])
    return [face for face in faces if face is not None]


def _features(recogniser: Recogniser, pictures: list[Pixels]) -> NDArray[np.float64] | None:
    """Return a unit feature per picture; None where some are not finite."""
    batches = (pictures[i : i + BATCH] for i in range(0, len(pictures), BATCH))
    with torch.no_grad():
        rows = [recogniser(torch.from_numpy(np.stack(b)).permute(0, 3, 1, 2).float() / 255) for b in batches]
    features = torch.cat(rows).double().numpy()
    return features if np.isfinite(features).all() else None


def _scored(
    one: Alternative, features: NDArray[np.float64], names: NDArray[np.str_]
) -> tuple[Score, NDArray[np.float64]]:
    """Compare every photo with every other.

    Shape:
        - features: ``(photos, feature_size)``; names: ``(photos,)``; returns the area of each person too.
    """
    cosines = features @ features.T
    alike = names[:, None] == names[None, :]
    itself = np.eye(len(names), dtype=bool)
    same, other = alike & ~itself, ~alike
    first = np.where(itself, -np.inf, cosines).argmax(axis=1)
    areas = np.array([
        (np.sign(cosines[i][same[i]][:, None] - cosines[i][other[i]][None, :]).mean() + 1) / 2
        for i in range(len(names))
    ])  # fmt: skip
    gaps = np.array([cosines[i][same[i]].mean() - cosines[i][other[i]].mean() for i in range(len(names))])
    figures = np.stack([areas, gaps], axis=1)
    score = Score(
        name=one.name, change=one.words(), rank_1=float((names[first] == names).mean()),
        area=float(areas.mean()), same=_plain(cosines[same].mean()), other=_plain(cosines[other].mean()),
    )  # fmt: skip
    return score, np.array([figures[names == name].mean(axis=0) for name in sorted(set(names))])


def _plain(cosine: float) -> float:
    """Round a figure, and never to a negative zero."""
    return round(float(cosine), 4) if abs(cosine) >= 0.005 else 0.0
