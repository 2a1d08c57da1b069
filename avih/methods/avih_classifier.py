"""AVIH for classifiers: one optimisation per image that keeps the predicted class (000, sections 3.4 and 4.5, C).

The loop, the step rule and two of the three loss terms are those of faces. What differs: the logit of the class
that the classifier saw in the original takes the place of the features (Equation 17), the weights, and the start,
which is the original itself. x'_0 is therefore no secret, and nothing here is drawn at random.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from avih.batched import groups
from avih.criteria import Never
from avih.errors import UsageError
from avih.images import to_pixels, to_tensor
from avih.loop import Fixed, Job, Loop
from avih.losses import BlockVariance, LogitLoss, Objective, RecoveryDistance
from avih.methods.avih import gather
from avih.methods.facts import MethodFacts
from avih.settings import Count, Fraction, Frozen
from avih.steps import DecayingMomentum

Pixels = NDArray[np.uint8]
Network = Callable[[Tensor], Tensor]

FACTS: Final = MethodFacts(
    name="avih_classifier",
    title="Adversarial visual information hiding for classifiers",
    paper="AVIH, ICCV 2023, sections 3.4 and 4.5 and supplement C, with the weights of the released code.",
    needs="The classifier with its gradients, a generator that was trained as the identity (the key), and some "
    "hundred gradient steps per picture.",
    gives="Pictures that people cannot read and that the unchanged classifier mostly puts into the same class; "
    "the generator brings back a slightly blurred original.",
    cannot="It is no encryption: whoever has the generator, or enough pairs of picture and original to train "
    "one, gets the pictures back, and whoever has the classifier reads the class. It does not promise the class "
    "(Equation 17 raises its logit and holds no other down): each picture says whether it was kept. "
    "It serves the one classifier that it was made for.",
)


class ClassifierSettings(Frozen):
    """How pictures are hidden from people and kept for a classifier; the defaults are the paper's."""

    steps: Count = Field(600, description="Gradient steps per image.")
    batch_size: Count = Field(10, description="Images optimised together.")
    step_size: float = Field(0.02, gt=0, description="First step beta, in units of the pixel range.")
    momentum: Fraction = Field(0.3, description="Weight alpha of past gradients.")
    decay: Fraction = Field(0.80, description="Factor on the step of an image whose loss rose often enough.")
    patience: Count = Field(8, description="Rises of the loss before the step shrinks.")
    recovery_weight: float = Field(2.0, ge=0, description="Weight of the squared recovery error.")
    variance_weight: float = Field(0.005, ge=0, description="Weight of the block variance.")
    logit_weight: float = Field(0.001, ge=0, description="Weight of the mean over one-hot times logits.")


@dataclass(frozen=True, eq=False)
class KeptClasses:
    """Protected pictures, and what the classifier makes of them as they are stored.

    Shape:
        - pixels: ``(n, H, W, 3)`` uint8.
        - classes: ``(n,)`` int64, the classifier's answer to the originals.
        - logits, logits_before: ``(n, classes)`` float32, of ``pixels`` and of the originals.
        - kept: ``(n,)`` bool, true where the answer to ``pixels`` is the same.
        - steps: ``(n,)`` int64, gradient evaluations until the best image.
        - terms: each unweighted loss term of ``pixels``, ``(n,)`` float32.
    """

    pixels: Pixels
    classes: NDArray[np.int64]
    logits: NDArray[np.float32]
    logits_before: NDArray[np.float32]
    kept: NDArray[np.bool_]
    steps: NDArray[np.int64]
    terms: dict[str, NDArray[np.float32]]


def protect_for_classifier(
    *,
    pictures: Pixels,
    classifier: Network,
    generator: Network,
    settings: ClassifierSettings | None = None,
    device: torch.device | None = None,
    progress: Callable[[int], None] | None = None,
    watch: Callable[[int, Tensor], None] | None = None,
) -> KeptClasses:
    """Hide pictures so that the classifier keeps its answers (000, Algorithm 1 with Equation 17).

    A picture's result does not depend on the others: every batch has the same size, filled up where it must be.

    Args:
        pictures: the originals, all of the classifier's size.
        classifier: the service model, frozen: ``(batch, 3, H, W)`` in [0, 1] to ``(batch, classes)`` logits.
        generator: the key model G, frozen: pictures to pictures of the same size.
        settings: how to hide; the paper's by default.
        device: where both networks are; the CPU by default.
        progress: called with the number of images that are done.
        watch: called after each step with the number of steps so far and the best images still in the batch.

    Shape:
        - pictures: ``(n, H, W, 3)`` uint8.

    Raises:
        UsageError: no pictures, a network in training mode, or one whose output has another shape.
    """
    settings = settings or ClassifierSettings()
    place = device or torch.device("cpu")
    check_pictures(pictures)
    for name, network in (("classifier", classifier), ("generator", generator)):
        check_frozen(name, network)
    logits_before = _logits(classifier, pictures, settings.batch_size, place)
    classes = logits_before.argmax(dim=1)
    _check_generator(generator, to_tensor(pictures[:1]).to(place))
    loop = Loop(
        source=Fixed(_jobs(pictures, classes, classifier, generator, settings)),
        rule=DecayingMomentum(
            step_size=settings.step_size,
            momentum=settings.momentum,
            decay=settings.decay,
            patience=settings.patience,
        ),
        stop=Never(),
        steps=settings.steps,
        batch_size=settings.batch_size,
        device=None if place.type == "cpu" else place,
        watch=watch,
    )
    result = gather(loop, progress)
    stored = to_pixels(result.protected)
    logits = _logits(classifier, stored, settings.batch_size, place)
    return KeptClasses(
        pixels=stored,
        classes=classes.numpy(),
        logits=logits.numpy(),
        logits_before=logits_before.numpy(),
        kept=(logits.argmax(dim=1) == classes).numpy(),
        steps=result.steps_taken.numpy(),
        terms={name: value.numpy() for name, value in result.terms.items()},
    )


