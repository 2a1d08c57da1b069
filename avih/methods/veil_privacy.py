"""Veil Privacy (003, Algorithm 1): a training set that people cannot read as it stands and models learn from."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from avih.acceleration import for_gradients
from avih.methods.facts import MethodFacts
from avih.methods.pipeline import BatchHider, Made, Pipeline, Portrait
from avih.sealed_copy import seal_copy
from avih.settings import Count, Frozen
from avih.veil_privacy.flip import Pictures, checked_pictures, flip, noise, to_bytes, to_signed
from avih.veil_privacy.iteration import Iteration, Model, iterate, measured_loss

FACTS: Final = MethodFacts(
    name="veil_privacy",
    title="Veil Privacy",
    paper="Veil Privacy on Visual Data, ECCV 2024, sections 3.2 and 3.3",
    needs="Pictures with classes, a classifier of your own that was trained on them, and a 32-byte secret.",
    gives="Veiled pictures with the same classes, from which somebody else can train a classifier that is then "
    "shown veiled or original pictures.",
    cannot="It does not keep the pictures secret: only the sign of a value is flipped, so whoever folds a veiled "
    "picture about middle grey sees the face again, without the secret. The SSIM near 0 that the paper reports "
    "does not see this; read the folded SSIM beside it. With the secret the flips can be turned back; what the "
    "gradient iteration changed stays.",
)

# For a recogniser's unit features, searched with 60 steps. Mean cosine of 4 photos of LFW-gray (MobileFaceNet):
# 0.82, 0.91, 0.95, 0.96 at 0.3, 1, 3, 10. Of 4 drawn faces (the bundled recogniser): 0.96, 0.99, 0.99, 0.99 at
# 0.3, 3, 10, 30. SSIM_e falls from 0.07 at 0.3 to 0.02 and 0.03 at 10.
LEARNING_RATE: Final = 10.0


class VeilSettings(Frozen):
    """The numbers of Algorithm 1, as the paper gives them, but for the learning rate, which it does not give."""

    start: Literal["flip", "noise"] = Field("flip", description="Flipped pictures, or noise (an ablation).")
    flip_ratio: Annotated[float, Field(ge=0, lt=1)] = Field(0.5, description="p, share of flipped values.")
    steps: Annotated[int, Field(ge=0)] = Field(300, description="T, most steps per picture.")
    # Searched on 16 training photos of ORL (LeNet-5, 11 persons; mean loss 62.2 before the first step). Mean loss
    # of the best picture within 300 steps: 49.4 at 0.001, 31.9 at 0.003, 10.1 at 0.01, 1.15 at 0.03, 0.98 at 0.1,
    # 2.48 at 0.3. An L1 norm's slope does not shrink near its minimum: a larger step swings about it. Scores of
    # another size, or another layer as F, need another rate.
    learning_rate: Annotated[float, Field(gt=0)] = Field(0.1, description="lr of Eq. 3.")
    enough_loss: float = Field(0.3, description="xi: a picture whose loss is below it is done.")
    feature_weight: Annotated[float, Field(ge=0)] = Field(0.999, description="alpha, on the features' L1.")
    distance_weight: Annotated[float, Field(ge=0)] = Field(0.001, description="beta, on the pictures' L2.")
    batch_size: Count = Field(8, description="Pictures per pass of the local model.")
    on_stored: bool = Field(False, description="Iterate on 8-bit values; the paper iterates on float values.")

    def iteration(self) -> Iteration:
        """Return what the gradient iteration needs to know."""
        return Iteration(**self.model_dump(exclude={"start", "flip_ratio"}))


@dataclass(frozen=True)
class Veiled:
    """Veiled pictures, and what each cost; the figures of a row depend on its own picture alone.

    Shape:
        - pictures: uint8 ``(n, channels, H, W)``, as they are stored.
        - steps: ``(n,)`` steps until the picture.
        - start_loss, loss, stored_loss: ``(n,)`` Eq. 2 after the flips, after the iteration, and of the stored
          bytes: the iteration may leave [-1, 1], and storing clips and rounds.
        - met, stored_met: ``(n,)`` bool: is that loss below xi?
        - clipped: ``(n,)`` share of values that left [-1, 1].
    """

    pictures: Pictures
    steps: Tensor
    start_loss: Tensor
    loss: Tensor
    stored_loss: Tensor
    met: Tensor
    stored_met: Tensor
    clipped: Tensor


def veil(
    *,
    pictures: NDArray[np.uint8],
    images: Sequence[str],
    secret: bytes,
    model: Model,
    settings: VeilSettings | None = None,
    progress: Callable[[int], None] | None = None,
) -> Veiled:
    """Veil a batch (003, Algorithm 1).

    Args:
        pictures: the originals.
        images: an id per picture, all different; one secret must not serve two pictures with one id.
        secret: 32 bytes from the operating system's entropy; no setting, no result and no log holds them.
        model: F, a layer of the local model, on pictures in [-1, 1].
        settings: the paper's by default.
        progress: called with the number of pictures that became done.

    Shape: uint8 ``(n, channels, H, W)``.

    Raises:
        UsageError: no pictures, ids that do not fit, a short secret, or a model in training mode.
    """
    chosen = settings or VeilSettings()
    rule, originals = chosen.iteration(), to_signed(checked_pictures(pictures))
    if chosen.start == "flip":
        begun = flip(pictures, images=images, secret=secret, flip_ratio=chosen.flip_ratio)
    else:
        begun = noise(pictures.shape, images=images, secret=secret)
    done = iterate(start=to_signed(begun), originals=originals, model=model, rule=rule, progress=progress)
    stored = to_bytes(done.images)
    loss = measured_loss(to_signed(stored), originals=originals, model=model, rule=rule)
    return Veiled(
        pictures=stored,
        steps=done.steps,
        start_loss=done.start_loss,
        loss=done.loss,
        stored_loss=loss,
        met=done.met,
        stored_met=loss < rule.enough_loss,
        clipped=(done.images.abs() > 1).flatten(1).to(torch.float32).mean(dim=1),
    )


class HidingSettings(VeilSettings):
    """Algorithm 1 for a gallery: F is the recogniser, and what is stored is what was looked at."""

    learning_rate: Annotated[float, Field(gt=0)] = Field(LEARNING_RATE, description="lr of Eq. 3.")
    on_stored: bool = Field(True, description="Iterate on 8-bit values; the paper iterates on float values.")


class FlipHider(BatchHider):
    """Veils pictures with the recogniser as F; the original travels beside each as ciphertext."""

    def hide_some(self, portraits: Sequence[Portrait]) -> Sequence[Made]:
        """Flip, iterate, and seal the originals: flips can be turned back, what the iteration changed cannot."""
        work, nonces = self.work, [self.work.nonce(one) for one in portraits]
        recogniser = for_gradients(work.recogniser)
        done = veil(
            pictures=np.stack([one.pixels for one in portraits]).transpose(0, 3, 1, 2),
            images=nonces,
            secret=work.secret,
            model=lambda images: recogniser((images + 1) / 2),
            settings=HidingSettings.model_validate(work.settings.options),
        )
        pictures = np.ascontiguousarray(done.pictures.transpose(0, 2, 3, 1))
        return [
            Made(
                pixels=pictures[row],
                steps=int(done.steps[row]),
                sealed=seal_copy(one.pixels, secret=work.secret, image=one.image, nonce=nonce),
            )
            for row, (one, nonce) in enumerate(zip(portraits, nonces, strict=True))
        ]


PIPELINE: Final = Pipeline(
    hider=FlipHider,
    recoveries=("sealed",),
    options=HidingSettings,
    warning="Veil Privacy hides the sign of each value and nothing else: whoever folds a picture about middle "
    "grey sees the face, without any secret. The SSIM near 0 in the figures does not see this.",
)
