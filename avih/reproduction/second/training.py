"""Train the second recogniser: Fisher's criterion for histograms, contrast and cross-entropy for the ResNet."""

import math
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from torch import Tensor, nn
from torch.nn import functional

from avih.errors import UsageError
from avih.images import to_tensor
from avih.recognisers.train import vary
from avih.reproduction.second import network as parts
from avih.settings import Frozen

Pictures = NDArray[np.uint8]
Floats = NDArray[np.float32]
AT_ONCE: Final = 64
LARGEST_ERASED: Final = 11  # half a side of the erased rectangle, in pixels of the halved picture


class Recipe(Frozen):
    """How the second recogniser is trained; the seed is no secret."""

    steps: int = Field(300, description="Steps of the ResNet.", ge=1)
    persons_each: int = Field(16, description="Persons per step.", ge=2)
    photos_each: int = Field(
        4, description="Photos of a person per step, drawn with repeats if need be.", ge=2
    )
    rate: float = Field(3e-3, description="Highest learning rate of AdamW.", gt=0)
    decay: float = Field(5e-2, description="Weight decay.", ge=0)
    temperature: float = Field(0.1, description="Temperature of the contrastive loss.", gt=0)
    smoothing: float = Field(0.1, description="Label smoothing of the cross-entropy.", ge=0, lt=1)
    varied: int = Field(3, description="Varied copies of each photo for Fisher's criterion.", ge=0)
    axes: int = Field(300, description="Principal components before it.", ge=1)
    shrinkage: float = Field(0.2, description="Shrinkage of its covariances.", gt=0, le=1)
    seed: int = 7


def contrastive_loss(features: Tensor, persons: Tensor, *, temperature: float) -> Tensor:
    """Return the supervised contrastive loss: a photo's own person against everybody else in the batch.

    Source: Khosla et al. 2020, "Supervised Contrastive Learning", equation 2, mean over the photos that have
    another photo of their person in the batch:
    ``L_i = -1/|P(i)| sum_{p in P(i)} log( e^{z_i z_p / t} / sum_{a != i} e^{z_i z_a / t} )``.

    Shape: features (batch, d), of any lengths; persons (batch,); returns a scalar, at least 0.
    """
    unit = functional.normalize(features)
    self_pairs = torch.eye(len(unit), dtype=torch.bool, device=unit.device)
    scores = (unit @ unit.T / temperature).masked_fill(self_pairs, -torch.inf)
    shares = (scores - scores.logsumexp(dim=1, keepdim=True)).masked_fill(self_pairs, 0.0)
    own = (persons[:, None] == persons[None]) & ~self_pairs
    partners = own.sum(dim=1)
    losses = -(shares * own).sum(dim=1)[partners > 0] / partners[partners > 0]
    return losses.mean()


def train_second(
    images: Pictures,
    persons: Sequence[str],
    recipe: Recipe,
    *,
    progress: Callable[[int, int], None] = lambda step, steps: None,
) -> parts.SecondNetwork:
    """Train all three parts; the global random state stays as it was.

    Args:
        images: aligned faces.
        persons: whose face each is.
        recipe: how.
        progress: called as ``progress(step, steps)`` after each step of the ResNet.

    Shape: images (n, 112, 96, 3) uint8; persons (n,).

    Raises:
        UsageError: fewer than two persons, or a person with one photo.
    """
    names, labels = np.unique(np.asarray(persons), return_inverse=True)
    if len(images) != len(labels) or len(names) < 2 or np.bincount(labels).min() < 2:
        raise UsageError(
            f"Expected two persons at least with two photos each, got {len(names)} persons, {len(labels)} names "
            f"and {len(images)} photos: leave out persons with one photo."
        )
    with torch.random.fork_rng(devices=[]):  # its first weights are drawn, and all replaced
        network = parts.SecondNetwork(directions=len(names) - 1)
    copies = _copies(images, recipe)
    repeated = np.tile(labels, 2 + recipe.varied)
    for layer, describe in (
        (network.gradients, parts.gradient_histograms),
        (network.textures, parts.local_patterns),
    ):
        fit_discriminant(layer, _described(copies, describe), repeated, recipe)
    network.resnet = train_resnet(images, labels, recipe, progress=progress)
    return network.eval().requires_grad_(False)


def _copies(images: Pictures, recipe: Recipe) -> list[Tensor]:
    """Return the photos, their mirror images and varied copies, in parts, as luminance."""
    generator = torch.Generator().manual_seed(recipe.seed)
    straight = [to_tensor(images[start : start + AT_ONCE]) for start in range(0, len(images), AT_ONCE)]
    copies = [*straight, *(part.flip(3) for part in straight)]
    for _ in range(recipe.varied):
        varied = ((vary(2 * part - 1, generator) + 1) / 2 for part in straight)
        copies += [(255 * part).round() / 255 for part in varied]
    return [parts.luminance(part) for part in copies]


