"""The chart of a gallery's figures: how they are distributed, and how far they are from their limits."""

from collections.abc import Iterable, Sequence
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


def quality_distributions(
    tables: Iterable[pd.DataFrame], *, data_set: str = "gallery", limits: Limits | None = None
) -> Figure:
    """Draw how SSIM_e, SSIM_d, cos and wrong-key SSIM_d are distributed, with their limits as lines.

    Args:
        tables: the rows of :class:`avih.evaluation.summary.Tally` in parts; they are gone through twice, first
            for the ends of the axes and then for the bars.
        data_set: name of the data set, for the title.
        limits: the limits to draw; the defaults where not given.

    Raises:
        UsageError: the table lacks a column.
    """
    bounds = limits if limits is not None else Limits()
    charts: tuple[tuple[str, str, str, dict[str, float]], ...] = (
        ("ssim_e", "Hidden: protected vs original", "SSIM_e", {"mean": bounds.ssim_e_max}),
        ("ssim_d", "Recovered vs original", "SSIM_d", {"mean": bounds.ssim_d_min}),
        (
            "cos",
            "Still recognised: features",
            "cos",
            {"mean": bounds.cos_mean_min, "each": bounds.cos_min_min},
        ),
        (
            "wrong_key_ssim_d",
            "Recovered with another key vs original",
            "wrong-key SSIM_d",
            {"mean": bounds.wrong_key_ssim_d_max},
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
    figure = blank_figure(
        title=f"Quality of protected images: {data_set}, n = {counted}", width=9.2, height=6.4
    )
    panels = figure.subplots(2, 2).ravel()
    for axes, height, places, (column, title, name, lines) in zip(
        panels, heights, edges, charts, strict=True
    ):
        images, mean = found[column].count, found[column].mean
        measured_n = "" if images in (0, counted) else f" (n = {images})"
        style(axes, title=title + measured_n, x=f"{name} (no unit)", y="images", pad=24)
        _distribution(axes, height=height, edges=places, mean=mean, lines=lines)
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


def _distribution(
    axes: Axes,
    *,
    height: NDArray[np.float64],
    edges: NDArray[np.float64] | None,
    mean: float | None,
    lines: dict[str, float],
) -> None:
    if edges is None or mean is None:
        axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center", va="center", color=GREY)
        axes.set(xticks=[], yticks=[])
        return
    low, high = float(edges[0]), float(edges[-1])
    axes.bar(
        edges[:-1], height, width=np.diff(edges), align="edge", color=BLUE, edgecolor="white", linewidth=0.6
    )
    axes.plot([mean], [0], marker="^", markersize=8, color=TEXT, clip_on=False, linestyle="none", zorder=5)
    axes.plot([], [], marker="^", markersize=6, color=TEXT, linestyle="none", label=f"mean {mean:.4f}")
    for (name, limit), dash in zip(lines.items(), ("--", ":"), strict=False):
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