def recover_pictures(
    *, stored: Pixels, generator: Network, batch_size: int = 10, device: torch.device | None = None
) -> Pixels:
    """Return G(x') of stored pictures as 8-bit pictures (000, section 3.2).

    Shape:
        - stored: ``(n, H, W, 3)`` uint8; the same comes back.

    Raises:
        UsageError: no pictures, a generator in training mode, or one whose output has another shape.
    """
    check_pictures(stored)
    check_frozen("generator", generator)
    place = device or torch.device("cpu")
    _check_generator(generator, to_tensor(stored[:1]).to(place))
    return to_pixels(torch.cat(list(in_batches(generator, stored, batch_size, place))))


def _jobs(
    pictures: Pixels, classes: Tensor, classifier: Network, generator: Network, settings: ClassifierSettings
) -> Iterable[Job]:
    """Turn each picture into what the optimisation is given: x'_0 = x."""
    for row, picture in enumerate(pictures):
        original = to_tensor(picture)
        objective = Objective(
            (
                LogitLoss(classifier, classes[row : row + 1], weight=settings.logit_weight),
                RecoveryDistance(generator, original, weight=settings.recovery_weight),
                BlockVariance(weight=settings.variance_weight),
            )
        )
        yield Job(original, objective, torch.ones_like(original), ticket=row)


def _logits(classifier: Network, pictures: Pixels, batch_size: int, place: torch.device) -> Tensor:
    """Return the logits of 8-bit pictures, ``(n, classes)`` on the CPU."""
    logits = torch.cat(list(in_batches(classifier, pictures, batch_size, place)))
    if logits.ndim != 2 or len(logits) != len(pictures) or logits.shape[1] < 2:
        raise UsageError(
            f"Expected a classifier that gives logits (batch, classes) of at least 2 classes, got "
            f"{tuple(logits.shape)} for {len(pictures)} pictures."
        )
    if not bool(logits.isfinite().all()):
        raise UsageError("Expected finite logits, got NaN or infinity. Check the classifier's weights.")
    return logits


def in_batches(network: Network, pictures: Pixels, batch_size: int, place: torch.device) -> Iterator[Tensor]:
    """Run a network over 8-bit pictures, always ``batch_size`` at a time, so that none depends on its neighbours.

    A last batch that is not full repeats its last picture (why: ``avih/loop.py``).

    Shape:
        - pictures: ``(n, H, W, 3)`` uint8; yields the network's outputs, at most ``batch_size`` rows, on the CPU.
    """
    for group in groups(pictures, batch_size):
        full = [*group, *[group[-1]] * (batch_size - len(group))]
        with torch.no_grad():
            yield network(to_tensor(full).to(place)).float().cpu()[: len(group)]


def check_pictures(pictures: Pixels) -> None:
    """Refuse what is no batch of pictures.

    Raises:
        UsageError: not uint8 ``(n, H, W, 3)``, or empty.
    """
    good = pictures.dtype == np.uint8 and pictures.ndim == 4 and pictures.shape[3] == 3 and pictures.size > 0
    if not good:
        raise UsageError(
            f"Expected uint8 pictures (n, H, W, 3), at least one, got {pictures.dtype} {pictures.shape}. "
            "Stack pictures of one size."
        )


def check_frozen(name: str, network: Network) -> None:
    """Refuse a network that is not in ``eval()``.

    Raises:
        UsageError: it is in training mode.
    """
    if isinstance(network, nn.Module) and network.training:
        raise UsageError(
            f"Expected a {name} in eval(), got one in training mode: its batch statistics and dropout would "
            f"make pictures depend on one another. Call {name}.eval()."
        )


def _check_generator(generator: Network, picture: Tensor) -> None:
    with torch.no_grad():
        shape = generator(picture).shape
    if shape != picture.shape:
        raise UsageError(
            f"Expected a generator that gives pictures of the size it gets, {tuple(picture.shape)}, got "
            f"{tuple(shape)}. Pad or resize the pictures, or use another generator."
        )
