"""Faces for the experiments: real ones where they are at hand, else drawn ones, always split by person.

``test`` persons have the most photos and are measured on; ``single`` persons have one photo each and stand in
galleries as strangers; ``second`` persons train the second recogniser and appear in no measurement.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from avih.align import AlignedFace, Aligner
from avih.datasets import Photo, PhotoSource, open_source
from avih.datasets.folders import SyntheticSource
from avih.errors import ImageRefused
from avih.images import decode_photo
from avih.recognisers import Recogniser, load_recogniser
from avih.reproduction.context import Context

Picture = NDArray[np.uint8]
Part = Literal["test", "single", "second"]
MANY, SOME = 20, 4  # photos of a test person, and of a person of the second recogniser, at least
AT_ONCE = 32


@dataclass(frozen=True)
class Face:
    """One aligned photo; ``name`` is ``Person/file`` without its ending.

    Shape:
        - pixels: ``(H, W, 3)`` uint8, the recogniser's size.
    """

    name: str
    person: str
    pixels: Picture


@dataclass(frozen=True)
class Faces:
    """Photos by person, not read yet, and the recogniser that serves them.

    Attributes:
        data: name of the data, for the tables.
        model: name of the recogniser, for the tables.
        photos: paths of each person's photos, in order.
    """

    data: str
    model: str
    source: PhotoSource
    recogniser: Recogniser
    parts: Mapping[Part, Mapping[str, Sequence[Photo]]]

    def persons(self, part: Part, *, most: int | None = None) -> list[str]:
        """Name a part's persons: most photos first, then by name."""
        of_part = self.parts[part]
        return sorted(of_part, key=lambda person: (-len(of_part[person]), person))[:most]

    def aligned(
        self, part: Part, *, persons: Sequence[str] | None = None, photos_each: int | None = None
    ) -> list[Face]:
        """Read and align photos; those in which no face is found are left out.

        Args:
            part: which persons.
            persons: of these only.
            photos_each: most photos of a person, the first ones.
        """
        of_part = self.parts[part]
        wanted = [
            photo
            for person in (self.persons(part) if persons is None else persons)
            for photo in of_part[person][:photos_each]
        ]
        found: list[Face] = []
        for start in range(0, len(wanted), AT_ONCE):
            found += self._align(wanted[start : start + AT_ONCE])
        return found

    def _align(self, photos: Sequence[Photo]) -> list[Face]:
        decoded = []
        for photo in photos:
            try:
                decoded.append((photo, decode_photo(self.source.read(photo), name=photo.path).pixels))
            except ImageRefused:
                continue
        aligner = _aligner(self.recogniser.card.template)
        results = aligner.align([pixels for _, pixels in decoded])
        return [
            Face(photo.path.rsplit(".", 1)[0], photo.person, result.pixels)
            for (photo, _), result in zip(decoded, results, strict=True)
            if isinstance(result, AlignedFace)
        ]


@lru_cache(maxsize=2)
def _aligner(template: str) -> Aligner:
    return Aligner(template=template)


def faces(context: Context) -> Faces:
    """Return LFW with MobileFaceNet if both were given, else drawn faces with the recogniser that ships.

    The ``smoke`` profile always takes drawn faces, so that it shows the same everywhere.
    """
    lfw, weights = context.data.lfw, context.data.mobilefacenet
    if context.profile == "smoke" or lfw is None or weights is None:
        return _drawn(context)
    return _real(str(lfw), str(weights), context.data.lfw_name, context.device)


@lru_cache(maxsize=1)
def _real(lfw: str, weights: str, name: str, device: str) -> Faces:
    source = open_source(source=lfw)
    by_person: dict[str, list[Photo]] = {}
    for photo in source.photos():
        by_person.setdefault(photo.person, []).append(photo)
    parts: dict[Part, dict[str, list[Photo]]] = {"test": {}, "second": {}, "single": {}}
    for person, photos in by_person.items():
        part: Part = "test" if len(photos) >= MANY else "second" if len(photos) >= SOME else "single"
        parts[part][person] = photos
    recogniser = load_recogniser(card="mobilefacenet", weights=Path(weights), cache=Path(), device=device)
    return Faces(name, "MobileFaceNet (ArcFace loss, 112x96)", source, recogniser, parts)


@lru_cache(maxsize=2)
def _drawn(context: Context) -> Faces:
    many = context.size(smoke=6, cpu=MANY, full=MANY)
    source = SyntheticSource(persons=context.size(smoke=16, cpu=96, full=96), photos_per_person=many)
    by_person: dict[str, list[Photo]] = {}
    for photo in source.photos():
        by_person.setdefault(photo.person, []).append(photo)
    names = sorted(by_person)
    test, second = context.size(smoke=(5, 5), cpu=(32, 32), full=(32, 32))
    parts: dict[Part, dict[str, list[Photo]]] = {
        "test": {name: by_person[name] for name in names[:test]},
        "second": {name: by_person[name] for name in names[test : test + second]},
        "single": {name: by_person[name][:1] for name in names[test + second :]},
    }
    recogniser = load_recogniser(card="synthetic", weights=None, cache=Path(), device=context.device)
    return Faces("drawn faces (built in)", "SmallFaceNet (ships with avih)", source, recogniser, parts)
