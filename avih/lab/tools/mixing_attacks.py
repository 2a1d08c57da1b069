"""What opens pictures when a mixing is not fresh for each of them, and fits of one picture where it is.

Three ways, from sharp to general. By differences: under one mixing the stored values of known pictures differ
from each other as their codes do, up to sign: equal differences tell which stored value holds which code value.
By a dense map: a linear map from all stored values at once, which needs no idea of the mixing (a network of
convolutions cannot learn a permutation of the whole picture). By fitting: the stored values are put into whatever
places, and turned over or not, that make the generator show a natural face.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from avih.attack.pairs import Pairs, Pictures
from avih.errors import TooFew
from avih.evaluation.metrics import Floats
from avih.generators.codec import encode, free_mask
from avih.images import to_pixels, to_tensor

Rows = NDArray[np.uint8]
Features = Callable[[Tensor], Tensor]

RIDGE = 1.0  # of the mean variance: the map has far more weights than pairs
RATE = 0.1  # of Adam, falling: the first steps move a score by up to 25 grey levels
SMOOTH, FACE, ALIKE = 1.0, 3.0, 1.0  # weights of the fit


def code_places(shape: tuple[int, ...]) -> NDArray[np.intp]:
    """Return where a mixed picture of this shape ``(H, W, 3)`` holds code; elsewhere the generator looks not."""
    places: NDArray[np.intp] = np.flatnonzero(~free_mask(*shape[:2]))
    return places


def codes_of(pictures: Pictures) -> Rows:
    """Return the code values of pictures; ``(n, H, W, 3)`` in, ``(n, H * W * 3 / 2)`` out."""
    places = code_places(pictures.shape[1:])
    return np.stack([encode(one).reshape(-1)[places] for one in pictures])


def shown(codes: Rows, *, generator: nn.Module, shape: tuple[int, ...]) -> Pictures:
    """Let the generator show code values: ``(n, H * W * 3 / 2)`` in, ``(n, H, W, 3)`` out."""
    mixed = np.zeros((len(codes), int(np.prod(shape))), dtype=np.uint8)
    mixed[:, code_places(shape)] = codes
    with torch.no_grad():
        parts = [to_pixels(generator(to_tensor(one.reshape(1, *shape)))) for one in mixed]
    return np.concatenate(parts)


@dataclass(frozen=True, eq=False)
class Opened:
    """Code values that an attack by differences found.

    Attributes:
        codes: ``(m, c)``; the fill where nothing was found.
        found: share of the code's places for which a stored value with equal differences was found.
    """

    codes: Rows
    found: float


def open_by_differences(*, known: Rows, known_stored: Rows, stored: Rows, fill: Rows) -> Opened:
    """Take all pictures for ones under a single mixing, and read the others by the known ones.

    M adds a shift to each value of the code or of the code turned over: differences between two pictures keep
    their size, whatever the shift. Values with equal differences, mostly neighbours, share what is read.

    Shape:
        - known: ``(n, c)`` code values of known pictures; known_stored: ``(n, v)`` what is stored of them;
          stored: ``(m, v)``; fill: ``(c,)``.

    Raises:
        TooFew: fewer than two known pictures.
    """
    if len(known) < 2:
        raise TooFew(f"Expected at least 2 known pictures to compare, got {len(known)}.")
    (seen, turned), (held, held_turned) = _differences(known), _differences(known_stored)
    _, groups = np.unique(np.concatenate([seen, held]), axis=0, return_inverse=True)
    groups = groups.reshape(-1)
    of_code, of_stored = groups[: len(seen)], groups[len(seen) :]
    sizes = np.bincount(of_stored, minlength=groups.max() + 1)
    sign, stored_sign = (np.where(minus, -1.0, 1.0) for minus in (turned, held_turned))
    found = sizes[of_code] > 0
    codes = np.tile(fill, (len(stored), 1))
    for row, one in enumerate(stored):
        apart = (one - known_stored[0]).view(np.int8) * stored_sign
        mean = np.bincount(of_stored, weights=apart, minlength=len(sizes)) / np.maximum(sizes, 1)
        change = (mean[of_code] * sign).round().astype(np.int64)
        codes[row, found] = ((known[0] + change) % 256).astype(np.uint8)[found]
    return Opened(codes, float(found.mean()))


def _differences(rows: Rows) -> tuple[Rows, NDArray[np.bool_]]:
    """Return the differences to the first row, place by place, with one sign; and where they were turned."""
    apart = rows[1:] - rows[0]  # wraps: modulo 256
    signed = (apart != 0) & (apart != 128)
    first = apart[signed.argmax(axis=0), np.arange(apart.shape[1])]
    turned = first > 128
    return np.ascontiguousarray(np.where(turned, 0 - apart, apart).T), turned


def dense_guess(*, pairs: Pairs, protected: Pictures) -> Pictures:
    """Guess by a linear map of all stored values at once, fitted on pairs (ridge regression in its dual form).

    A value enters as a point on a circle, so that shifts modulo 256 are rotations.

    Shape:
        - protected: ``(n, H, W, 3)`` uint8; the same comes back.
    """
    known, asked = _on_circle(pairs.protected), _on_circle(protected)
    middle = known.mean(axis=0)
    known, asked = known - middle, asked - middle
    originals = pairs.originals.reshape(len(pairs), -1).astype(np.float32)
    mean = originals.mean(axis=0)
    inner = known @ known.T
    inner[np.diag_indices_from(inner)] += RIDGE * inner.trace() / len(inner)
    guess = mean + asked @ known.T @ np.linalg.solve(inner, originals - mean)
    return guess.round().clip(0, 255).astype(np.uint8).reshape(protected.shape)


def _on_circle(pictures: Pictures) -> NDArray[np.float32]:
    angles = pictures.reshape(len(pictures), -1).astype(np.float32) * np.float32(2 * np.pi / 256)
    return np.concatenate([np.cos(angles), np.sin(angles)], axis=1)


def arranged(scores: Tensor, stored: Tensor) -> Tensor:
    """Put a stored value, turned over or not, in every place of the code, each value in one place at most.

    Both are sorted by their distance from the middle, which is the best order on a line; each score takes the
    next value that is left, and the generator ignores what stays over. The gradient is passed on to the scores as
    if they had been met.

    Shape:
        - scores: ``(batch, c)``; stored: ``(batch, v)`` in [0, 1], v at least c; output: as ``scores``.
    """
    wanted, count = scores.detach() - 0.5, scores.shape[1]
    sizes = (stored - 0.5).abs().sort(dim=1).values
    order = wanted.abs().argsort(dim=1)
    ranks = torch.arange(count, device=scores.device)
    nearest = torch.searchsorted(sizes, wanted.abs().gather(1, order))
    # No value twice: places grow by one at least, and leave enough values for the scores that follow.
    taken = (nearest - ranks).clamp(max=sizes.shape[1] - count).cummax(dim=1).values + ranks
    placed = torch.empty_like(wanted).scatter_(1, order, sizes.gather(1, taken))
    values = 0.5 + torch.where(wanted < 0, -1.0, 1.0) * placed
    return scores + (values - scores).detach()


def fit_arrangements(
    *,
    protected: Pictures,
    generator: nn.Module,
    face: Pictures,
    steps: int,
    recogniser: Features | None = None,
) -> Pictures:
    """Fit an arrangement of each picture's stored values such that the generator shows a natural face.

    Natural is what changes little from pixel to pixel and is near the mean face. With a recogniser, its features
    must be those of the stored picture as well: what is found then is what f(x') tells, whatever the mixing.

    Args:
        protected: what is stored.
        generator: the key's, which is public.
        face: the mean face.
        steps: gradient steps, beginning with the values where they are stored.
        recogniser: the service model.

    Shape:
        - protected: ``(n, H, W, 3)`` uint8; face: ``(H, W, 3)`` uint8; output: as ``protected``.
    """
    shape, mean = protected.shape[1:], to_tensor(face[None])
    places = torch.from_numpy(code_places(shape))
    stored = torch.from_numpy(protected.reshape(len(protected), -1).astype(np.float32) / 255)
    target = None if recogniser is None else recogniser(to_tensor(protected)).detach()
    scores = stored[:, places].requires_grad_(True)
    optimiser = torch.optim.Adam([scores], lr=RATE)
    slower = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.05, steps)
    best, lowest = torch.zeros_like(to_tensor(protected)), torch.full((len(protected),), torch.inf)
    for _ in range(steps):
        mixed = torch.zeros_like(stored).index_copy(1, places, arranged(scores, stored))
        guess = generator(mixed.view(-1, *shape).permute(0, 3, 1, 2))
        loss = SMOOTH * _roughness(guess) + FACE * (guess - mean).square().mean(dim=(1, 2, 3))
        if recogniser is not None and target is not None:
            loss = loss + ALIKE * (1 - functional.cosine_similarity(recogniser(guess), target))
        # What sorting does to the rest is no part of the gradient, so a step may well make a picture worse.
        better = loss.detach() < lowest
        best[better], lowest[better] = guess.detach()[better], loss.detach()[better]
        optimiser.zero_grad()
        (scores.grad,) = torch.autograd.grad(loss.sum(), [scores])
        optimiser.step()
        slower.step()
    return to_pixels(best)


def _roughness(pictures: Tensor) -> Tensor:
    """Return the total variation per value; ``(batch,)``."""
    down = (pictures[:, :, 1:] - pictures[:, :, :-1]).abs().mean(dim=(1, 2, 3))
    across = (pictures[..., 1:] - pictures[..., :-1]).abs().mean(dim=(1, 2, 3))
    return down + across


def nearly_right(codes: Rows, true: Rows, *, within: int = 8) -> float:
    """Return the share of code values that are right up to some grey levels."""
    apart = codes.astype(np.int64) - true
    return float((np.abs(apart) <= within).mean())


def mean_code(pictures: Pictures) -> Rows:
    """Return the mean code of pictures: what is guessed where nothing was found."""
    mean: Floats = codes_of(pictures).mean(axis=0)
    return mean.round().astype(np.uint8)
