"""The lab's own second recogniser: it names the persons of its reference photos, and nobody else.

It is fitted on reference photos alone and shares nothing with the service model. Each face is described by the
strengths of Gabor waves of eight directions on a pyramid (Liu and Wechsler 2002, "Gabor feature based
classification"), by histograms of oriented gradients (Dalal and Triggs 2005) and by its colours. Ridge regression
on the persons (Hoerl and Kennard 1970) learns to tell them apart, from mirrored, moved, blurred and noisy copies
as well: a judge who knows perfect photos only would miss imperfect reconstructions.

A picture's feature is its row of scores, one per person. References score for their own person by construction,
so that the nearest reference belongs to the person with the highest score.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from avih.attack.pairs import Pictures
from avih.attack.second import Embed
from avih.errors import UsageError
from avih.evaluation.metrics import Floats
from avih.images import to_tensor

NAME: Final = (
    "Gabor waves, gradient histograms and colours with ridge regression on the persons, fitted on the reference "
    "photos and on varied copies of them"
)
SIDES: Final = (112, 96)  # every picture is brought to this height and width first
SMALLEST: Final = 24  # pixels of the shorter side
AT_ONCE: Final = 32
SEED: Final = 2002  # of the varied copies; no secret
ENOUGH: Final = 1000  # varied copies in all, where each photo has at least the fewest and at most the most
FEWEST_VARIED, MOST_VARIED = 2, 8
RIDGE: Final = 0.02  # per copy of a photo, added to a kernel whose diagonal is at most 1
# Shares of the descriptions in the kernel, which is their sum.
SHARES: Final = (0.6, 0.25, 0.15)
LUMINANCE: Final = (0.299, 0.587, 0.114)
INSIDE: Final = (8, 112, 6, 90)  # rows and columns of the face with its outline, of 112 x 96
CONTRAST: Final = 0.2  # standard deviation of the luminance inside, once evened
# Scales of the pyramid with their cells; of each filter its wave length, deviation and half a side in pixels.
SCALES: Final = ((1.0, (13, 10)), (0.5, (13, 10)), (0.28, (9, 7)))
DIRECTIONS, WAVE, WIDTH, REACH = 8, 4.0, 2.0, 5
FAINTEST: Final = 1e-5  # squared strength of waves below which skin counts as flat
BINS, CELL, MOST = 12, 8, 0.2
COLOUR_CELLS: Final = (7, 6)
COLOUR_REACH: Final = 0.5  # deviation from the middle, of half a side: beyond lies background
GREYEST: Final = 0.02  # log ratio of channels, weakest that counts in full


def fit_second(pictures: Pictures, persons: Sequence[str]) -> Embed:
    """Fit the recogniser on reference photos: the fit is the same each time, and draws from no global state.

    Shape:
        - pictures: ``(n, H, W, 3)`` uint8; persons: ``(n,)``. The returned function gives ``(m, persons)``.

    Raises:
        UsageError: no photos of two persons at least, not one name per picture, or pictures of another shape.
    """
    _check(pictures)
    names, labels = np.unique(np.asarray(persons, dtype=np.str_), return_inverse=True)
    if len(names) < 2 or len(labels) != len(pictures):
        raise UsageError(
            f"Expected one name per photo and photos of 2 persons at least, got {len(names)} persons, "
            f"{len(labels)} names and {len(pictures)} photos."
        )
    more = min(max(ENOUGH // len(pictures), FEWEST_VARIED), MOST_VARIED)
    rows = [torch.cat(views) for views in zip(*map(describe, _copies(pictures, more)), strict=True)]
    means = [view.mean(dim=0) for view in rows]
    joined = _joined(rows, means)
    wanted = torch.from_numpy(np.tile(np.eye(len(names))[labels], (2 + more, 1)))
    kernel = (joined @ joined.T).double()
    # Persons with many photos get a stronger ridge: theirs would win wherever a picture tells little.
    often = np.tile(np.bincount(labels)[labels], 2 + more)
    kernel.diagonal().add_(torch.from_numpy(RIDGE * (2 + more) * np.sqrt(often / often.mean())))
    weights = joined.T @ torch.linalg.solve(kernel, wanted).float()

    def embed(queries: Pictures) -> Floats:
        _check(queries)
        found = [_scores(part, means, weights) for part in _parts(queries)]
        return torch.cat(found).double().numpy()

    return embed


def _scores(faces: Tensor, means: Sequence[Tensor], weights: Tensor) -> Tensor:
    """Return the scores of faces and of their mirror images together."""
    straight, mirrored = (_joined(describe(one), means) @ weights for one in (faces, faces.flip(3)))
    return straight + mirrored


def _joined(views: Sequence[Tensor], means: Sequence[Tensor]) -> Tensor:
    """Put the descriptions side by side, so that the product of two rows is the weighted sum of cosines."""
    parts = []
    for view, mean, share, least in zip(views, means, SHARES, (0.0, 0.0, GREYEST), strict=True):
        centred = view - mean
        length = centred.norm(dim=1, keepdim=True).clamp(min=least * math.sqrt(len(mean)) + 1e-6)
        parts.append(math.sqrt(share) * centred / length)
    return torch.cat(parts, dim=1)


def _check(pictures: Pictures) -> None:
    if pictures.ndim != 4 or pictures.shape[3] != 3 or pictures.dtype != np.uint8 or not len(pictures):
        raise UsageError(f"Expected uint8 pictures (n, H, W, 3), got {pictures.dtype} {pictures.shape}.")
    if min(pictures.shape[1:3]) < SMALLEST:
        raise UsageError(
            f"Expected faces of at least {SMALLEST}x{SMALLEST} pixels, got {pictures.shape[1:3]}."
        )


def _parts(pictures: Pictures) -> Iterator[Tensor]:
    """Yield the pictures in parts, in [0, 1] and of the one size."""
    for first in range(0, len(pictures), AT_ONCE):
        part = to_tensor(np.ascontiguousarray(pictures[first : first + AT_ONCE])).float()
        if part.shape[2:] != SIDES:
            part = functional.interpolate(part, SIDES, mode="bilinear", align_corners=False, antialias=True)
        yield part


def _copies(pictures: Pictures, more: int) -> Iterator[Tensor]:
    """Yield the photos, their mirror images and their varied copies, in parts; each time in the same order."""
    generator = torch.Generator().manual_seed(SEED)
    yield from _parts(pictures)
    yield from (part.flip(3) for part in _parts(pictures))
    for _ in range(more):
        yield from (varied(part, generator) for part in _parts(pictures))


def varied(faces: Tensor, generator: torch.Generator) -> Tensor:
    """Vary faces as aligners, cameras and imperfect reconstructions do: mirror, move, blur, fade and add noise.

    Shape: (batch, 3, H, W) in [0, 1]; returns the same.
    """

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(len(faces), *shape, generator=generator)

    turn, zoom = uniform(-0.08, 0.08), uniform(0.94, 1.06)
    mirror = torch.where(uniform(0, 1) < 0.5, -1.0, 1.0)
    ratio = faces.shape[2] / faces.shape[3]
    across = [mirror * zoom * turn.cos(), -zoom * turn.sin() * ratio, uniform(-0.05, 0.05)]
    down = [mirror * zoom * turn.sin() / ratio, zoom * turn.cos(), uniform(-0.05, 0.05)]
    grid = torch.stack([torch.stack(across, dim=1), torch.stack(down, dim=1)], dim=1)
    places = functional.affine_grid(grid, list(faces.shape), align_corners=False)
    moved = functional.grid_sample(faces, places, padding_mode="border", align_corners=False)
    faded = 0.5 + (moved - 0.5) * uniform(0.7, 1.2, 1, 1, 1)
    sigmas = uniform(-1.2, 2.6).tolist()  # a third stays sharp
    each = zip(faded[:, None], sigmas, strict=True)
    soft = [blurred(one, sigma) if sigma > 0.4 else one for one, sigma in each]
    strength = uniform(-0.06, 0.06, 1, 1, 1).clamp(min=0)  # half gets no noise
    noise = torch.randn(faces.shape, generator=generator) * strength
    return (torch.cat(soft) + noise).clamp(0, 1)


def blurred(images: Tensor, sigma: float) -> Tensor:
    """Blur by a Gaussian; edges are repeated.

    Shape: (batch, channels, H, W) to the same.
    """
    reach = math.ceil(3 * sigma)
    line = torch.softmax(-(torch.arange(-reach, reach + 1.0) ** 2) / (2 * sigma**2), dim=0)
    single = functional.pad(images.flatten(0, 1)[:, None], (reach,) * 4, mode="replicate")
    across = functional.conv2d(single, line.view(1, 1, 1, -1))
    return functional.conv2d(across, line.view(1, 1, -1, 1)).view_as(images)


def describe(faces: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Describe faces by waves, by gradients and by colours.

    Shape: (batch, 3, 112, 96) in [0, 1] to three tensors (batch, d).
    """
    grey = (faces * faces.new_tensor(LUMINANCE).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)
    top, bottom, left, right = INSIDE
    inside = grey[..., top:bottom, left:right]
    # The contrast of the face alone: a bright background must not make it flat.
    deviation = inside.std(dim=(2, 3), keepdim=True).clamp(min=0.02)
    even = CONTRAST * (grey - inside.mean(dim=(2, 3), keepdim=True)) / deviation
    return waves(even), gradients(even), colours(faces)


