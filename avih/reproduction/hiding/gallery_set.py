"""One protected gallery for all tables that need one: the default method on as many faces as the data allow."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from avih.evaluation.metrics import ssim
from avih.images import to_tensor
from avih.recognisers import Recogniser
from avih.reproduction.context import Context
from avih.reproduction.faces import Face, Faces, Picture, faces
from avih.reproduction.hiding.protected import Kept, Way, protected_faces, recovered
from avih.reproduction.networks import WRONG_SECRET, trained_network
from avih.settings import FAST_UNMIXED_KEY, FAST_UNMIXED_PROTECT, KeySettings, ProtectSettings

AT_ONCE = 64
WRONG_SEED = 2024


@dataclass(frozen=True, eq=False)
class GallerySet:
    """Faces, their stored pictures, and the features of both; ``stranger`` is another key's generator.

    Shape:
        - original, protected: ``(n, d)`` unit features.
    """

    faces: Faces
    way: Way
    stranger: nn.Module
    kept: tuple[Kept, ...]
    original: NDArray[np.float64]
    protected: NDArray[np.float64]

    @property
    def persons(self) -> list[str]:
        """The person on each photo."""
        return [one.face.person for one in self.kept]

    @property
    def cosines(self) -> NDArray[np.float64]:
        """cos(f(x), f(x')) of each photo, ``(n,)``."""
        cosines: NDArray[np.float64] = (self.original * self.protected).sum(axis=1)
        return cosines


@dataclass(frozen=True)
class Quality:
    """Per photo, ``(n,)`` each: SSIM of stored and of recovered pictures with the originals."""

    ssim_e: list[float]
    ssim_d: list[float]
    wrong: list[float]


@lru_cache(maxsize=1)
def gallery_set(context: Context) -> GallerySet:
    """Protect every test and single person's photos with the default method (keyed), or read them.

    ``smoke``: few steps and a hardly trained generator, which proves the way and no more.
    """
    served = faces(context)
    key = KeySettings() if context.profile != "smoke" else KeySettings(steps=20, width=8)
    protect = ProtectSettings() if context.profile != "smoke" else ProtectSettings(steps=20)
    return _set(context, "gallery", served, _whole(context, served), key, protect)


@lru_cache(maxsize=1)
def unmixed_set(context: Context) -> GallerySet:
    """Protect some photos, each of another person, with the papers' recovery and the fast step rule."""
    served = faces(context)
    persons = served.persons("test", most=context.size(smoke=2, cpu=16, full=32))
    shown = served.aligned("test", persons=persons, photos_each=1)
    key, protect = FAST_UNMIXED_KEY, FAST_UNMIXED_PROTECT
    if context.profile == "smoke":
        key = key.model_copy(update={"width": 8, "blocks": 2, "steps": 20})
        protect = protect.model_copy(update={"steps": 12, "batch_size": 2})
    return _set(context, "unmixed", served, shown, key, protect)


def _whole(context: Context, served: Faces) -> list[Face]:
    context.tell(f"aligning {served.data}")
    photos = context.size(smoke=3, cpu=100, full=1000)
    return served.aligned("test", photos_each=photos) + served.aligned("single")


def _set(
    context: Context,
    name: str,
    served: Faces,
    shown: Sequence[Face],
    key: KeySettings,
    protect: ProtectSettings,
) -> GallerySet:
    recogniser = served.recogniser
    size = (recogniser.card.input_height, recogniser.card.input_width)
    network = trained_network(context, key, size=size)
    # A keyed key's secret is its 32 bytes; an unmixed key's is its generator.
    stranger = network if name == "gallery" else trained_network(context, key, size=size, seed=WRONG_SEED)
    way = Way(recogniser, network.generator, protect, network.made)
    kept = protected_faces(context, name, shown, way)
    return GallerySet(
        served, way, stranger.generator, tuple(kept), features([one.face.pixels for one in kept], recogniser),
        features([one.pixels for one in kept], recogniser),
    )  # fmt: skip


def features(pictures: Sequence[Picture], recogniser: Recogniser) -> NDArray[np.float64]:
    """Return unit features of 8-bit pictures.

    Shape:
        - pictures: each ``(H, W, 3)`` uint8; returns ``(n, d)``.
    """
    parts = []
    with torch.no_grad():
        for start in range(0, len(pictures), AT_ONCE):
            parts.append(
                recogniser(to_tensor(list(pictures[start : start + AT_ONCE]))).double().cpu().numpy()
            )
    return np.concatenate(parts)


@lru_cache(maxsize=4)
def quality_of(context: Context, gallery: GallerySet) -> Quality:
    """Measure each stored picture, what its key recovers, and what a wrong key does."""
    context.tell(f"measuring {len(gallery.kept)} stored pictures")
    way, kept = gallery.way, gallery.kept
    guessed = recovered(kept, way, secret=WRONG_SECRET, generator=gallery.stranger)
    originals = [one.face.pixels for one in kept]
    return Quality(
        [ssim(x, one.pixels) for x, one in zip(originals, kept, strict=True)],
        [ssim(x, y) for x, y in zip(originals, recovered(kept, way), strict=True)],
        [ssim(x, y) for x, y in zip(originals, guessed, strict=True)],
    )
