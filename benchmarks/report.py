"""From the runs of all repeats to one honest summary: JSON, a table and a plot."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from rich.table import Table

from avih.evaluation.plots import BLUE, GREY, ORANGE, TEXT, VERMILION, style
from benchmarks.quality import Moment, Quality, first_reaching, shortfalls

BASELINE = "baseline"
MEASURED_ON = "fast"  # the variant of the top-level ratio
COLOURS = {"baseline": GREY, "paper": BLUE, "fast": VERMILION, "keyed": ORANGE}
OTHER_COLOUR = "#009E73"
FIGURES = tuple(field.name for field in fields(Quality))
ABBREVIATIONS = {
    "ssim_e": "SSIM_e", "ssim_d": "SSIM_d", "cos": "cos", "cos_worst": "worst",
    "wrong_key_ssim_d": "wrong key",
}  # fmt: skip


@dataclass(frozen=True)
class VariantRun:
    """One variant on the images of one repeat.

    Args:
        moments: without its stop rule, watched.
        shipped: with it, as users get it.
        reached: the first moment as good as the baseline ends; for the baseline itself, within a small slack.
        batch_size: images optimised together.
    """

    moments: tuple[Moment, ...]
    shipped: Moment
    reached: Moment | None
    batch_size: int


Repeat = Mapping[str, VariantRun]


def judged(
    moments: tuple[Moment, ...], shipped: Moment, *, target: Quality, tolerance: float, batch_size: int
) -> VariantRun:
    """Find when a variant reached the target."""
    reached = first_reaching(moments, target=target, tolerance=tolerance)
    return VariantRun(moments, shipped, reached, batch_size)


def summarise(repeats: Sequence[Repeat], *, tolerance: float) -> dict[str, Any]:
    """Return the ratio of the fast preset and the figures of every variant.

    A ratio is ``None`` unless the variant reached the baseline's quality in every repeat.
    """
    summary = {name: _variant(name, repeats, tolerance) for name in repeats[0]}
    fast = summary.get(MEASURED_ON, {})
    notes = [note for name in summary for note in _notes(name, repeats, tolerance)]
    return {
        "ratio": fast.get("ratio"),
        "ratio_spread": fast.get("ratio_spread"),
        **summary,
        "notes": notes,
    }


def _variant(name: str, repeats: Sequence[Repeat], tolerance: float) -> dict[str, Any]:
    runs = [repeat[name] for repeat in repeats]
    times = [run.reached.seconds_per_image if run.reached else None for run in runs]
    ratios = [_ratio(repeat, name) for repeat in repeats]
    ratio = spread(ratios)
    shipped = [run.shipped for run in runs]
    reached = [run.reached for run in runs if run.reached]
    return {
        "seconds_to_quality": spread(times),
        "seconds_to_quality_each": times,
        "at_quality": mean_moment(reached) if len(reached) == len(runs) else None,
        "ratio": ratio and ratio["median"],
        "ratio_spread": ratio and {"min": ratio["min"], "max": ratio["max"]},
        "seconds_per_image": spread([moment.seconds_per_image for moment in shipped]),
        **mean_moment(shipped),
        "batch_size": runs[0].batch_size,
        "curve": [
            _curve_point([run.moments[place] for run in runs]) for place in range(len(runs[0].moments))
        ],
    }


def _ratio(repeat: Repeat, name: str) -> float | None:
    baseline, run = repeat[BASELINE].reached, repeat[name].reached
    return baseline.seconds_per_image / run.seconds_per_image if baseline and run else None


def spread(values: Sequence[float | None]) -> dict[str, float] | None:
    """Return median, least and greatest; ``None`` if any of the values is missing."""
    known = [value for value in values if value is not None]
    if len(known) < len(values) or not known:
        return None
    return {"median": statistics.median(known), "min": min(known), "max": max(known)}


def mean_moment(moments: Sequence[Moment]) -> dict[str, float]:
    """Return the mean number of steps and the mean quality, with the worst cosine of all."""
    figures = {
        name: statistics.fmean(getattr(moment.quality, name) for moment in moments) for name in FIGURES
    }
    figures["cos_worst"] = min(moment.quality.cos_worst for moment in moments)
    return {"steps": statistics.fmean(moment.step for moment in moments), **figures}


def _curve_point(moments: Sequence[Moment]) -> dict[str, float]:
    seconds = statistics.median(moment.seconds_per_image for moment in moments)
    return {"seconds_per_image": seconds, **mean_moment(moments)}


def _notes(name: str, repeats: Sequence[Repeat], tolerance: float) -> list[str]:
    """Say in words where a variant never reached the baseline's quality, and what fell short at its end."""
    notes = []
    for number, repeat in enumerate(repeats, start=1):
        run = repeat[name]
        if run.reached is None:
            target, last = repeat[BASELINE].shipped.quality, run.moments[-1]
            names = shortfalls(last.quality, target, slack=0.0, tolerance=tolerance)
            figures = ", ".join(
                f"{ABBREVIATIONS[key]} {getattr(last.quality, key):.5f} (baseline {getattr(target, key):.5f})"
                for key in names
            )
            what = (
                f"after {last.step:g} steps: {figures}" if figures else "though nothing is worse at the end"
            )
            notes.append(f"{name} did not reach the baseline's quality in repeat {number}, {what}")
    return notes