def waves(even: Tensor) -> Tensor:
    """Describe each cell by the strengths of the Gabor waves in it, relative to each other.

    Shape: (batch, 1, 112, 96) to (batch, d).
    """
    real, imaginary = _filters()
    parts = []
    for scale, cells in SCALES:
        size = [round(scale * side) for side in even.shape[2:]]
        level = functional.interpolate(even, size, mode="bilinear", align_corners=False, antialias=True)
        padded = functional.pad(level, (REACH,) * 4, mode="replicate")
        # Cells are means: of the largest level every other pixel does as well, in a quarter of the time.
        step = 2 if scale == 1 else 1
        both = [functional.conv2d(padded, part, stride=step).square() for part in (real, imaginary)]
        length = both[0] + both[1]
        top, bottom = (round(edge / SIDES[0] * length.shape[2]) for edge in INSIDE[:2])
        left, right = (round(edge / SIDES[1] * length.shape[3]) for edge in INSIDE[2:])
        mean = functional.adaptive_avg_pool2d((length + 1e-12).sqrt()[..., top:bottom, left:right], cells)
        parts.append((mean / (mean.square().mean(dim=1, keepdim=True) + FAINTEST).sqrt()).flatten(1))
    return torch.cat(parts, dim=1)


def _filters() -> tuple[Tensor, Tensor]:
    """Return the cosine and sine waves of all directions under a Gaussian; the cosines answer 0 to flat skin.

    Shape: (directions, 1, side, side) each.
    """
    axis = torch.arange(-REACH, REACH + 1.0)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    bell = torch.exp(-(x**2 + y**2) / (2 * WIDTH**2))
    bell = bell / bell.sum()
    angles = [math.pi * step / DIRECTIONS for step in range(DIRECTIONS)]
    phases = [2 * math.pi / WAVE * (x * math.cos(angle) + y * math.sin(angle)) for angle in angles]
    cosines = [bell * (phase.cos() - (bell * phase.cos()).sum()) for phase in phases]
    return torch.stack(cosines)[:, None], torch.stack([bell * phase.sin() for phase in phases])[:, None]


