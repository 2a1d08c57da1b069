"""Charts of an attack check: what more leaked pairs bring; numbers only, never a picture of anybody."""

from typing import Final

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from avih.attack.result import AttackResult, Network
from avih.attack.settings import AttackSettings
from avih.evaluation.plots import BLUE, GREY, ORANGE, TEXT, VERMILION, style

LINES: Final[dict[Network, tuple[str, str]]] = {"plain": (BLUE, "o"), "with generator": (ORANGE, "s")}


def curve_table(result: AttackResult) -> pd.DataFrame:
    """Return the curve as a table, one row per attack network."""
    return pd.DataFrame([point.model_dump() for point in result.curve])


def curve_figure(result: AttackResult, *, gallery: str, settings: AttackSettings) -> Figure:
    """Draw the attack on other images of the same key over the number of leaked pairs, with the limits.

    Args:
        result: what the check found.
        gallery: name for the title.
        settings: whose limits are drawn.
    """
    layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.1)
    figure = Figure(figsize=(9.2, 3.9), dpi=110, layout=layout, facecolor="white")
    FigureCanvasAgg(figure)
    title = f"Attack on other images of the same key: {gallery}, verdict: {result.verdict}"
    figure.suptitle(title, fontsize=12.5, color=TEXT, x=0.012, ha="left", fontweight="bold")
    table = curve_table(result)
    left, right = figure.subplots(1, 2)
    style(left, title="Similarity over the blank guess", x="leaked pairs", y="SSIM advantage")
    _lines(left, table, "ssim_advantage")
    _level(left, result.control.ssim_advantage, "control", BLUE)
    _level(left, settings.fail_ssim_advantage, "fail", VERMILION)
    _level(left, settings.pass_ssim_advantage, "pass", GREY)
    style(right, title="Recognised by the second recogniser", x="leaked pairs", y="rank-1 rate")
    _lines(right, table, "id_rate")
    if result.prior.id_rate is not None and result.control.id_rate is not None:
        _level(right, result.prior.id_rate, "blank guess", GREY)
        _level(right, result.control.id_rate, "control", BLUE)
        right.set_ylim(-0.02, 1.02)
    for axes in (left, right):
        axes.set_xscale("log", base=2)
        axes.set_xticks(sorted(set(table.pairs)), [str(count) for count in sorted(set(table.pairs))])
        axes.legend(fontsize=8, frameon=False, labelcolor=TEXT)
    return figure


def _lines(axes: Axes, table: pd.DataFrame, column: str) -> None:
    for network, (colour, marker) in LINES.items():
        rows = table[table.network == network]
        if len(rows):
            values = rows[column].astype(float)
            axes.plot(rows.pairs, values, color=colour, marker=marker, linewidth=1.6, label=network)


def _level(axes: Axes, height: float, name: str, colour: str) -> None:
    axes.axhline(height, color=colour, linestyle="--", linewidth=1.2, label=f"{name} {height:.2f}")
