"""The chart of a gallery's figures: how they are distributed, and how far they are from their limits."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from avih.evaluation.plots import BLUE, GREY, TEXT, VERMILION, blank_figure, style
from avih.evaluation.summary import COUNTED, Limits, Values, measured

BINS: Final = 24


@dataclass(frozen=True, eq=False)
class Distribution:
    """How a figure is distributed over the images of a gallery.

    Attributes:
        column: of the measurements.
        title: what it says.
        name: what people call it.
        lines: its limits, by what they are for.
        edges: of the bars; None where no image has the figure.
        heights: images in each bar.
        images: how many have the figure.
        mean: over those.
    """

    column: str
    title: str
    name: str
    lines: Mapping[str, float]
    edges: NDArray[np.float64] | None
    heights: NDArray[np.float64]
    images: int
    mean: float | None


def distributions(tables: Iterable[pd.DataFrame], limits: Limits) -> tuple[int, list[Distribution]]:
    """Count SSIM_e, SSIM_d, cos and wrong-key SSIM_d into bars.

    Args:
        tables: the rows of :class:`avih.evaluation.summary.Tally` in parts; they are gone through twice, first
            for the ends of the axes and then for the bars.
        limits: drawn beside the bars.

    Returns:
        How many images count, and the distributions.

    Raises:
        UsageError: the table lacks a column.
    """
    charts: tuple[tuple[str, str, str, dict[str, float]], ...] = (
        ("ssim_e", "Hidden: protected vs original", "SSIM_e", {"mean": limits.ssim_e_max}),
        ("ssim_d", "Recovered vs original", "SSIM_d", {"mean": limits.ssim_d_min}),
        (
            "cos",
            "Still recognised: features",
            "cos",
            {"mean": limits.cos_mean_min, "each": limits.cos_min_min},
        ),
        (
            "wrong_key_ssim_d",
            "Recovered with another key vs original",
            "wrong-key SSIM_d",
            {"mean": limits.wrong_key_ssim_d_max},
        ),
    )
    counted, found = _ranges(tables, [column for column, *_ in charts])
    edges = [
        _edges(found[column], lines.values()) if found[column].count else None
        for column, _, _, lines in charts
    ]
    heights = [np.zeros(BINS) for _ in charts]
    for table in tables:
        for (column, *_), height, places in zip(charts, heights, edges, strict=True):
            if places is not None:
                height += np.histogram(measured(table, column), bins=places)[0]
    return counted, [
        Distribution(*chart, places, height, found[chart[0]].count, found[chart[0]].mean)
        for chart, places, height in zip(charts, edges, heights, strict=True)
    ]


def quality_distributions(
    tables: Iterable[pd.DataFrame], *, data_set: str = "gallery", limits: Limits | None = None
) -> Figure:
    """Draw how SSIM_e, SSIM_d, cos and wrong-key SSIM_d are distributed, with their limits as lines.

    Args:
        tables: as for :func:`distributions`.
        data_set: name of the data set, for the title.
        limits: the limits to draw; the defaults where not given.

    Raises:
        UsageError: the table lacks a column.
    """
    counted, found = distributions(tables, limits if limits is not None else Limits())
    figure = blank_figure(
        title=f"Quality of protected images: {data_set}, n = {counted}", width=9.2, height=6.4
    )
    for axes, one in zip(figure.subplots(2, 2).ravel(), found, strict=True):
        measured_n = "" if one.images in (0, counted) else f" (n = {one.images})"
        style(axes, title=one.title + measured_n, x=f"{one.name} (no unit)", y="images", pad=24)
        _draw(axes, one)
    return figure


def _ranges(tables: Iterable[pd.DataFrame], columns: Sequence[str]) -> tuple[int, dict[str, Values]]:
    counted, found = 0, {column: Values() for column in columns}
    for table in tables:
        counted += int(table["status"].isin(COUNTED).sum())
        for column, values in found.items():
            values.add(measured(table, column))
    return counted, found


def _edges(values: Values, lines: Iterable[float]) -> NDArray[np.float64]:
    """Divide the axis between the lowest and the highest of values and limits."""
    ends = [values.lowest, values.highest, *lines]
    pad = max(0.05 * (max(ends) - min(ends)), 0.002)
    return np.linspace(min(ends) - pad, max(ends) + pad, BINS + 1)


def _draw(axes: Axes, one: Distribution) -> None:
    edges, height = one.edges, one.heights
    if edges is None or one.mean is None:
        axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center", va="center", color=GREY)
        axes.set(xticks=[], yticks=[])
        return
    low, high = float(edges[0]), float(edges[-1])
    axes.bar(
        edges[:-1], height, width=np.diff(edges), align="edge", color=BLUE, edgecolor="white", linewidth=0.6
    )
    axes.plot(
        [one.mean], [0], marker="^", markersize=8, color=TEXT, clip_on=False, linestyle="none", zorder=5
    )
    axes.plot([], [], marker="^", markersize=6, color=TEXT, linestyle="none", label=f"mean {one.mean:.4f}")
    for (name, limit), dash in zip(one.lines.items(), ("--", ":"), strict=False):
        axes.axvline(limit, color=VERMILION, linestyle=dash, linewidth=1.6, label=f"limit {limit:g} ({name})")
    axes.set(xlim=(low, high), ylim=(0, 1.08 * float(height.max())))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6))
    axes.legend(
        loc="lower left",  # between title and chart, where it lies on no bar and no line
        bbox_to_anchor=(-0.02, 0.99),
        borderaxespad=0.1,
        ncols=3,
        fontsize=8,
        frameon=False,
        labelcolor=TEXT,
        columnspacing=1.2,
        handlelength=1.7,
        handletextpad=0.5,
    )
