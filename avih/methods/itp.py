"""ITP: a transformation network that hides pictures and keeps a classifier's answers; a baseline of 000.

Source: "Image to perturbation: an image transformation network for generating visually protected images for
privacy-preserving deep neural networks", IEEE Access 2021 (reference 17 of 000). 000 says of it only that the
network is trained "to keep the classifier correctly classified while hiding visual information", and that its
pictures cannot be recovered. Built from that: a small U-Net; the cross-entropy of the frozen classifier's answer
to its output; and, for the hiding, two bounded terms against the original. One is the squared pixel difference
(000, Equations 5 and 6). By that term alone outlines stay (000, supplement D: a negative is far from its original
and as readable), so the other is the squared local correlation, the structure term of SSIM without its sign.
"""

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from avih.errors import UsageError
from avih.images import to_pixels, to_tensor
from avih.methods.avih_classifier import Network, Pixels, check_frozen, check_pictures, in_batches
from avih.methods.facts import MethodFacts
from avih.settings import Count, Frozen

FACTS: Final = MethodFacts(
    name="itp",
    title="Image to perturbation: a transformation network",
    paper="IEEE Access 2021 (reference 17 of AVIH); the baseline of AVIH's section 4.5 and supplement C.",
    needs="The classifier with its gradients, and labelled pictures to train the network on.",
    gives="Pictures that look unlike their originals (SSIM near 0) and that the unchanged classifier mostly puts "
    "into the right class; one pass through a small network per picture.",
    cannot="Nobody can bring the originals back as they were. It does not make pictures unreadable: digits with "
    "an SSIM of 0.01 could still be read by their edges. It is no encryption either: whoever has enough "
    "pairs of picture and original can train a network that undoes some of it. Accuracy falls, and there is no "
    "promise for pictures unlike those it was trained on.",
)

WINDOW: Final = 11  # pixels on a side: how far two places may be apart to count as one outline
NOISE_FLOOR: Final = 0.03**2 / 2  # C3 of SSIM for a range of 1: below it, contrast counts as none
SIDES: Final = 4  # the U-Net halves twice


class TransformSettings(Frozen):
    """The transformation network, and what it is trained for."""

    width: Count = Field(16, description="Channels of the first level, a multiple of 4.", multiple_of=4)
    steps: Count = Field(600, description="Training steps.")
    batch_size: Count = Field(32, description="Pictures per step.")
    learning_rate: float = Field(2e-3, gt=0, description="Adam's first step size; it falls to zero (cosine).")
    pixel_weight: float = Field(0.5, ge=0, description="Weight of the squared pixel difference (maximised).")
    structure_weight: float = Field(10.0, ge=0, description="Weight of the squared local correlation.")


def _level(inputs: int, outputs: int) -> nn.Sequential:
    """Two 3x3 convolutions; group norm, because batch norm would let pictures see each other."""
    layers: list[nn.Module] = []
    for channels in (inputs, outputs):
        layers += [nn.Conv2d(channels, outputs, 3, padding=1), nn.GroupNorm(4, outputs), nn.ReLU()]
    return nn.Sequential(*layers)


