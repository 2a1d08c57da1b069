"""Time a few photos and a few steps of key training, in memory only: nothing of a sample is kept or handed on."""

import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, TypeVar

import numpy as np
import torch

from avih.align import TEMPLATES, AlignedFace, Aligner
from avih.datasets import Photo, PhotoSource
from avih.datasets.pictures import public_pictures
from avih.errors import ImageRefused, UsageError
from avih.images import decode_photo, encode_png
from avih.key_training import PictureSampler, train_generator
from avih.recovery import Picture
from avih.settings import KeySettings
from tasks.progress import advance, begin

FACES: Final = 8
TOGETHER: Final = 4  # photos that are aligned, and timed, as one
ALIGN_SECONDS, KEY_SECONDS = 6.0, 4.0  # a stage's sample stops after about these
FEWEST_KEY_STEPS, MOST_KEY_STEPS = 3, 30  # the first step pays for what all of them use, and is not counted
TRAINING_FACES: Final = 4

_Result = TypeVar("_Result")


@dataclass(frozen=True, repr=False)
class FaceSample:
    """Photos that were read and aligned, and the seconds that each took.

    Attributes:
        faces: eight of the faces or fewer, uint8 ``(H, W, 3)``.
        sampled, found: how many photos were tried, and how many of them show a usable face.
        read, align: seconds of each photo.
    """

    faces: tuple[Picture, ...]
    sampled: int
    found: int
    read: tuple[float, ...]
    align: tuple[float, ...]


def sample_faces(*, source: PhotoSource, photos: Sequence[Photo], aligner: Aligner) -> FaceSample:
    """Read and align photos until there are eight faces, or a face and no time left.

    Raises:
        UsageError: no photo shows a usable face.
    """
    faces: list[Picture] = []
    read: list[float] = []
    align: list[float] = []
    refused: set[str] = set()
    begin("align", FACES)
    began = time.perf_counter()
    for start in range(0, len(photos), TOGETHER):
        together = photos[start : start + TOGETHER]
        data = []
        for photo in together:
            loaded, seconds = timed(lambda photo=photo: _read(source, photo))  # type: ignore[misc]
            read.append(seconds)
            data.append(loaded)
        if not faces:  # the first photo of a process pays for what all of them use
            _align(data[:1], aligner)
        results, seconds = timed(lambda data=data: _align(data, aligner))  # type: ignore[misc]
        align += [seconds / len(together)] * len(together)
        new = [result.pixels for result in results if isinstance(result, AlignedFace)]
        refused |= {result.reason for result in results if isinstance(result, ImageRefused)}
        faces += new
        advance("align", len(new))
        if len(faces) >= FACES or (faces and time.perf_counter() - began > ALIGN_SECONDS):
            break
    if not faces:
        raise UsageError(
            f"Expected a face in a sample of {len(align)} photos, got none ({', '.join(sorted(refused))}). "
            "Look at these photos, and whether the source is the right folder."
        )
    return FaceSample(tuple(faces[:FACES]), len(align), len(faces), tuple(read), tuple(align))


def _read(source: PhotoSource, photo: Photo) -> bytes | ImageRefused:
    try:
        return source.read(photo)
    except ImageRefused as refusal:
        return refusal


def _align(photos: Sequence[bytes | ImageRefused], aligner: Aligner) -> list[AlignedFace | ImageRefused]:
    """Decode, align and encode, as the align stage does."""
    decoded: list[Picture] = []
    results: list[AlignedFace | ImageRefused] = []
    for data in photos:
        try:
            if isinstance(data, ImageRefused):
                raise data
            decoded.append(decode_photo(data).pixels)
        except ImageRefused as refusal:
            results.append(refusal)
    aligned = aligner.align(decoded)
    for face in aligned:
        if isinstance(face, AlignedFace):
            encode_png(face.pixels)
    return results + aligned


class _EnoughSteps(Exception):
    """Ends a training whose steps have been timed."""


def sample_training(*, settings: KeySettings, template: str, device: torch.device) -> list[float]:
    """Return the seconds of some steps of a key's training; the network is thrown away."""
    size = TEMPLATES[template]
    sampler = PictureSampler(
        pictures=public_pictures(faces=TRAINING_FACES), height=size.height, width=size.width,
        rng=np.random.default_rng(),
    )  # fmt: skip
    stamps = [time.perf_counter()]
    begin("key", min(settings.steps, MOST_KEY_STEPS))

    def stepped(done: int) -> None:
        stamps.append(time.perf_counter())
        advance("key", done)
        steps = len(stamps) - 1
        late = stamps[-1] - stamps[0] > KEY_SECONDS
        if steps >= MOST_KEY_STEPS or (steps >= FEWEST_KEY_STEPS and late):
            raise _EnoughSteps

    with suppress(_EnoughSteps):
        train_generator(
            settings=settings,
            sampler=sampler,
            seed=secrets.randbits(62),
            device=str(device),
            progress=stepped,
        )
    seconds = [after - before for before, after in pairwise(stamps)]
    return seconds[1:] or seconds


def timed(function: Callable[[], _Result]) -> tuple[_Result, float]:
    """Call a function; return what it gives, and the seconds it took."""
    began = time.perf_counter()
    result = function()
    return result, time.perf_counter() - began
