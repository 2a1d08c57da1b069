"""The figure of a table: the paper's values beside ours with their intervals, one panel per metric."""

import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from avih.atomic import atomic_file
from avih.evaluation.plots import BLUE, GREY, ORANGE, blank_figure, style
from avih.reproduction.outcome import Outcome, Row

MOST_PANELS = 4
MOST_LABELS = 18
TITLE_WIDTH = 20  # letters; a longer one would run into its neighbour


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
    # Labels that all panels share stand beside the first alone; others need their room in every panel.
    shared = len({tuple(row.label for row in rows) for _, rows in shown}) == 1
    labelled = 1 if shared else len(shown)
    figure = blank_figure(
        title=title, width=1.0 + 2.6 * labelled + 2.1 * len(shown), height=1.7 + 0.34 * longest
    )
    axes = figure.subplots(1, len(shown), squeeze=False)[0]
    for place, (axis, (metric, rows)) in enumerate(zip(axes, shown, strict=True)):
        _panel(axis, metric, rows)
        if shared and place:
            axis.tick_params(labelleft=False)
    axes[0].legend(fontsize=8, frameon=False, loc="lower left", bbox_to_anchor=(0, 1.12), ncols=2)
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
        if points:
            values_at, heights_at = zip(*points, strict=True)
            axis.plot(values_at, heights_at, marker, color=colour, label=name)
    axis.set_yticks(heights, [row.label for row in rows])
    axis.set_ylim(-0.7, len(rows) - 0.3)
    style(axis, title=textwrap.fill(metric, TITLE_WIDTH), x="", y="")
    axis.grid(axis="x", color="#E4E4E4", linewidth=0.7)
    axis.tick_params(axis="y", labelsize=7.5, labelcolor=GREY)