class TransformationNetwork(nn.Module):
    """A small U-Net: two halvings, two doublings, each doubling joined with what came before the halving.

    Args:
        width: channels of the first level, a multiple of 4.

    Shape:
        - input and output: ``(batch, 3, H, W)`` in [0, 1]; H and W divisible by 4.
    """

    def __init__(self, *, width: int = 16) -> None:
        super().__init__()
        self.down = nn.ModuleList([_level(3, width), _level(width, 2 * width)])
        self.bottom = _level(2 * width, 4 * width)
        self.up = nn.ModuleList([_level(6 * width, 2 * width), _level(3 * width, width)])
        self.head = nn.Conv2d(width, 3, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Turn pictures into protected pictures."""
        features, skipped = images * 2 - 1, []
        for level in self.down:
            features = level(features)
            skipped.append(features)
            features = functional.max_pool2d(features, 2)
        features = self.bottom(features)
        for level, skip in zip(self.up, reversed(skipped), strict=True):
            features = level(torch.cat([functional.interpolate(features, scale_factor=2.0), skip], dim=1))
        return self.head(features).sigmoid()


def local_correlation(originals: Tensor, protected: Tensor) -> Tensor:
    """Return how much of the original's outlines each picture shows: the mean squared local correlation.

    Like the structure term of SSIM (Wang et al. 2004, Equation 10), but squared, so that a negative counts as
    much as the picture itself: s_xy^2 / (s_x^2 s_y^2 + C3^2) over flat 11x11 windows, of the original's grey
    values x and each channel y of the protected picture.

    Shape:
        - inputs ``(batch, 3, H, W)`` in [0, 1], H and W at least 11; output ``(batch,)`` in [0, 1].
    """
    grey = originals.mean(dim=1, keepdim=True)

    def blur(images: Tensor) -> Tensor:
        return functional.avg_pool2d(images, WINDOW, 1)

    mean, means = blur(grey), blur(protected)
    variance = (blur(grey.square()) - mean.square()).clamp_min(0)
    variances = (blur(protected.square()) - means.square()).clamp_min(0)
    shared = blur(grey * protected) - mean * means
    return (shared.square() / (variance * variances + NOISE_FLOOR**2)).flatten(1).mean(dim=1)


def transformation_loss(
    *, originals: Tensor, protected: Tensor, logits: Tensor, labels: Tensor, settings: TransformSettings
) -> Tensor:
    """Return cross-entropy - a mean((x' - x)^2) + b local correlation, ``(batch,)``.

    Shape:
        - originals, protected: ``(batch, 3, H, W)`` in [0, 1]; logits: ``(batch, classes)``, of ``protected``;
          labels: ``(batch,)`` int64.
    """
    classified = functional.cross_entropy(logits, labels, reduction="none")
    difference = (protected - originals).square().flatten(1).mean(dim=1)
    structure = local_correlation(originals, protected)
    return classified - settings.pixel_weight * difference + settings.structure_weight * structure


def train_transformation(
    *,
    pictures: Pixels,
    labels: Sequence[int] | NDArray[np.int64],
    classifier: Network,
    seed: int,
    settings: TransformSettings | None = None,
    progress: Callable[[int], None] | None = None,
) -> TransformationNetwork:
    """Train a transformation network for one frozen classifier; the same seed gives the same weights.

    The classifier's weights and the process's random state stay as they are.

    Args:
        pictures: what to train on; not what will be protected, if accuracy is to mean anything.
        labels: their classes.
        classifier: the service model, frozen, in ``eval()``: pictures in [0, 1] to logits.
        seed: of weights and batches. Who has it and the pictures has the network: draw it with ``secrets``.
        settings: the network and its training.
        progress: called with 1 after each step.

    Shape:
        - pictures: ``(n, H, W, 3)`` uint8, H and W multiples of 4 and at least 12; labels: ``(n,)``.

    Raises:
        UsageError: pictures of another type or shape, labels that are not one of the classifier's classes for
            each picture, or a classifier in training mode.
    """
    settings = settings or TransformSettings()
    classes = _checked(pictures, labels, classifier)
    images = to_tensor(pictures)
    with torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed, which would also hand the seed to every GPU's generator, for good.
        torch.default_generator.manual_seed(seed)
        network = TransformationNetwork(width=settings.width).train()
        parameters = list(network.parameters())
        optimiser = torch.optim.Adam(parameters, lr=settings.learning_rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, settings.steps)
        for _ in range(settings.steps):
            rows = torch.randint(len(images), (settings.batch_size,))
            protected = network(images[rows])
            loss = transformation_loss(
                originals=images[rows],
                protected=protected,
                logits=classifier(protected),
                labels=classes[rows],
                settings=settings,
            ).mean()
            # Not backward(), which would leave gradients behind in the classifier.
            gradients = torch.autograd.grad(loss, parameters)
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.grad = gradient
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimiser.step()
            schedule.step()
            if progress:
                progress(1)
    return network.eval().requires_grad_(False)


def transform_pictures(*, pictures: Pixels, network: Network, batch_size: int = 32) -> Pixels:
    """Protect pictures with a trained network.

    Shape:
        - pictures: ``(n, H, W, 3)`` uint8, H and W multiples of 4; the same comes back.

    Raises:
        UsageError: pictures of another type or shape, or a network in training mode.
    """
    _check_sides(pictures, smallest=SIDES)
    check_frozen("transformation network", network)
    return to_pixels(torch.cat(list(in_batches(network, pictures, batch_size, torch.device("cpu")))))


def _checked(pictures: Pixels, labels: Sequence[int] | NDArray[np.int64], classifier: Network) -> Tensor:
    _check_sides(pictures, smallest=WINDOW)
    check_frozen("classifier", classifier)
    classes = torch.as_tensor(np.asarray(labels), dtype=torch.long)
    with torch.no_grad():
        count = classifier(to_tensor(pictures[:1])).shape[1]
    if classes.shape != (len(pictures),) or not bool(((classes >= 0) & (classes < count)).all()):
        raise UsageError(
            f"Expected one label of 0 to {count - 1} for each of {len(pictures)} pictures, got "
            f"{len(classes)}, from {sorted(set(classes.tolist()))[:20]}. Number classes as the classifier does."
        )
    return classes


def _check_sides(pictures: Pixels, *, smallest: int) -> None:
    check_pictures(pictures)
    height, width = pictures.shape[1:3]
    if height % SIDES or width % SIDES or min(height, width) < smallest:
        raise UsageError(
            f"Expected sides that are multiples of {SIDES} and at least {smallest}, got {height}x{width}. "
            "Crop or resize the pictures."
        )
