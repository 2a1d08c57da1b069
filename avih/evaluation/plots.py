"""Charts of a gallery's pixels: counts over many images, never a picture of anybody; the look of all charts.

Figures are made by matplotlib's object interface and drawn by Agg, so no display and no global state is used.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from numpy.typing import NDArray

from avih.errors import UsageError
from avih.evaluation.metrics import (
    LEVELS,
    Counts,
    adjacent_counts,
    checked_picture,
    correlation_of_counts,
    entropy_of_counts,
    histogram,
)

# The histogram of one image is about one person; that of sixteen is about the method.
FEWEST_IMAGES: Final = 16
# Okabe and Ito's colours, which stay apart for colour-blind readers and in grey.
BLUE, ORANGE, VERMILION, GREY = "#0072B2", "#E69F00", "#D55E00", "#5A5A5A"
TEXT: Final = "#222222"
CELL: Final = 4  # levels per cell of the neighbour charts: 64 x 64 cells


def style(axes: Axes, *, title: str, x: str, y: str, pad: float = 8) -> None:
    """Give a chart its title, its axes' labels and the look that all charts share."""
    axes.set_title(title, fontsize=11, color=TEXT, loc="left", pad=pad)
    axes.set_xlabel(x, fontsize=9, color=TEXT)
    axes.set_ylabel(y, fontsize=9, color=TEXT)
    axes.tick_params(labelsize=8, colors=GREY, labelcolor=TEXT, length=3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    axes.grid(axis="y", color="#E4E4E4", linewidth=0.7)
    axes.set_axisbelow(True)


def blank_figure(*, title: str, width: float, height: float) -> Figure:
    """Begin a figure with its title; sizes are in inches."""
    layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.1)
    figure = Figure(figsize=(width, height), dpi=120, layout=layout, facecolor="white")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=12.5, color=TEXT, x=0.012, ha="left", fontweight="bold")
    return figure


def pixel_histograms(
    originals: Sequence[NDArray[np.uint8]],
    protected: Sequence[NDArray[np.uint8]],
    *,
    data_set: str = "gallery",
) -> Figure:
    """Draw how often each level occurs in the originals and in the protected images, all taken together.

    Args:
        originals: at least 16 originals.
        protected: their protected images.
        data_set: name of the data set, for the title.

    Shape: pictures uint8 (H, W, 3).

    Raises:
        UsageError: fewer than 16 images, other than pictures, or not equally many.
    """
    _check_images(originals, protected)
    title = f"Levels of pixels: {data_set}, n = {len(originals)} images together"
    figure = blank_figure(title=title, width=9.2, height=3.9)
    panels = figure.subplots(1, 2, sharey=True)
    counts = [_sum([histogram(picture) for picture in pictures]) for pictures in (originals, protected)]
    shares = [100 * table / table.sum() for table in counts]
    # Clipping piles up at both ends; the axis follows the levels between, and the ends are written out.
    ceiling = 1.25 * max(float(share[1:-1].max()) for share in shares) or 100.0
    kinds = (("Originals", BLUE), ("Protected", ORANGE))
    for axes, table, share, (name, colour) in zip(panels, counts, shares, kinds, strict=True):
        style(axes, title=name, x="level (0 to 255)", y="share of values (%)")
        axes.stairs(share, np.arange(LEVELS + 1) - 0.5, fill=True, color=colour)
        facts = (
            f"entropy {entropy_of_counts(table):.2f} of 8 bits\n"
            f"level 0: {share[0]:.1f} %, level 255: {share[-1]:.1f} %"
        )
        axes.text(0.95, 0.97, facts, transform=axes.transAxes, ha="right", va="top", fontsize=8, color=TEXT)
        axes.set(xlim=(-2, LEVELS + 1), ylim=(0, ceiling * 1.12), xticks=[0, 64, 128, 192, 255])
    panels[1].set_ylabel("")
    return figure


def adjacent_pixel_correlation(
    originals: Sequence[NDArray[np.uint8]],
    protected: Sequence[NDArray[np.uint8]],
    *,
    data_set: str = "gallery",
) -> Figure:
    """Draw a pixel's level against its right neighbour's, for originals and protected images together.

    Photos lie along the diagonal; noise fills the square.

    Args:
        originals: at least 16 originals.
        protected: their protected images.
        data_set: name of the data set, for the title.

    Shape: pictures uint8 (H, W, 3), at least two pixels wide.

    Raises:
        UsageError: fewer than 16 images, other than pictures, or not equally many.
    """
    _check_images(originals, protected)
    title = f"Neighbouring pixels: {data_set}, n = {len(originals)} images together"
    figure = blank_figure(title=title, width=9.2, height=4.7)
    panels = figure.subplots(1, 2, sharey=True)
    edges = np.arange(0, LEVELS + 1, CELL) - 0.5
    tables = [_sum([adjacent_counts(picture) for picture in group]) for group in (originals, protected)]
    cells = [table.reshape(LEVELS // CELL, CELL, -1, CELL).sum(axis=(1, 3)) for table in tables]
    shares = [100 * cell / cell.sum() for cell in cells]
    norm = LogNorm(vmin=1e-4, vmax=max(float(share.max()) for share in shares))
    for axes, name, table, share in zip(panels, ("Originals", "Protected"), tables, shares, strict=True):
        subject = f"{name}: correlation {correlation_of_counts(table):.3f}"
        style(axes, title=subject, x="level of a pixel", y="level of its right neighbour")
        axes.grid(visible=False)
        mesh = axes.pcolormesh(
            edges, edges, np.where(share > 0, share, np.nan).T, norm=norm, cmap="cividis_r"
        )
        axes.set(aspect="equal", xticks=[0, 64, 128, 192, 255], yticks=[0, 64, 128, 192, 255])
    panels[1].set_ylabel("")
    bar = figure.colorbar(mesh, ax=list(panels), shrink=0.9, pad=0.02)
    bar.set_label(f"share of pairs per {CELL} x {CELL} levels (%)", fontsize=9, color=TEXT)
    bar.ax.tick_params(labelsize=8, labelcolor=TEXT)
    return figure


def _sum(tables: Sequence[Counts]) -> Counts:
    return np.sum(np.stack(tables), axis=0)


def _check_images(originals: Sequence[NDArray[Any]], protected: Sequence[NDArray[Any]]) -> None:
    if len(originals) != len(protected):
        raise UsageError(
            f"Expected as many protected images as originals, got {len(protected)} and {len(originals)}."
        )
    if len(originals) < FEWEST_IMAGES:
        raise UsageError(
            f"Expected at least {FEWEST_IMAGES} images together, got {len(originals)}: the pixels of few "
            "images tell of single persons; leave this chart out."
        )
    for pictures, name in ((originals, "an original"), (protected, "a protected image")):
        for picture in pictures:
            checked_picture(picture, name=name)
