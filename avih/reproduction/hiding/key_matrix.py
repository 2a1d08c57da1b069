"""The matrix of keys (AVIH, Figures 5 and 14): summed up, held against the paper's claim, and drawn."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avih.atomic import atomic_file
from avih.evaluation.plots import TEXT, blank_figure, style
from avih.reproduction.outcome import Row, mean_row

NOTHING = 0.02  # SSIM: what two means may differ by without a reason
Matrix = NDArray[np.float64]


def split_matrix(matrix: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the entries on the diagonal and all others, in rows by the protecting key.

    Shape:
        - matrix: ``(n, n, ...)``; returns ``(n, ...)`` and ``(n, n - 1, ...)``.
    """
    own = np.eye(len(matrix), dtype=bool)
    return matrix[own], matrix[~own].reshape(len(matrix), len(matrix) - 1, *matrix.shape[2:])


def matrix_rows(similar: Matrix, cells: Matrix, hidden: Matrix) -> list[Row]:
    """Sum up what own and other keys recover.

    Shape:
        - similar, cells: ``(keys, keys, photos)``; row: the protecting key. hidden: ``(keys, photos)``.
    """
    rows = []
    for metric, values in (("ssim_d", similar), ("cells", cells)):
        own, others = split_matrix(values)
        for label, some in (("own key", own), ("other keys", others)):
            keys = np.repeat(np.arange(len(some)), some[0].size).astype(str).tolist()
            rows.append(mean_row(label=label, metric=metric, values=some.ravel().tolist(), persons=keys))
        worst = others.mean(axis=2)
        rows.append(
            Row(
                label="other keys, the worst pair of keys",
                metric=metric,
                ours=float(worst.max()),
                n=worst.size,
            )
        )
    keys = np.repeat(np.arange(len(hidden)), hidden.shape[1]).astype(str).tolist()
    rows.append(mean_row(label="protected", metric="ssim_e", values=hidden.ravel().tolist(), persons=keys))
    return rows


def matrix_findings(matrix: Matrix, *, guess: float, chance: float) -> list[str]:
    """Hold the claim of section 4.3 against the matrix of mean SSIM, ``(keys, keys)``."""
    own, others = split_matrix(matrix)
    claim = "holds here" if others.max() < guess else "does not hold here"
    findings = [
        f"That pictures of one key cannot be recovered with another {claim}, measured by a guess without "
        f"the picture (SSIM {guess:.3f}): own key {own.mean():.3f}, other keys {others.mean():.3f}, the worst of "
        f"{others.size} pairs of keys {others.max():.3f}."
    ]
    more = others.mean() - chance
    findings.append(
        f"Another key shows {'something' if more > NOTHING else 'nothing'} of the picture: "
        f"SSIM {others.mean():.3f} with its original, {chance:.3f} with the original of another photo."
    )
    return findings


def draw_matrix(matrix: Matrix, *, path: Path) -> None:
    """Draw the matrix as a heat map with its figures: rows protect, columns recover."""
    count = len(matrix)
    figure = blank_figure(
        title="SSIM of what a key recovers", width=3 + 0.42 * count, height=2.2 + 0.36 * count
    )
    axes = figure.subplots()
    style(axes, title="row: key that protects; column: key that recovers", x="key", y="key")
    axes.grid(visible=False)
    axes.imshow(matrix, vmin=0, vmax=1, cmap="cividis_r", aspect="auto")
    for row in range(count):
        for column in range(count):
            value = matrix[row, column]
            colour = "white" if value > 0.5 else TEXT
            axes.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=6.5, color=colour)
    axes.set_xticks(range(count), [str(number + 1) for number in range(count)])
    axes.set_yticks(range(count), [str(number + 1) for number in range(count)])
    with atomic_file(path) as temporary:
        figure.savefig(temporary, format="png")
