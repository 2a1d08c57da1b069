"""How a protected picture looks beside its original, and the least that an outsider can undo."""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from skimage.filters import sobel

from avih.evaluation.metrics import ssim
from avih.reproduction.classification.data import CLASSES, Pixels

_sobel: Callable[..., Any] = sobel  # scikit-image has no types
NOTHING: Final = 1e-6  # below this, edges are rounding
RIDGE: Final = 1e-3  # of the mean square of the leaked pictures


def similarities(a: Pixels, b: Pixels) -> list[float]:
    """SSIM of each picture of one batch with that of another."""
    return [ssim(one, other) for one, other in zip(a, b, strict=True)]


def looks(originals: Pixels, protected: Pixels) -> dict[str, list[float]]:
    """Return SSIM and edge correlations per picture; ``edges_other`` is with the next original, for comparison.

    The pictures are taken in rounds of one of each class, so that a round gives the same figures by itself.
    """
    edges: list[float] = []
    edges_other: list[float] = []
    for start in range(0, len(originals), CLASSES):
        known, shown = originals[start : start + CLASSES], protected[start : start + CLASSES]
        edges += edge_correlations(known, shown)
        edges_other += edge_correlations(np.roll(known, -1, axis=0), shown)
    return {
        "ssim_e": similarities(protected, originals),
        "edges": edges,
        "edges_other": edges_other,
    }


def edge_correlations(originals: Pixels, protected: Pixels) -> list[float]:
    """Return how well the edges of each picture show in its protected picture, from 0 to 1.

    Our own measure of readability: SSIM is low for a negative or a pale drawing with the same outlines, this is
    not. Edges are magnitudes of Sobel gradients, and what all pictures of the batch share (a frame, a texture) is
    taken off as their mean. The figure is the correlation of the original's grey edges with those of a channel of
    the protected picture, the channel where it is largest.

    Shape:
        - both ``(n, H, W, 3)`` uint8, n at least 2; a picture without edges of its own gives 0.
    """
    wanted = _own_edges(originals.mean(axis=3))
    shown = np.stack([_own_edges(protected[..., channel].astype(np.float64)) for channel in range(3)])
    lengths = np.linalg.norm(wanted, axis=1) * np.linalg.norm(shown, axis=2)
    products = np.abs((wanted * shown).sum(axis=2))
    found = np.divide(products, lengths, out=np.zeros_like(products), where=lengths > NOTHING)
    return found.max(axis=0).tolist()


def _own_edges(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what is each picture's own of its edges, centred: ``(n, H, W)`` to ``(n, H W)``."""
    slopes = np.stack([_sobel(picture).ravel() for picture in values])
    own = slopes - slopes.mean(axis=0)
    return own - own.mean(axis=1, keepdims=True)


def undo_linearly(*, protected: Pixels, originals: Pixels, unseen: Pixels) -> Pixels:
    """Guess originals by ridge regression on leaked pairs: the least that an outsider can do with them.

    Args:
        protected: of the leaked pairs.
        originals: of the leaked pairs.
        unseen: protected pictures whose originals nobody leaked.

    Shape:
        - all ``(n, H, W, 3)`` uint8; returns guesses at the originals of ``unseen``.
    """
    known, wanted, asked = (
        batch.reshape(len(batch), -1).astype(np.float64) for batch in (protected, originals, unseen)
    )
    centre, middle = known.mean(axis=0), wanted.mean(axis=0)
    known -= centre
    inner = known @ known.T  # as many rows as pairs, fewer than pixels: the dual form
    inner[np.diag_indices_from(inner)] += RIDGE * np.trace(inner) / len(inner) + 1e-9
    guess = (asked - centre) @ known.T @ np.linalg.solve(inner, wanted - middle) + middle
    return np.rint(guess.clip(0, 255)).astype(np.uint8).reshape(unseen.shape)
