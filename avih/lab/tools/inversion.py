"""Pictures from features: a decoder that is trained on other photos, and pictures that are fitted one by one.

A fit has a canvas (how a picture may look: the prior) and a loss (what it must agree with). Nothing in here has
to do with keys: ``f(x') = f(x)`` is what protection keeps, so whoever has the recogniser has the features.
"""

from collections.abc import Callable, Sequence
from typing import Final, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from avih.attack.network import Features
from avih.attack.pairs import Pictures
from avih.attack.settings import AttackSettings
from avih.images import to_pixels, to_tensor
from avih.key_training import structural_similarity

Loss = Callable[[Tensor], Tensor]  # pictures in, one value per picture out

AT_ONCE: Final = 16  # pictures per pass when nothing is learned
BATCH: Final = 8
DECODER_WIDTH: Final = 16
FEATURE_NOISE: Final = 0.3  # of a feature's own spread: few photos must serve for many persons
IDENTITY_WEIGHT: Final = 0.5
SCALES: Final = (8, 4, 2, 1)  # a canvas moves whole regions before single pixels
CANVAS_RATE: Final = 0.05
PRIOR_RATE: Final = 0.002
PRIOR_WIDTH: Final = 24
MOST_SHIFT: Final = 2  # pixels: what only one position shows is no face
SMALLEST: Final = 1 / 255


def features_of(recogniser: Features, pictures: Pictures) -> Tensor:
    """Return the recogniser's features of pictures.

    Shape:
        - pictures: ``(n, H, W, 3)`` uint8; output: ``(n, d)`` unit rows.
    """
    with torch.no_grad():
        return torch.cat([recogniser(part) for part in to_tensor(pictures).split(AT_ONCE)])


def total_variation(pictures: Tensor) -> Tensor:
    """Return the mean absolute difference of neighbours, picture by picture.

    Shape:
        - pictures: ``(n, 3, H, W)``; output: ``(n,)``.
    """
    down = (pictures[:, :, 1:] - pictures[:, :, :-1]).abs().mean(dim=(1, 2, 3))
    right = (pictures[..., 1:] - pictures[..., :-1]).abs().mean(dim=(1, 2, 3))
    return down + right


def feature_loss(recogniser: Features, wanted: Tensor, *, seed: int) -> Loss:
    """Return 1 - cos(f(y), wanted), each time of y moved by a pixel or two: features of a face bear that.

    Shape:
        - wanted: ``(n, d)`` unit rows.
    """
    draw = torch.Generator().manual_seed(seed)

    def loss(pictures: Tensor) -> Tensor:
        down, right = torch.randint(-MOST_SHIFT, MOST_SHIFT + 1, (2,), generator=draw).tolist()
        moved = pictures.roll((down, right), dims=(2, 3))
        return 1 - functional.cosine_similarity(recogniser(moved), wanted)

    return loss