def table(summary: Mapping[str, Any]) -> Table:
    """Return the figures of all variants as a table for people."""
    shown = Table(title="Protecting: seconds per image to the baseline's SSIM_d and cos, and as shipped")
    shown.add_column("variant")
    titles = ("batch", "s to quality", "ratio", "s/image shipped", "steps", *ABBREVIATIONS.values())
    for title in titles:
        shown.add_column(title, justify="right")
    for name, figures in variants_of(summary).items():
        shown.add_row(
            name,
            str(figures["batch_size"]),
            _spread_text(figures["seconds_to_quality"]),
            "-" if figures["ratio"] is None else f"{figures['ratio']:.1f}",
            _spread_text(figures["seconds_per_image"]),
            f"{figures['steps']:.0f}",
            *(f"{figures[key]:.4f}" for key in ABBREVIATIONS),
        )
    return shown


def variants_of(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parts of a summary that are variants, in order."""
    return {name: part for name, part in summary.items() if isinstance(part, dict) and "curve" in part}


def _spread_text(value: Mapping[str, float] | None) -> str:
    return (
        "not reached" if value is None else f"{value['median']:.2f} ({value['min']:.2f}-{value['max']:.2f})"
    )


def draw(summary: Mapping[str, Any], path: Path) -> None:
    """Draw recovery and recognition against seconds per image, with the baseline's end as the target."""
    layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.1)
    figure = Figure(figsize=(10.5, 4.2), dpi=110, layout=layout, facecolor="white")
    FigureCanvasAgg(figure)
    figure.suptitle(
        "Quality against time, from stored 8-bit files", fontsize=12.5, color=TEXT, x=0.012, ha="left"
    )
    left, right = figure.subplots(1, 2)
    seconds = "seconds per image (log)"
    style(left, title="Recovery with the key", x=seconds, y="SSIM_d")
    style(right, title="Recognition: what is missing to cos 1", x=seconds, y="1 - cos (log)")
    for name, figures in variants_of(summary).items():
        curve, colour = figures["curve"], COLOURS.get(name, OTHER_COLOUR)
        times = [max(point["seconds_per_image"], 1e-6) for point in curve]
        missing = [max(1 - point["cos"], 1e-7) for point in curve]
        left.plot(times, [point["ssim_d"] for point in curve], color=colour, linewidth=1.6, label=name)
        right.plot(times, missing, color=colour, linewidth=1.6, label=name)
        if figures["seconds_to_quality"] is not None:
            for axes in (left, right):
                axes.axvline(
                    figures["seconds_to_quality"]["median"], color=colour, linestyle=":", linewidth=1
                )
    target = summary[BASELINE]
    left.axhline(target["ssim_d"], color=GREY, linestyle="--", linewidth=1, label="baseline's end")
    right.axhline(
        max(1 - target["cos"], 1e-7), color=GREY, linestyle="--", linewidth=1, label="baseline's end"
    )
    right.set_yscale("log")
    for axes in (left, right):
        axes.set_xscale("log")
        axes.legend(fontsize=8, frameon=False, labelcolor=TEXT)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
