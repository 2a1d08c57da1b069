"""Keys that are quick to make, for tables that need many: the papers' recipe with a smaller generator."""

from functools import cache, partial

import numpy as np

from avih.attack.prior import best_constant
from avih.datasets.pictures import public_pictures
from avih.reproduction.context import Context
from avih.reproduction.faces import Faces, Picture
from avih.reproduction.hiding.protected import Way
from avih.reproduction.networks import PUBLIC_SEED, Network, Pictures, trained_network
from avih.settings import (
    FAST_UNMIXED_KEY,
    FAST_UNMIXED_PROTECT,
    PAPER_KEY,
    PAPER_PROTECT,
    KeySettings,
    ProtectSettings,
)

FACES = 48  # among the public pictures, as everywhere
STRANGERS = 32  # pictures that the guess without a picture is made of


def small_key(context: Context, *, width: int, blocks: int, steps: int) -> KeySettings:
    """Return the fast recipe with a smaller generator; the paper's own recipe in the full profile."""
    if context.profile == "full":
        return PAPER_KEY
    tiny = {"width": 8, "blocks": 1, "steps": 10} if context.profile == "smoke" else {}
    return FAST_UNMIXED_KEY.model_copy(update={"width": width, "blocks": blocks, "steps": steps} | tiny)


def key_way(context: Context, source: Faces, seed: int, *, steps: int, batch_size: int) -> Way:
    """Return the small key that starts from ``seed`` and how it protects; the paper's in the full profile."""
    key = small_network(context, source, seed, small_key(context, width=16, blocks=4, steps=150))
    protect = PAPER_PROTECT if context.profile == "full" else FAST_UNMIXED_PROTECT
    changed = {"batch_size": batch_size, "steps": steps}
    return Way(
        source.recogniser, key.generator, protect.model_copy(update=changed), f"{key.made}, seed {seed}"
    )


def keyed_way(context: Context, source: Faces) -> Way:
    """Return the default recovery, with mixing."""
    codec, protect = KeySettings(), ProtectSettings()
    if context.profile == "smoke":
        codec, protect = KeySettings(width=8, blocks=1, steps=4), ProtectSettings(steps=4, batch_size=2)
    key = small_network(context, source, PUBLIC_SEED, codec)
    return Way(source.recogniser, key.generator, protect, key.made)


def small_network(context: Context, source: Faces, seed: int, recipe: KeySettings) -> Network:
    """Return a key's network, trained on public pictures; on fewer of them in the smoke profile."""
    few = context.profile == "smoke"
    return trained_network(
        context,
        recipe,
        size=picture_size(source),
        seed=seed,
        pictures=partial(_pictures, 2) if few else partial(_pictures, FACES),
        pictures_name="a few public pictures" if few else "public pictures",
    )


@cache
def _pictures(faces: int) -> Pictures:
    """Make the public pictures once for many keys."""
    return public_pictures(faces=faces)


def picture_size(source: Faces) -> tuple[int, int]:
    """Return height and width of the recogniser's pictures."""
    card = source.recogniser.card
    return card.input_height, card.input_width


def blank_guess(context: Context, source: Faces) -> Picture:
    """Return the best guess of somebody who has no protected picture: one picture like all strangers' faces."""
    strangers = source.aligned("single", persons=source.persons("single", most=STRANGERS))
    steps = context.size(smoke=2, cpu=40, full=40)
    return best_constant(np.stack([face.pixels for face in strangers]), steps=steps)