class Canvas(nn.Module):
    """Pictures that start as one picture and move at several scales at once.

    Args:
        start: where all of them begin.
        count: how many.

    Shape:
        - start: ``(H, W, 3)`` uint8; output: ``(count, 3, H, W)`` in (0, 1).
    """

    def __init__(self, start: Pictures, *, count: int) -> None:
        super().__init__()
        first = to_tensor(start).clamp(SMALLEST, 1 - SMALLEST)
        self.size: tuple[int, int] = (start.shape[0], start.shape[1])
        self.register_buffer("start", first.logit().expand(count, -1, -1, -1))
        self.moves = nn.ParameterList(
            torch.zeros(count, 3, -(-self.size[0] // scale), -(-self.size[1] // scale)) for scale in SCALES
        )

    def forward(self) -> Tensor:
        """Return the pictures as they are now."""
        logits: Tensor = self.get_buffer("start")
        for move in self.moves:
            logits = logits + functional.interpolate(move, self.size, mode="bilinear", align_corners=False)
        return logits.sigmoid()


class DeepPrior(nn.Module):
    """Pictures that a small network each makes from noise (Ulyanov et al. 2018, deep image prior).

    The network moves a picture to start from, the mean face say: few steps then go into what is particular.

    Args:
        start: where all of them begin.
        count: how many.
        seed: of the weights and of the noise.

    Shape:
        - start: ``(H, W, 3)`` uint8; output: ``(count, 3, H, W)`` in (0, 1).
    """

    def __init__(self, start: Pictures, *, count: int, seed: int) -> None:
        super().__init__()
        self.register_buffer("start", to_tensor(start).clamp(SMALLEST, 1 - SMALLEST).logit())
        self.size: tuple[int, int] = (start.shape[0], start.shape[1])
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            grid = [-(-side // 8) for side in self.size]
            self.register_buffer("noise", torch.rand(count, 1, PRIOR_WIDTH, *grid))
            self.networks = nn.ModuleList(_upwards(PRIOR_WIDTH, PRIOR_WIDTH, times=2) for _ in range(count))

    def forward(self) -> Tensor:
        """Return the pictures as they are now."""
        moves = torch.cat(
            [net(one) for net, one in zip(self.networks, self.get_buffer("noise"), strict=True)]
        )
        return (self.get_buffer("start") + _doubled(moves, self.size)).sigmoid()


def _upwards(inputs: int, width: int, *, times: int) -> nn.Sequential:
    """Return convolutions that double the size so many times and end in three channels, of zeros at first."""
    layers: list[nn.Module] = []
    for _ in range(times):
        layers += [
            nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
            nn.Conv2d(inputs, width, 3, padding=1),
            nn.GroupNorm(1, width),
            nn.LeakyReLU(0.1),
        ]
        inputs = width
    last = nn.Conv2d(width, 3, 3, padding=1)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(cast(Tensor, last.bias))
    return nn.Sequential(*layers, last)


def _doubled(moves: Tensor, size: tuple[int, int]) -> Tensor:
    """Return moves at twice their size, cut to ``size``: features know nothing of single pixels."""
    whole = functional.interpolate(moves, scale_factor=2, mode="bilinear", align_corners=False)
    return whole[..., : size[0], : size[1]]


def fit(canvas: Canvas | DeepPrior, *, loss: Loss, steps: int) -> Pictures:
    """Move the pictures of a canvas until the loss is small, each by itself.

    Shape:
        - output: ``(n, H, W, 3)`` uint8.
    """
    rate = CANVAS_RATE if isinstance(canvas, Canvas) else PRIOR_RATE
    optimiser = torch.optim.Adam(canvas.parameters(), lr=rate)
    for _ in range(steps):
        optimiser.zero_grad()
        loss(canvas()).sum().backward()
        optimiser.step()
    return to_pixels(canvas())


class Decoder(nn.Module):
    """From features to a picture: the mean face, moved.

    Args:
        features: their size d.
        mean: the mean face.

    Shape:
        - mean: ``(3, H, W)`` in [0, 1]; input: ``(n, d)`` unit rows; output: ``(n, 3, H, W)`` in (0, 1).
    """

    def __init__(self, *, features: int, mean: Tensor) -> None:
        super().__init__()
        self.size: tuple[int, int] = (mean.shape[1], mean.shape[2])
        self.grid = [-(-side // 16) for side in self.size]
        self.register_buffer("mean", mean.clamp(SMALLEST, 1 - SMALLEST).logit()[None])
        self.spread = nn.Linear(features, 4 * DECODER_WIDTH * self.grid[0] * self.grid[1])
        self.layers = _upwards(4 * DECODER_WIDTH, DECODER_WIDTH, times=3)

    def forward(self, features: Tensor) -> Tensor:
        """Guess pictures."""
        scaled = features * features.shape[1] ** 0.5  # unit rows: each value would be tiny
        cells = self.spread(scaled).unflatten(1, (4 * DECODER_WIDTH, *self.grid))
        return (self.get_buffer("mean") + _doubled(self.layers(cells), self.size)).sigmoid()

    def guess(self, features: Tensor) -> Pictures:
        """Return 8-bit pictures of features ``(n, d)``."""
        with torch.no_grad():
            return to_pixels(torch.cat([self(part) for part in features.split(AT_ONCE)]))


def train_decoder(originals: Pictures, *, recogniser: Features, settings: AttackSettings) -> Decoder:
    """Train a decoder on photos of the attacker's own, as they are and mirrored.

    Shape:
        - originals: ``(n, H, W, 3)`` uint8.
    """
    both = np.concatenate([originals, originals[:, :, ::-1]])
    targets, features = to_tensor(both), features_of(recogniser, both)
    draw = torch.Generator().manual_seed(settings.seed)
    noise = FEATURE_NOISE * float(features.std(dim=0).mean())
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(settings.seed)
        decoder = Decoder(features=features.shape[1], mean=targets.mean(dim=0))
    optimiser = torch.optim.AdamW(decoder.parameters(), lr=settings.learning_rate, weight_decay=0.01)
    for _ in range(settings.steps):
        rows = torch.randint(len(targets), (BATCH,), generator=draw)
        asked, wanted = features[rows], targets[rows]
        moved = asked + noise * torch.randn(asked.shape, generator=draw)
        guesses = decoder(functional.normalize(moved, dim=1))
        # The recogniser is most of the work: it looks at half of the batch.
        half = len(rows) // 2
        alike = functional.cosine_similarity(recogniser(guesses[:half]), asked[:half])
        seen, true = functional.avg_pool2d(guesses, 2), functional.avg_pool2d(wanted, 2)
        apart = functional.l1_loss(seen, true) + 1 - structural_similarity(seen, true).mean()
        optimiser.zero_grad()
        (apart + IDENTITY_WEIGHT * (1 - alike.mean())).backward()
        optimiser.step()
    return decoder.eval().requires_grad_(False)


def weighted(terms: Sequence[tuple[float, Loss]]) -> Loss:
    """Return the weighted sum of losses."""

    def loss(pictures: Tensor) -> Tensor:
        return torch.stack([weight * term(pictures) for weight, term in terms]).sum(dim=0)

    return loss
