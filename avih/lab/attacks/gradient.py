"""Attack 11: fit a picture by gradient, with surrogate keys and an image prior.

The feature term alone needs no key (attack 10), so it is the blind guess: what counts is what generators or the
stored values add to it. The mixing of a keyed gallery is not known to the attacker; three guesses are tried:
none, mixings of surrogate secrets, and one that permutes values and turns them over but does not shift them.
"""

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import torch
from torch import Tensor

from avih.attack.pairs import Pairs, Pictures
from avih.generators.codec import encode_images
from avih.images import to_tensor
from avih.lab.attack import AttackFacts, Guess
from avih.lab.lab import Lab
from avih.lab.tools.inversion import (
    Canvas,
    DeepPrior,
    Loss,
    feature_loss,
    features_of,
    fit,
    total_variation,
    weighted,
)
from avih.mixing import SECRET_BYTES, Mixing

FACTS = AttackFacts(
    name="gradient",
    title="Pictures fitted by gradient with surrogate keys and an image prior",
    claim="AVIH, section 4.3: protection stays hard to break when structure and training of the key model are "
    "known.",
    holds="The protected pictures and their nonces, the recogniser, the recipe, the generator where it is no "
    "secret, and otherwise generators of keys made by the same recipe.",
    methods=("avih",),
    recoveries=("keyed", "unmixed"),
)
DEEP: Final = "deep image prior"
PRIORS: Final = ("total variation", DEEP)
TV_WEIGHT: Final = 1.0
FEATURE_WEIGHT: Final = 1.0
VIEW_WEIGHT: Final = 20.0  # of a mean square: a tenth of the range apart weighs as much as a cosine of 0.8
VALUE_WEIGHT: Final = 10.0


def run(lab: Lab) -> Iterator[Guess]:
    """Fit pictures to every hint under the TV prior, and to the first under a deep image prior."""
    targets = lab.first(lab.targets, lab.settings.fit_pictures)
    hints = (
        keyed_hints(lab, targets) if lab.subject.protect.recovery == "keyed" else unmixed_hints(lab, targets)
    )
    facts = {"steps": lab.settings.fit_steps}
    for prior in PRIORS:
        lab.tell(f"{len(targets)} pictures fitted, {prior}")
        blind = _fitted(lab, targets, prior, None)
        for hint, loss in list(hints.items())[: None if prior == PRIORS[0] else 1]:
            yield Guess(f"{prior}, {hint}", targets, _fitted(lab, targets, prior, loss), (blind,), facts)


def unmixed_hints(lab: Lab, targets: Pairs) -> dict[str, Loss]:
    """Return the one hint of an unmixed gallery: what generators of keys of the same recipe make of it."""
    generators = [lab.scheme.key(number).generator for number in range(1, lab.settings.own_keys + 1)]
    views = [lab.generator_through(generator, targets.protected) for generator in generators]
    return {f"{len(views)} surrogate keys": agreeing(views)}


def keyed_hints(lab: Lab, targets: Pairs) -> dict[str, Loss]:
    """Return three guesses of the mixing: that there is none, some of surrogate secrets, one without shifts."""
    generator = lab.subject.generator or lab.scheme.key(1).generator
    stored = lab.generator_through(generator, targets.protected)
    mixed = [lab.generator_through(generator, view) for view in surrogate_mixings(lab, targets)]
    return {
        "the generator on stored pixels": agreeing([stored]),
        f"the generator on {len(mixed)} surrogate mixings": agreeing(mixed),
        "folded values": weighted([(VALUE_WEIGHT, folded_values(targets.protected))]),
    }


def surrogate_mixings(lab: Lab, targets: Pairs) -> list[Pictures]:
    """Return the pictures mixed under their public nonces and secrets of the attacker's own."""
    nonces = lab.subject.nonces_of(targets.images)
    draw, views = np.random.default_rng(lab.settings.seed), []
    for _ in range(lab.settings.own_keys):
        secret = draw.bytes(SECRET_BYTES)
        views.append(np.stack([_mixed(secret, *one) for one in zip(nonces, targets.protected, strict=True)]))
    return views


def _mixed(secret: bytes, nonce: str, pixels: Pictures) -> Pictures:
    return Mixing.draw(secret=secret, nonce=nonce, values=pixels.size).apply(pixels)


def agreeing(views: Sequence[Pictures]) -> Loss:
    """Return the loss of pictures against what surrogate keys make of the protected ones, averaged.

    Shape:
        - views: ``(n, H, W, 3)`` uint8 each.
    """
    wanted = torch.stack([to_tensor(view) for view in views])

    def loss(pictures: Tensor) -> Tensor:
        return VIEW_WEIGHT * (wanted - pictures).square().mean(dim=(0, 2, 3, 4))

    return loss


def folded_values(protected: Pictures) -> Loss:
    """Return the loss of pictures whose code has other values than the stored ones, up to turning over.

    A permutation with values turned over keeps the sorted distances from mid grey. Half of the values are the
    code of the picture; the free ones start at 0, further from mid grey than the code's, so the lower half is
    the code's. The mixing's shifts are there to end exactly this.

    Shape:
        - protected: ``(n, H, W, 3)`` uint8.
    """
    stored = (to_tensor(protected).flatten(1) - 0.5).abs().sort(dim=1).values

    def loss(pictures: Tensor) -> Tensor:
        code = (encode_images(pictures).flatten(1) - 0.5).abs().sort(dim=1).values
        return (code - stored[:, : code.shape[1]]).abs().mean(dim=1)

    return loss


def _fitted(lab: Lab, targets: Pairs, prior: str, hint: Loss | None) -> Pictures:
    """Fit pictures to their features and, but for the blind guess, to a hint of the key."""
    recogniser, settings = lab.subject.recogniser, lab.settings
    alike = feature_loss(recogniser, features_of(recogniser, targets.protected), seed=settings.seed)
    terms = [(FEATURE_WEIGHT, alike), (1.0, hint)] if hint else [(FEATURE_WEIGHT, alike)]
    if prior == DEEP:
        canvas = DeepPrior(lab.blank, count=len(targets), seed=settings.seed)
        return fit(canvas, loss=weighted(terms), steps=settings.fit_steps)
    loss = weighted([*terms, (TV_WEIGHT, total_variation)])
    return fit(Canvas(lab.blank, count=len(targets)), loss=loss, steps=settings.fit_steps)