def _described(copies: Sequence[Tensor], describe: Callable[[Tensor], Tensor]) -> Floats:
    return torch.cat([describe(part) for part in copies]).numpy()


def fit_discriminant(layer: nn.Linear, rows: Floats, labels: NDArray[np.int64], recipe: Recipe) -> None:
    """Fit principal components and a shrunk linear discriminant analysis, and put both into one linear layer.

    Source: Belhumeur, Hespanha and Kriegman 1997, "Eigenfaces vs. Fisherfaces", section 2.4.

    Shape: rows (n, d); labels (n,); layer d to persons - 1.
    """
    count = min(recipe.axes, len(rows) - 1, rows.shape[1])
    axes = PCA(count, svd_solver="randomized", random_state=recipe.seed).fit(rows)
    fisher = LinearDiscriminantAnalysis(solver="eigen", shrinkage=recipe.shrinkage)
    fisher.fit(axes.transform(rows), labels)
    found = fisher.scalings_[:, : layer.out_features].T
    matrix = np.zeros((layer.out_features, rows.shape[1]), np.float32)
    matrix[: len(found)] = found @ axes.components_  # fewer directions than asked for: the rest stays 0
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(matrix))
        layer.bias.copy_(torch.from_numpy(-matrix @ axes.mean_.astype(np.float32)))


def train_resnet(
    images: Pictures, labels: NDArray[np.int64], recipe: Recipe, *, progress: Callable[[int, int], None]
) -> parts.SmallResNet:
    """Train the ResNet with the contrastive loss and the cross-entropy of a linear classifier, summed.

    Shape: images (n, 112, 96, 3) uint8; labels (n,) from 0.
    """
    generator, drawn = torch.Generator().manual_seed(recipe.seed), np.random.default_rng(recipe.seed)
    small = _halved(images)
    targets, photos = torch.from_numpy(labels), [np.flatnonzero(labels == one) for one in np.unique(labels)]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)  # also of the dropped values, while it trains
        network, classifier = parts.SmallResNet().train(), nn.Linear(parts.FEATURES, len(photos))
        optimiser = torch.optim.AdamW(
            [*network.parameters(), *classifier.parameters()], lr=recipe.rate, weight_decay=recipe.decay
        )
        for step in range(recipe.steps):
            for group in optimiser.param_groups:
                group["lr"] = recipe.rate * _share(step, recipe.steps)
            rows = _draw(photos, recipe, drawn)
            features = network(erased(parts.even_small(_varied(small[rows], generator)), generator))
            loss = contrastive_loss(features, targets[rows], temperature=recipe.temperature)
            loss = loss + functional.cross_entropy(
                classifier(features), targets[rows], label_smoothing=recipe.smoothing
            )
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            progress(step + 1, recipe.steps)
    return network.eval()


def _halved(images: Pictures) -> Tensor:
    pieces = [to_tensor(images[start : start + AT_ONCE]) for start in range(0, len(images), AT_ONCE)]
    return torch.cat([functional.avg_pool2d(parts.luminance(piece), 2) for piece in pieces])


def _varied(grey: Tensor, generator: torch.Generator) -> Tensor:
    """Vary gray pictures in [0, 1]: the variations work on three channels."""
    return parts.luminance((vary(2 * grey.expand(-1, 3, -1, -1) - 1, generator) + 1) / 2)


def _share(step: int, steps: int) -> float:
    """Return the learning rate as a share of the highest: a short rise, then half a cosine down."""
    return min((step + 1) / min(50, steps), 1.0) * 0.5 * (1 + math.cos(math.pi * step / steps))


def _draw(photos: Sequence[NDArray[Any]], recipe: Recipe, drawn: np.random.Generator) -> Tensor:
    """Draw the photos of a step: some persons, the same number of each."""
    some = drawn.choice(len(photos), min(recipe.persons_each, len(photos)), replace=False)
    count = recipe.photos_each
    rows = [drawn.choice(photos[person], count, replace=len(photos[person]) < count) for person in some]
    return torch.from_numpy(np.concatenate(rows))


def erased(images: Tensor, generator: torch.Generator) -> Tensor:
    """Erase one rectangle of each picture (Zhong et al. 2020, "Random Erasing"), at most 22 pixels a side.

    Shape: (batch, 1, H, W); returns the same shape.
    """
    height, width = images.shape[2:]

    def uniform(high: float) -> Tensor:
        return high * torch.rand(len(images), 1, 1, 1, generator=generator)

    far_down = (torch.arange(height).view(1, 1, -1, 1) - uniform(height)).abs() >= uniform(LARGEST_ERASED)
    far_across = (torch.arange(width).view(1, 1, 1, -1) - uniform(width)).abs() >= uniform(LARGEST_ERASED)
    return images * (far_down | far_across)
