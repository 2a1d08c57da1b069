"""The charts of a gallery's report: how figures are distributed, and how they went from version to version."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from avih.evaluation.quality_plot import Distribution
from avih.evaluation.summary import BOUNDS, Limits
from avih.gallery_report.facts import Point
from avih.html.drawing import ACCENT, FAIL, INK, MUTED, RULE, SMALL, blank, svg
from avih.html.figures import similarity
from avih.html.markup import Html, joined, tag

DASHES: Final = {"mean": (0, (5, 3)), "each": (0, (1.2, 2))}
MOST_VERSIONS: Final = 60  # on a chart as wide as a phone
LABELS: Final = 4
LIMIT_OF: Final = {key: field for key, _, field, _ in BOUNDS}


def distribution_charts(found: Sequence[Distribution]) -> tuple[Html, ...]:
    """Draw a histogram of every figure that was measured."""
    return tuple(_histogram(one) for one in found if one.edges is not None and one.mean is not None)


def _histogram(one: Distribution) -> Html:
    edges, mean = np.asarray(one.edges), float(one.mean or 0)
    figure, axes = blank(2.5)
    axes.bar(
        edges[:-1], one.heights, width=np.diff(edges), align="edge", color=ACCENT, alpha=0.75, linewidth=0
    )
    for name, limit in one.lines.items():
        axes.axvline(limit, color=FAIL, linestyle=DASHES[name], linewidth=1.5)
    axes.plot([mean], [0], marker="^", markersize=9, color=INK, clip_on=False, linestyle="none", zorder=5)
    axes.set_xlim(edges[0], edges[-1])
    axes.set_ylim(0, 1.08 * max(float(one.heights.max()), 1.0))
    axes.set_xlabel(one.name, fontsize=SMALL, color=MUTED)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5))
    _levels(axes, whole=True)
    figure.subplots_adjust(left=0.12, right=0.97, top=0.97, bottom=0.21)
    limits = ", ".join(f"limit for {name}: {limit:g}" for name, limit in one.lines.items())
    lowest, highest = _ends(one)
    span = f"{lowest:.3f} to {highest:.3f}, mean {mean:.4f}"
    says = f"{one.title}: {one.name} of {one.images} pictures, {span}; {limits}."
    told = tag("span", f" mean {similarity(mean, digits=4)}, {one.images} pictures", css="ci")
    return joined(
        tag("figcaption", one.title, told), svg(figure, name=f"distribution-{one.column}", says=says)
    )


def _ends(one: Distribution) -> tuple[float, float]:
    """Return the outer edges of the bars that are not empty."""
    edges, filled = np.asarray(one.edges), np.flatnonzero(one.heights)
    return float(edges[filled[0]]), float(edges[filled[-1] + 1])


@dataclass(frozen=True)
class Line:
    """A figure that is followed from version to version.

    Args:
        name: of its chart.
        title: what stands over it.
        of: takes it from a version.
        key: of its limit, if it has one.
        whole: it is a count.
    """

    name: str
    title: str
    of: Callable[[Point], float | None]
    key: str = ""
    whole: bool = False


def _metric(key: str) -> Callable[[Point], float | None]:
    return lambda point: point.metrics.get(key)


LINES: Final = (
    Line("cos", "Still recognised: mean cos", _metric("cos_mean"), key="cos_mean"),
    Line("ssim_e", "Hidden: SSIM_e", _metric("ssim_e"), key="ssim_e"),
    Line("ssim_d", "Recovered: SSIM_d", _metric("ssim_d"), key="ssim_d"),
    Line("acc_all", "Matched: rank-1, all protected", _metric("acc_all")),
    Line("protected", "Photos protected", lambda point: point.protected, whole=True),
    Line("left_out", "Photos left out", lambda point: point.left_out, whole=True),
)


def trend_charts(points: Sequence[Point], limits: Limits) -> tuple[Html, ...]:
    """Draw each figure over the versions; none where there is but one version."""
    if len(points) < 2:
        return ()
    charts = (_trend(points[-MOST_VERSIONS:], line, limits) for line in LINES)
    return tuple(chart for chart in charts if chart)


def _trend(points: Sequence[Point], line: Line, limits: Limits) -> Html | None:
    measured = [(place, value) for place, point in enumerate(points) if (value := line.of(point)) is not None]
    if not measured:
        return None
    places, values = [place for place, _ in measured], [value for _, value in measured]
    figure, axes = blank(1.95)
    axes.plot(places, values, color=ACCENT, marker="o", markersize=4.5, linewidth=1.8)
    limit = float(getattr(limits, LIMIT_OF[line.key])) if line.key else None
    if limit is not None:
        axes.axhline(limit, color=FAIL, linestyle=DASHES["mean"], linewidth=1.4)
    _room(axes, [*values, *([limit] if limit is not None else [])], whole=line.whole)
    axes.set_xlim(-0.3, len(points) - 0.7)
    step = max(1, -(-(len(points) - 1) // (LABELS - 1)))
    shown = list(range(len(points) - 1, -1, -step))
    axes.set_xticks(shown, [points[place].version for place in shown])
    _levels(axes, whole=line.whole)
    figure.subplots_adjust(left=0.16, right=0.955, top=0.95, bottom=0.16)
    told = "; ".join(f"{points[place].version}: {_written(value, line)}" for place, value in measured)
    caption = tag("figcaption", line.title, tag("span", f" {_written(values[-1], line)}", css="ci"))
    return joined(caption, svg(figure, name=f"trend-{line.name}", says=f"{line.title} by version. {told}."))


def _room(axes: Axes, values: Sequence[float], *, whole: bool) -> None:
    """Leave room around a line; a flat one is not blown up to look like a mountain."""
    low, high = min(values), max(values)
    pad = max(0.12 * (high - low), 1.0 if whole else 0.004)
    axes.set_ylim(max(low - pad, 0.0) if whole else low - pad, high + pad)


def _levels(axes: Axes, *, whole: bool) -> None:
    axes.yaxis.set_major_locator(MaxNLocator(nbins=4, integer=whole))
    axes.grid(axis="y", color=RULE, linewidth=0.5)


def _written(value: float, line: Line) -> str:
    return f"{value:.0f}" if line.whole else similarity(value, digits=4)
