"""The figure of a table: the paper's values beside ours with their intervals, one panel per metric."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from avih.atomic import atomic_file
from avih.evaluation.plots import BLUE, GREY, ORANGE, blank_figure, style
from avih.reproduction.outcome import Outcome, Row

MOST_PANELS = 4
MOST_LABELS = 18


def draw(outcome: Outcome, *, title: str, path: Path) -> bool:
    """Draw an outcome's rows and save them as PNG; False if there is nothing to draw.

    Args:
        outcome: what was found.
        title: heading of the figure.
        path: where the picture goes.
    """
    panels: dict[str, list[Row]] = {}
    for row in outcome.rows:
        if row.ours is not None or row.paper is not None:
            panels.setdefault(row.metric, []).append(row)
    shown = [(metric, rows[:MOST_LABELS]) for metric, rows in list(panels.items())[:MOST_PANELS]]
    if not shown or outcome.mark == "not run":
        return False
    longest = max(len(rows) for _, rows in shown)
    # The first panel carries the labels, so it needs their room as well.
    figure = blank_figure(title=title, width=3.2 + 2.9 * len(shown), height=1.5 + 0.34 * longest)
    axes = figure.subplots(1, len(shown), squeeze=False)[0]
    for axis, (metric, rows) in zip(axes, shown, strict=True):
        _panel(axis, metric, rows)
    axes[0].legend(fontsize=8, frameon=False, loc="lower left", bbox_to_anchor=(0, 1.08), ncols=2)
    with atomic_file(path) as temporary:
        figure.savefig(temporary, format="png")
    return True


def _panel(axis: Axes, metric: str, rows: Sequence[Row]) -> None:
    heights = np.arange(len(rows))[::-1]
    for height, row in zip(heights, rows, strict=True):
        if row.low is not None and row.high is not None:
            axis.plot([row.low, row.high], [height, height], color=BLUE, linewidth=2, alpha=0.5)
    for name, colour, marker, values in (
        ("paper", ORANGE, "D", [row.paper for row in rows]),
        ("here, 95 % interval", BLUE, "o", [row.ours for row in rows]),
    ):
        points = [(value, height) for value, height in zip(values, heights, strict=True) if value is not None]
        axis.plot(
            [value for value, _ in points], [height for _, height in points], marker, color=colour, label=name
        )
    axis.set_yticks(heights, [row.label for row in rows])
    axis.set_ylim(-0.7, len(rows) - 0.3)
    style(axis, title=metric, x="", y="")
    axis.grid(axis="x", color="#E4E4E4", linewidth=0.7)
    axis.tick_params(axis="y", labelsize=7.5, labelcolor=GREY)
