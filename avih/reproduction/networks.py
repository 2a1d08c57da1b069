"""Generators for the experiments: made from public seeds, so that anybody repeats the figures, and kept.

Such a key protects nothing: its seed is in the tables. Keys of galleries come from the system's entropy.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import nn

from avih.atomic import write_bytes
from avih.datasets.pictures import public_pictures
from avih.generators import load_generator, save_generator
from avih.key_training import PictureSampler, train_generator
from avih.reproduction.context import Context
from avih.settings import KeySettings

PUBLIC_SEED = 2023
SECRET = hashlib.sha256(b"avih reproduction, no secret").digest()
WRONG_SECRET = hashlib.sha256(b"avih reproduction, another one").digest()
Pictures = Sequence[NDArray[np.uint8]]


@dataclass(frozen=True)
class Network:
    """A frozen generator and how it was made, in words for the tables."""

    generator: nn.Module
    made: str


def trained_network(
    context: Context,
    settings: KeySettings,
    *,
    size: tuple[int, int],
    seed: int = PUBLIC_SEED,
    pictures: Callable[[], Pictures] = public_pictures,
    pictures_name: str = "public pictures",
) -> Network:
    """Return the generator of a recipe, seed and training pictures: from the profile's folder, or trained now.

    Args:
        context: where it is kept.
        settings: the recipe.
        size: height and width of the training pictures.
        seed: public start of its weights and of the choice of pictures.
        pictures: gives the training pictures, uint8 ``(H, W, 3)``; called only if it is trained now.
        pictures_name: their name, for the tables; part of what makes two networks different.
    """
    facts = f"{settings.digest()} {seed} {size[0]}x{size[1]} {pictures_name}"
    name = f"{settings.architecture}-{hashlib.sha256(facts.encode()).hexdigest()[:16]}.safetensors"
    path = context.folder("networks") / name
    if not path.is_file():
        context.tell(f"training a {settings.architecture} generator, {settings.steps} steps, seed {seed}")
        sampler = PictureSampler(
            pictures=pictures(), height=size[0], width=size[1], rng=np.random.default_rng(seed)
        )
        trained = train_generator(settings=settings, sampler=sampler, seed=seed, device=context.device)
        data = save_generator(
            trained.generator, architecture=settings.architecture, options=settings.options()
        )
        write_bytes(path, data)
    made = (
        f"{settings.architecture} generator of width {settings.width} with {settings.blocks} blocks, "
        f"{settings.steps} steps on {pictures_name}"
    )
    return Network(load_generator(path.read_bytes(), device=context.device), made)
