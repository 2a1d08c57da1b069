"""Time the protection and the evaluation of a few faces, in memory only: nothing of a sample is kept.

The key is a throw-away: a random secret and an untrained generator of the right shape. A gradient step costs the
same whatever the generator has learnt, and for keyed and sealed recovery it has no part in the steps at all.
"""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Final

import torch
from torch import nn

from avih.device import device_of
from avih.evaluation.metrics import ssim
from avih.generators import build_generator
from avih.images import decode_png, encode_png, to_tensor
from avih.planning import ImageTrial
from avih.protection import Protected, Protector
from avih.recognisers import Recogniser
from avih.recovery import Picture, Stored, recover
from avih.settings import KeySettings, ProtectSettings
from tasks.calibrate import timed
from tasks.evaluate_shard import guess
from tasks.progress import advance, begin

SECONDS: Final = 8.0  # the sample stops after about these
SURE_STEPS: Final = 100  # with a stop rule, steps within which nearly every image is done
SAMPLE_VERSION: Final = "sample"  # in place of a gallery version in the nonces: no gallery picture has it


@dataclass(frozen=True)
class ProtectSample:
    """How the optimisation of the sample went.

    Attributes:
        trials: one entry per image.
        seconds: what all images took together.
        finish: seconds per image to encode a picture and to judge it from its bytes.
        evaluate: seconds per image of the evaluation stage.
    """

    trials: tuple[ImageTrial, ...]
    seconds: float
    finish: float
    evaluate: float


def throw_away_generator(key: KeySettings, *, device: torch.device) -> nn.Module:
    """Build an untrained generator of a key's shape, frozen."""
    generator = build_generator(architecture=key.architecture, options=key.options())
    return generator.to(device).eval().requires_grad_(False)


def sample_protection(
    *, faces: Sequence[Picture], generator: nn.Module, recogniser: Recogniser, settings: ProtectSettings
) -> ProtectSample:
    """Protect copies of some faces under a throw-away key, for so many steps as there is time."""
    secret = secrets.token_bytes(32)

    def run(images: int, steps: int) -> tuple[list[Picture], list[Protected], float]:
        # One batch of just these images: a larger one would be filled up with copies, whose time is no image's.
        chosen = settings.model_copy(update={"steps": steps, "batch_size": images})
        protector = Protector(secret, generator, recogniser, chosen, SAMPLE_VERSION)
        pictures = list(islice(cycle(faces), images))
        names = [f"sample-{number}" for number in range(images)]
        hidden, seconds = timed(
            lambda: protector.protect(
                pictures=pictures, images=names, progress=lambda done: advance("protect", done)
            )
        )
        return pictures, hidden, seconds

    images, steps = _affordable(run, settings)
    begin("protect", images)
    pictures, hidden, seconds = run(images, steps)
    finish = timed(lambda: _judge(pictures, hidden, secret, generator, settings))[1] / images
    begin("evaluate", images)
    evaluate = timed(lambda: _measure(pictures, hidden, secret, generator, recogniser, settings))[1] / images
    advance("evaluate", images)
    trials = tuple(_trial(one, settings, given=steps) for one in hidden)
    return ProtectSample(trials, seconds, finish, evaluate)


def _affordable(
    run: Callable[[int, int], tuple[object, object, float]], settings: ProtectSettings
) -> tuple[int, int]:
    """Choose how many images get how many steps: with a stop rule rather more steps, else rather a full batch."""
    seconds = run(2, 2)[2]
    if seconds < SECONDS / 4:  # the first call pays for what all of them use
        seconds = run(2, 2)[2]
    image_steps = SECONDS / (seconds / 4)
    leave_early = settings.stop_cosine is not None
    wanted = min(SURE_STEPS if leave_early else 4, settings.steps)
    images = int(min(max(image_steps / wanted, 4 if image_steps > 16 else 2), settings.batch_size))
    # Most images that may leave do so long before the end, so that twice the steps take no longer.
    steps = image_steps / images * (2 if leave_early else 1)
    return images, int(min(max(steps, 2), settings.steps))


def _trial(hidden: Protected, settings: ProtectSettings, *, given: int) -> ImageTrial:
    """Say whether an image was done; without a stop rule all steps are taken, whatever the best one was."""
    # An unmixed picture must also be recoverable, which no untrained generator shows.
    by_cosine = settings.stop_cosine is not None and settings.recovery != "unmixed"
    done = by_cosine and hidden.cosine >= (settings.stop_cosine or 0) - 1e-6
    return ImageTrial(steps=hidden.steps if done else given, done=done)


def _stored(pictures: Sequence[Protected]) -> list[Stored]:
    return [
        Stored(f"sample-{number}", decode_png(encode_png(one.pixels)), one.nonce, one.sealed)
        for number, one in enumerate(pictures)
    ]


def _judge(
    originals: Sequence[Picture],
    hidden: Sequence[Protected],
    secret: bytes,
    generator: nn.Module,
    settings: ProtectSettings,
) -> None:
    """Do what the protect stage does with each picture that is done."""
    for original, stored in zip(originals, _stored(hidden), strict=True):
        ssim(original, recover([stored], secret=secret, generator=generator, recovery=settings.recovery)[0])


def _measure(
    originals: Sequence[Picture],
    hidden: Sequence[Protected],
    secret: bytes,
    generator: nn.Module,
    recogniser: Recogniser,
    settings: ProtectSettings,
) -> None:
    """Do what the evaluate stage does with a batch, LPIPS left out."""
    stored = _stored(hidden)
    recovered = recover(stored, secret=secret, generator=generator, recovery=settings.recovery)
    wrong = guess(stored, key=(secrets.token_bytes(32), generator), recovery=settings.recovery)
    with torch.no_grad():
        for pictures in (list(originals), [one.pixels for one in stored]):
            recogniser(to_tensor(pictures).to(device_of(recogniser))).cpu()
    for original, one, back, guessed in zip(originals, stored, recovered, wrong, strict=True):
        for other in (one.pixels, back, guessed):
            if other is not None:
                ssim(original, other)
