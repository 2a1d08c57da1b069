"""The charts of an audit: the leak-budget curve, and every attack over its prior; numbers, never a picture."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from avih.html.drawing import ACCENT, FAIL, INK, MUTED, PAPER, PASS, RULE, SMALL, WARN, blank, svg
from avih.html.figures import Says, gain, points
from avih.html.markup import Html, joined, tag
from avih.lab.result import AttackEntry, BudgetPoint, Interval, LabResult
from avih.lab.settings import LabLimits

COLOURS: Final = {"pass": PASS, "warn": WARN, "fail": FAIL}
MARKS: Final = {"pass": "o", "warn": "D", "fail": "s"}  # never by colour alone
LONGEST: Final = 50  # letters of a title in a chart
STEPS: Final = (1, 2, 5, 10)
Limits = tuple[float, float]
LineStyle = str | tuple[int, tuple[float, float]]


@dataclass(frozen=True)
class Scale:
    """A figure that is shown over the prior.

    Args:
        name: key of its interval in ``AttackEntry.ci``; of its chart, too.
        title: what stands over the chart.
        limits: pass up to the first, fail from the second on.
        of: takes it from an attack.
        measured: takes it from a point of the leak-budget curve, with its interval.
        says: writes it.
    """

    name: str
    title: str
    limits: Limits
    of: Callable[[AttackEntry], float | None]
    measured: Callable[[BudgetPoint], tuple[float | None, Interval]]
    says: Says


def scales(result: LabResult, limits: LabLimits) -> tuple[Scale, Scale]:
    """Return identification and similarity over the prior, with their limits."""
    return (
        Scale(
            "id_advantage", "Identified: points over the prior", id_limits(result, limits), _named,
            lambda one: (one.id_advantage, one.id_advantage_ci), points,
        ),
        Scale(
            "ssim_advantage", "SSIM over the prior", (limits.pass_ssim_advantage, limits.fail_ssim_advantage),
            lambda one: one.ssim_advantage, lambda one: (one.ssim_advantage, one.ssim_advantage_ci),
            gain,
        ),
    )  # fmt: skip


def id_limits(result: LabResult, limits: LabLimits) -> Limits:
    """Return how far over the prior an identification passes, and from where on it fails."""
    allowed = max(2 * result.chance, limits.pass_id_advantage)
    return allowed, max(limits.fail_id_advantage, allowed)


def _named(attack: AttackEntry) -> float | None:
    if attack.id_rate is None or attack.prior_id_rate is None:
        return None
    return attack.id_rate - attack.prior_id_rate


def budget_charts(result: LabResult, limits: LabLimits) -> tuple[Html, ...]:
    """Draw the leak-budget curve: both figures over the number of leaked pairs."""
    points = result.leak_budget.points if result.leak_budget else ()
    charts = (_budget_chart(points, scale) for scale in scales(result, limits))
    return tuple(chart for chart in charts if chart)


def _budget_chart(points: Sequence[BudgetPoint], scale: Scale) -> Html | None:
    measured = [(one.pairs, *scale.measured(one)) for one in points]
    rows = [(pairs, value, ci) for pairs, value, ci in measured if value is not None]
    if not rows:
        return None
    sizes, values = [row[0] for row in rows], [row[1] for row in rows]
    figure, axes = blank(3.1)
    axes.set_xscale("log", base=2)
    axes.set_xlim(sizes[0] / 1.35, sizes[-1] * 1.35)
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("leaked pairs", fontsize=SMALL, color=MUTED)
    ends = [ci or (value, value) for _, value, ci in rows]
    low, high = [end[0] for end in ends], [end[1] for end in ends]
    if len(rows) > 1:
        axes.fill_between(sizes, low, high, color=ACCENT, alpha=0.18, linewidth=0)
    else:
        axes.vlines(sizes, low, high, color=ACCENT, linewidth=2, alpha=0.5)
    axes.plot(sizes, values, color=ACCENT, marker="o", markersize=5, linewidth=2)
    bottom, top = min([*low, 0.0]), max([*high, 1.3 * scale.limits[1]])
    axes.set_ylim(bottom - 0.06 * (top - bottom), top + 0.06 * (top - bottom))
    for level, colour, style in _lines(scale):
        axes.axhline(level, color=colour, linewidth=1.3, linestyle=style, zorder=0.5)
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=STEPS))
    axes.yaxis.set_major_formatter(_ticks(scale))
    axes.grid(axis="y", color=RULE, linewidth=0.5)
    figure.subplots_adjust(left=0.13, right=0.985, top=0.98, bottom=0.165)
    told = "; ".join(f"{size} pairs: {scale.says(value)}" for size, value, _ in rows)
    return _captioned(
        svg(figure, name=f"budget-{scale.name}", says=f"{scale.title} by leaked pairs. {told}."), scale
    )


def _lines(scale: Scale) -> tuple[tuple[float, str, LineStyle], ...]:
    """Return the prior and the limits; the page explains them under the charts."""
    good, bad = scale.limits
    return (0.0, MUTED, "solid"), (good, PASS, (0, (1.2, 2))), (bad, FAIL, (0, (5, 3)))


def _captioned(chart: Html, scale: Scale) -> Html:
    return joined(tag("figcaption", scale.title), chart)


def attack_charts(result: LabResult, limits: LabLimits) -> tuple[Html, ...]:
    """Draw every attack over its prior, with intervals."""
    charts = (_attack_chart(result.attacks, scale) for scale in scales(result, limits))
    return tuple(chart for chart in charts if chart)


def _attack_chart(attacks: Sequence[AttackEntry], scale: Scale) -> Html | None:
    rows = [(attack, value) for attack in attacks for value in [scale.of(attack)] if value is not None]
    if not rows:
        return None
    height = 0.36 * len(rows) + 0.4
    figure, axes = blank(height)
    for level, colour, style in _lines(scale):
        axes.axvline(level, color=colour, linewidth=1.3, linestyle=style, zorder=0.5)
    reach = [0.0, 1.15 * scale.limits[1]]
    for row, (attack, value) in enumerate(rows):
        # The level of what is drawn: a finding may have decided otherwise.
        best = attack.variants[0] if attack.variants else None
        judged = best.level if best and best.kind == "key" else attack.verdict
        counts = attack.kind == "key" and judged in COLOURS
        colour, mark = (COLOURS[judged], MARKS[judged]) if counts else (MUTED, "o")
        low, high = attack.ci.get(scale.name) or (value, value)
        axes.plot([low, high], [row, row], color=colour, linewidth=2, solid_capstyle="butt")
        axes.plot(
            [value], [row], marker=mark, markersize=6, color=colour, markeredgewidth=1.4,
            markerfacecolor=colour if counts else PAPER, linestyle="none",
        )  # fmt: skip
        _title(axes, attack.title, row, INK if counts else MUTED)
        reach += [low, high]
    room = 0.05 * (max(reach) - min(reach))
    axes.set_xlim(min(reach) - room, max(reach) + room)
    axes.set_ylim(len(rows) - 0.55, -0.75)
    axes.set_yticks([])
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=STEPS))
    axes.xaxis.set_major_formatter(_ticks(scale))
    figure.subplots_adjust(left=0.04, right=0.96, top=1.0, bottom=0.3 / height)
    told = "; ".join(f"{attack.title}: {scale.says(value)}" for attack, value in rows)
    return _captioned(
        svg(figure, name=f"attacks-{scale.name}", says=f"{scale.title} by attack. {told}."), scale
    )


def _title(axes: Axes, title: str, row: int, colour: str) -> None:
    short = title if len(title) <= LONGEST else title[: LONGEST - 1].rstrip() + "…"
    axes.annotate(
        short, (0, row), xycoords=("axes fraction", "data"), xytext=(0, 6), textcoords="offset points",
        fontsize=SMALL, color=colour, parse_math=False, zorder=1.5,
        bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 0.6},  # no line runs through the words
    )  # fmt: skip


def _ticks(scale: Scale) -> FuncFormatter:
    if scale.name == "id_advantage":
        return FuncFormatter(lambda value, _: points(value))
    return FuncFormatter(lambda value, _: gain(value, digits=2))
