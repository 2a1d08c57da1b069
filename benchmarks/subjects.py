"""What the variants are compared on: aligned faces, one recogniser, and generators with fixed public seeds.

A key whose seed is printed in a program protects nothing; here it lets anybody repeat the figures.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn

from avih.align import AlignedFace, Aligner
from avih.atomic import write_bytes
from avih.datasets import Photo, PhotoSource, open_source
from avih.datasets.pictures import public_pictures
from avih.errors import ImageRefused, UsageError
from avih.generators import load_generator, save_generator
from avih.images import decode_photo
from avih.key_training import PictureSampler, train_generator
from avih.recognisers import Recogniser
from avih.settings import KeySettings

Picture = NDArray[np.uint8]

PUBLIC_SEED = 2023
ALIGNED_AT_ONCE = 16
# Fixed and public, as the seeds are.
SECRET = hashlib.sha256(b"avih benchmark, no secret").digest()
WRONG_SECRET = hashlib.sha256(b"avih benchmark, another one").digest()


@dataclass(frozen=True)
class Faces:
    """Aligned pictures of different persons.

    Shape:
        - pictures: uint8 ``(H, W, 3)``, all of the recogniser's size.
    """

    source: str
    names: tuple[str, ...]
    pictures: tuple[Picture, ...]


@dataclass(frozen=True)
class Network:
    """A generator and how it was made, in words."""

    generator: nn.Module
    made: str


@dataclass(frozen=True)
class Subjects:
    """Everything that all variants share.

    Args:
        faces: images of all repeats, one after another.
        recogniser: the service model, float32.
        plain: the key of the papers' recovery.
        wrong: another such key.
        keyed: the codec generator of the keyed recovery.
    """

    faces: Faces
    recogniser: Recogniser
    plain: Network
    wrong: Network
    keyed: Network


def load_faces(*, source: str, template: str, count: int, device: str = "cpu") -> Faces:
    """Align one photo each of ``count`` persons, spread evenly over the source.

    Args:
        source: a folder of photos, or ``synthetic``.
        template: the recogniser's.
        count: persons wanted.
        device: where faces are looked for.

    Raises:
        UsageError: the source has fewer persons with a usable photo.
    """
    opened = open_source(source=source)
    first_photos = {photo.person: photo for photo in reversed(list(opened.photos()))}
    waiting = _spread(sorted(first_photos.values(), key=lambda photo: photo.path), count)
    aligner = Aligner(template=template, device=device)
    names: list[str] = []
    pictures: list[Picture] = []
    while waiting and len(pictures) < count:
        at_once = max(1, min(ALIGNED_AT_ONCE, count - len(pictures)))
        taken, waiting = waiting[:at_once], waiting[at_once:]
        for photo, pixels in _aligned(opened, taken, aligner):
            names.append(photo.path)
            pictures.append(pixels)
    if len(pictures) < count:
        raise UsageError(
            f"Expected {count} persons with a usable photo in {opened.name}, got {len(pictures)}. "
            "Use fewer images or repeats, or another source."
        )
    return Faces(opened.name, tuple(names), tuple(pictures))


def _spread(photos: Sequence[Photo], count: int) -> list[Photo]:
    """Put photos at equal distances first; the rest follow, in case some cannot be used."""
    stride = max(1, len(photos) // max(1, count))
    return [photo for offset in range(stride) for photo in photos[offset::stride]]


def _aligned(source: PhotoSource, photos: Sequence[Photo], aligner: Aligner) -> list[tuple[Photo, Picture]]:
    decoded = []
    for photo in photos:
        try:
            decoded.append((photo, decode_photo(source.read(photo), name=photo.path).pixels))
        except ImageRefused:
            continue
    found = aligner.align([pixels for _, pixels in decoded])
    return [
        (photo, face.pixels)
        for (photo, _), face in zip(decoded, found, strict=True)
        if isinstance(face, AlignedFace)
    ]


def obtain_generator(
    *,
    settings: KeySettings,
    seed: int,
    size: tuple[int, int],
    cache: Path,
    file: Path | None = None,
    device: str = "cpu",
    progress: Callable[[int], None] | None = None,
) -> Network:
    """Read a generator from a file or from the cache, or train it on public pictures and cache it.

    Args:
        settings: the recipe.
        seed: public start of its weights and of its training pictures.
        size: height and width of the training pictures.
        cache: folder of generators made before.
        file: a safetensors file of :func:`avih.generators.save_generator` to take instead.
        device: where it trains and runs.
        progress: called with 1 after each training step.

    Raises:
        UsageError: there is no such file.
        IntegrityError: the file is no generator.
    """
    if file is not None:
        if not file.is_file():
            raise UsageError(f"Expected a generator at {file}, got nothing. Check the path.")
        data = file.read_bytes()
        return Network(load_generator(data, device=device), f"given file, sha256 {_short(data)}")
    made = (
        f"{settings.architecture} of width {settings.width} with {settings.blocks} blocks, "
        f"{settings.steps} steps on public pictures, seed {seed}"
    )
    name = f"{settings.architecture}-{settings.digest()[:12]}-{seed}-{size[0]}x{size[1]}.safetensors"
    path = cache / name
    if not path.is_file():
        write_bytes(path, _train(settings, seed=seed, size=size, device=device, progress=progress))
    data = path.read_bytes()
    return Network(load_generator(data, device=device), f"{made}, sha256 {_short(data)}")


def _train(
    settings: KeySettings,
    *,
    seed: int,
    size: tuple[int, int],
    device: str,
    progress: Callable[[int], None] | None,
) -> bytes:
    sampler = PictureSampler(
        pictures=public_pictures(), height=size[0], width=size[1], rng=np.random.default_rng(seed)
    )
    trained = train_generator(settings=settings, sampler=sampler, seed=seed, device=device, progress=progress)
    return save_generator(trained.generator, architecture=settings.architecture, options=settings.options())


def _short(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]
