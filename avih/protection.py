"""From aligned pictures to stored pictures, and back: the three recoveries around one optimisation.

``keyed`` (the default): the picture's code is mixed with the key's secret into uniform noise x'_0; then free
values alone are moved until the recogniser sees the original's features. The optimisation is given x'_0 and
f(x), never x: with a secure stream cipher the stored picture tells nothing of x that f(x) does not tell.

``unmixed``: the papers' Algorithm 1: noise is moved until the generator maps it to x and the recogniser to f(x).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from avih.criteria import Criterion, Never, StillRecognised, StillRecoverable
from avih.errors import KeyRefused, UsageError
from avih.generators.codec import CodecGenerator, encode, free_mask
from avih.images import to_pixels, to_tensor
from avih.losses import BlockVariance, FeatureDistance, Objective, RecoveryDistance
from avih.methods.avih import HidingResult
from avih.mixing import Mixing, keystream, make_nonce
from avih.precision import InPrecision, hide_confirmed, resolve
from avih.recognisers import Recogniser
from avih.settings import ProtectSettings, Recovery
from avih.steps import ClosingMomentum, DecayingMomentum, StepRule

Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class Protected:
    """One picture as it will be stored, with what its row needs.

    Shape:
        - pixels: ``(H, W, 3)`` uint8.
        - cosine: of the features of ``pixels`` and of the original, -1 to 1.
    """

    pixels: Picture
    nonce: str
    cosine: float
    steps: int


@dataclass(frozen=True)
class Protector:
    """Everything that protects and recovers pictures of one gallery version under one key.

    Args:
        secret: the key's 32 bytes.
        generator: the key's network, frozen.
        recogniser: the service model, frozen.
        settings: how to hide.
        version: gallery version; part of every nonce.
    """

    secret: bytes
    generator: nn.Module
    recogniser: Recogniser
    settings: ProtectSettings
    version: str

    def __post_init__(self) -> None:
        check_recovery(self.settings.recovery, self.generator)

    def __repr__(self) -> str:
        """Name the settings, never the secret."""
        return f"Protector({self.settings.method}, {self.settings.recovery}, {self.version})"

    def protect(
        self,
        *,
        pictures: Sequence[Picture],
        images: Sequence[str],
        progress: Callable[[int], None] | None = None,
    ) -> list[Protected]:
        """Hide a batch of aligned pictures.

        Args:
            pictures: uint8 ``(H, W, 3)``, all of the recogniser's size.
            images: their ids, unique within the gallery version.
            progress: called with the number of images finished.
        """
        nonces = [
            make_nonce(secret=self.secret, version=self.version, image=image, pixels=picture)
            for image, picture in zip(images, pictures, strict=True)
        ]
        with torch.no_grad():
            target = self.recogniser(to_tensor(list(pictures)))
        if self.settings.recovery == "keyed":
            result = self._hide_keyed(pictures, nonces, target, progress)
        else:
            result = self._hide_unmixed(pictures, nonces, target, progress)
        stored = to_pixels(result.protected)
        with torch.no_grad():
            cosines = (self.recogniser(to_tensor(stored)) * target).sum(dim=1)
        return [
            Protected(pixels, nonce, float(cosine), int(steps))
            for pixels, nonce, cosine, steps in zip(stored, nonces, cosines, result.steps_taken, strict=True)
        ]

    def _hide_keyed(
        self,
        pictures: Sequence[Picture],
        nonces: Sequence[str],
        target: Tensor,
        progress: Callable[[int], None] | None,
    ) -> HidingResult:
        mixed, masks = [], []
        for picture, nonce in zip(pictures, nonces, strict=True):
            mixing = Mixing.draw(secret=self.secret, nonce=nonce, values=picture.size)
            mixed.append(mixing.invert(encode(picture)))
            masks.append(mixing.scatter(free_mask(*picture.shape[:2])))
        # From here on the original is out of reach: noise, a mask and features are all the optimiser gets.
        return self._run(
            start=to_tensor(mixed),
            terms=(FeatureDistance(self.recogniser, target),),
            rough=self._rough(target),
            movable=torch.from_numpy(np.stack(masks)).permute(0, 3, 1, 2).float(),
            progress=progress,
        )

    def _rough(self, target: Tensor) -> Objective | None:
        """Return the keyed objective in bfloat16, if the settings and the machine ask for it."""
        dtype = resolve(self.settings.precision, device=target.device, network=self.recogniser)
        if dtype == torch.float32:
            return None
        return Objective((FeatureDistance(InPrecision(self.recogniser, dtype), target),))

    def _hide_unmixed(
        self,
        pictures: Sequence[Picture],
        nonces: Sequence[str],
        target: Tensor,
        progress: Callable[[int], None] | None,
    ) -> HidingResult:
        noise = [
            np.frombuffer(
                keystream(secret=self.secret, label=f"start/{nonce}", length=picture.size), np.uint8
            ).reshape(picture.shape)
            for picture, nonce in zip(pictures, nonces, strict=True)
        ]
        terms = (
            FeatureDistance(self.recogniser, target),
            RecoveryDistance(self.generator, to_tensor(list(pictures)), self.settings.recovery_weight),
            BlockVariance(self.settings.variance_weight),
        )
        return self._run(start=to_tensor(noise), terms=terms, movable=None, progress=progress)

    def _run(
        self,
        *,
        start: Tensor,
        terms: tuple[FeatureDistance | RecoveryDistance | BlockVariance, ...],
        movable: Tensor | None,
        progress: Callable[[int], None] | None,
        rough: Objective | None = None,
    ) -> HidingResult:
        return hide_confirmed(
            start=start,
            objective=Objective(terms),
            rough=rough,
            rule=step_rule(self.settings, self.recogniser.card.feature_size),
            stop=stop_rule(self.settings, self.recogniser.card.feature_size),
            steps=self.settings.steps,
            movable=movable,
            progress=progress,
        )


def step_rule(settings: ProtectSettings, feature_size: int) -> StepRule:
    """Build the step rule that the settings name."""
    if settings.rule == "decaying":
        return DecayingMomentum(step_size=settings.step_size, momentum=settings.momentum)
    # Orthogonal unit features have squared distance 2: the full step is taken from there on.
    return ClosingMomentum(
        step_size=settings.step_size, momentum=settings.momentum, full_loss=2 / feature_size
    )


def stop_rule(settings: ProtectSettings, feature_size: int) -> Criterion:
    """Build the stop rule that the settings name."""
    if settings.stop_cosine is None:
        return Never()
    recognised = StillRecognised(cosine=settings.stop_cosine, feature_size=feature_size)
    # Keyed recovery needs no watching: the code cannot be harmed.
    return (
        recognised if settings.recovery == "keyed" else recognised & StillRecoverable(mse=settings.stop_mse)
    )


def check_recovery(recovery: Recovery, generator: nn.Module) -> None:
    """Refuse a generator that cannot serve the recovery.

    Raises:
        KeyRefused: keyed recovery needs the codec generator, unmixed recovery a plain one.
    """
    fits = isinstance(generator, CodecGenerator) == (recovery == "keyed")
    if not fits:
        needed = "a codec generator" if recovery == "keyed" else "a resnet generator"
        raise KeyRefused(
            f"Expected {needed} for recovery {recovery!r}, got {type(generator).__name__}. "
            f"Make a fitting key with: avih keys create --recovery {recovery}"
        )


def recover(
    *,
    stored: Sequence[Picture],
    nonces: Sequence[str],
    secret: bytes,
    generator: nn.Module,
    recovery: Recovery,
) -> list[Picture]:
    """Return G(M(x')) for stored pictures (000, section 3.2; M is the identity for ``unmixed``).

    Shape:
        - stored: pictures ``(H, W, 3)`` uint8 of one size; the same comes back.

    Raises:
        UsageError: pictures and nonces do not pair up.
    """
    if len(stored) != len(nonces):
        raise UsageError(f"Expected one nonce per picture, got {len(nonces)} for {len(stored)}.")
    check_recovery(recovery, generator)
    if not stored:
        return []
    mixed = list(stored)
    if recovery == "keyed":
        mixed = [
            Mixing.draw(secret=secret, nonce=nonce, values=picture.size).apply(picture)
            for picture, nonce in zip(stored, nonces, strict=True)
        ]
    with torch.no_grad():
        return list(to_pixels(generator(to_tensor(mixed))))