def gradients(even: Tensor) -> Tensor:
    """Describe the face by histograms of signed gradients in blocks of 2 x 2 cells, scaled, cut and scaled again.

    Shape: (batch, 1, 112, 96) to (batch, 5184).
    """
    across = functional.pad(even[..., 2:] - even[..., :-2], (1, 1, 0, 0))
    down = functional.pad(even[..., 2:, :] - even[..., :-2, :], (0, 0, 1, 1))
    length = (across.square() + down.square()).sqrt()
    # An angle counts for the two nearest directions, the nearer the more.
    angle = (torch.atan2(down, across) % (2 * math.pi)) * BINS / (2 * math.pi)
    apart = (angle - torch.arange(BINS).view(1, -1, 1, 1) - 0.5).abs()
    votes = length * (1 - torch.minimum(apart, BINS - apart)).clamp(min=0)
    top, bottom, left, right = INSIDE
    cells = functional.avg_pool2d(votes[..., top:bottom, left:right], CELL)
    corners = [cells[..., :-1, :-1], cells[..., 1:, :-1], cells[..., :-1, 1:], cells[..., 1:, 1:]]
    blocks = torch.cat(corners, dim=1)
    blocks = (blocks / (blocks.square().sum(dim=1, keepdim=True) + 4e-4).sqrt()).clamp(max=MOST)
    return (blocks / (blocks.square().sum(dim=1, keepdim=True) + 1e-6).sqrt()).flatten(1)


def colours(faces: Tensor) -> Tensor:
    """Describe coarse colours by the logarithms of the channels over their mean: 0 where a picture is grey.

    Shape: (batch, 3, H, W) to (batch, 126).
    """
    coarse = functional.adaptive_avg_pool2d(faces, COLOUR_CELLS) + 0.05
    ratios = (coarse / coarse.mean(dim=1, keepdim=True)).log()
    down, across = (torch.linspace(-1, 1, cells) for cells in COLOUR_CELLS)
    middle = torch.exp(-(down[:, None] ** 2 + across[None] ** 2) / (2 * COLOUR_REACH**2))
    return (ratios * middle).flatten(1)
