"""``python -m benchmarks.key_training``: how long a recipe trains until its generator is good.

Each recipe trains from a fixed public seed. The clock stands still while it is looked at: SSIM of G(x) against x
on faces that the training never saw, and, less often, what protecting a few of them with the generator of that
moment gives: SSIM_d, the cosine, SSIM_e, and SSIM_d with the generator of another seed of the same recipe.
"""

import argparse
import json
import logging
import sys
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from rich.table import Table

from avih.atomic import write_bytes, write_json
from avih.device import chosen_device
from avih.errors import AvihError, UsageError
from avih.evaluation.plots import BLUE, GREY, ORANGE, TEXT, VERMILION, style
from avih.generators import save_generator
from avih.recognisers import load_recogniser
from avih.settings import FAST_UNMIXED_KEY, PAPER_KEY, KeySettings
from benchmarks.key_course import Course, Examiner, Look
from benchmarks.machine import describe_machine, err, out
from benchmarks.options import HERE, WEIGHTS, default_recogniser, default_source
from benchmarks.subjects import PUBLIC_SEED, Faces, load_faces

TARGETS: Final = (0.85, 0.90, 0.93)
RECIPES: Final[Mapping[str, KeySettings]] = MappingProxyType(
    {"papers": PAPER_KEY, "fast": FAST_UNMIXED_KEY, "keyed": KeySettings()}
)
COLOURS: Final = MappingProxyType({"papers": BLUE, "fast": VERMILION, "keyed": ORANGE})


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line.

    Raises:
        UsageError: an unknown recipe, or a number that is not above 0.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.key_training", description=__doc__)
    parser.add_argument("--recipes", default="papers,fast,keyed", help="Which, in this order.")
    parser.add_argument("--seconds", type=float, default=600.0, help="Most seconds of training per recipe.")
    parser.add_argument("--wrong-seconds", type=float, default=60.0, help="The same for the wrong generator.")
    parser.add_argument("--images", type=int, default=12, help="Faces for SSIM of G(x) against x.")
    parser.add_argument("--protected", type=int, default=2, help="How many of them are protected.")
    parser.add_argument("--protect-steps", type=int, help="Most steps of protecting; none: the preset's.")
    parser.add_argument("--source", default=default_source(), help="Folder of photos, or: synthetic.")
    parser.add_argument("--recogniser", default=default_recogniser(), help="Card of the service model.")
    parser.add_argument("--weights", type=Path, help="Its weights file.")
    parser.add_argument("--device", help="cpu or cuda; none: AVIH_DEVICE, else the GPU if there is one.")
    parser.add_argument("--threads", type=int, help="Threads of torch; none: its own choice.")
    parser.add_argument("--most-width", type=int, help="Narrow all generators to this many channels, to try.")
    parser.add_argument("--out", type=Path, default=HERE / "out", help="Folder of JSON, plot, generators.")
    parser.add_argument("--json", action="store_true", help="Print only JSON.")
    options = parser.parse_args(arguments)
    names = options.recipes = [name.strip() for name in options.recipes.split(",")]
    if not set(names) <= set(RECIPES) or len(set(names)) < len(names):
        raise UsageError(f"Expected different recipes of {', '.join(RECIPES)}; got {', '.join(names)}.")
    for name in ("seconds", "wrong_seconds", "images", "protected", "protect_steps", "threads", "most_width"):
        value = getattr(options, name)
        if value is not None and not value > 0:
            raise UsageError(f"Expected --{name.replace('_', '-')} above 0, got {value:g}.")
    return options


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Train and examine each recipe; what is known so far is kept after each."""
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    device = chosen_device(options.device)
    beside = WEIGHTS if options.recogniser == "mobilefacenet" and WEIGHTS.is_file() else None
    recogniser = load_recogniser(
        card=options.recogniser, weights=options.weights or beside, device=str(device)
    )
    card = recogniser.card
    faces = load_faces(source=options.source, template=card.template, count=options.images)
    summary: dict[str, Any] = {
        "machine": describe_machine(device),
        "data": _describe(options, faces) | {"recogniser": card.name},
        "targets": list(TARGETS),
        "recipes": {},
    }
    with tempfile.TemporaryDirectory(prefix="avih-bench-") as folder:
        examiner = Examiner(
            faces.pictures, options.protected, recogniser, options.protect_steps, Path(folder)
        )
        for name in options.recipes:
            settings = _narrowed(RECIPES[name], options.most_width)
            size = (card.input_height, card.input_width)
            err.print(f"{name}: first the wrong generator, {options.wrong_seconds:g} s at most")
            other = Course(settings=settings, limit=options.wrong_seconds, device=device)
            wrong = other.train(seed=PUBLIC_SEED + 1, size=size)
            err.print(f"{name}: {options.seconds:g} s at most")
            course = Course(
                settings=settings, limit=options.seconds, device=device, examiner=examiner, wrong=wrong
            )
            generator = course.train(seed=PUBLIC_SEED, size=size)
            data = save_generator(generator, architecture=settings.architecture, options=settings.options())
            write_bytes(options.out / f"key-{name}.safetensors", data)
            summary["recipes"][name] = describe(settings, course.looks)
            write_json(options.out / "key_training.json", summary)
            draw(summary, options.out / "key_training.png")
    return summary


def _narrowed(settings: KeySettings, width: int | None) -> KeySettings:
    return settings if width is None else settings.model_copy(update={"width": min(width, settings.width)})


def _describe(options: argparse.Namespace, faces: Faces) -> dict[str, Any]:
    return {
        "source": faces.source,
        "images": options.images,
        "protected": options.protected,
        "protect_steps": options.protect_steps or "the preset's",
        "seed": PUBLIC_SEED,
        "seconds": options.seconds,
        "wrong_seconds": options.wrong_seconds,
    }


def describe(settings: KeySettings, looks: Sequence[Look]) -> dict[str, Any]:
    """Return one recipe's figures: when it reached the targets, how it ended, and its whole curve."""
    identities = [(look.seconds, look.identity) for look in looks]
    recovered = [(look.seconds, look.quality.ssim_d) for look in looks if look.quality]
    return {
        "settings": settings.model_dump(mode="json"),
        "seconds_to_identity": {f"{target:.2f}": first(identities, target) for target in TARGETS},
        "seconds_to_ssim_d": {f"{target:.2f}": first(recovered, target) for target in TARGETS},
        "end": looks[-1].as_dict(),
        "curve": [look.as_dict() for look in looks],
    }


def first(points: Sequence[tuple[float, float]], target: float) -> float | None:
    """Return the seconds of the first look that reached the target: never less than the truth."""
    return next((seconds for seconds, value in points if value >= target), None)


def table(summary: Mapping[str, Any]) -> Table:
    """Return the figures of all recipes as a table for people."""
    shown = Table(title="Training a key: seconds to a mean SSIM, and what the last generator gives")
    shown.add_column("recipe")
    goals = [f"{target:.2f}" for target in summary["targets"]]
    titles = [*(f"G(x) {goal}" for goal in goals), *(f"SSIM_d {goal}" for goal in goals)]
    for title in (*titles, "s", "steps", "G(x)", "SSIM_d", "cos", "SSIM_e", "wrong key"):
        shown.add_column(title, justify="right")
    for name, figures in summary["recipes"].items():
        end = figures["end"]
        reached = [
            figures[kind][goal] for kind in ("seconds_to_identity", "seconds_to_ssim_d") for goal in goals
        ]
        quality = [end["quality"][key] for key in ("ssim_d", "cos", "ssim_e", "wrong_key_ssim_d")]
        shown.add_row(
            name,
            *("—" if seconds is None else f"{seconds:.1f}" for seconds in reached),
            f"{end['seconds']:.0f}",
            str(end["step"]),
            *(f"{value:.3f}" for value in (end["identity"], *quality)),
        )
    return shown


def draw(summary: Mapping[str, Any], path: Path) -> None:
    """Draw the identity and the recovery against seconds of training, with the targets as lines."""
    layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.1)
    figure = Figure(figsize=(10.5, 4.2), dpi=110, layout=layout, facecolor="white")
    FigureCanvasAgg(figure)
    figure.suptitle("Training a key, from 8-bit pictures", fontsize=12.5, color=TEXT, x=0.012, ha="left")
    left, right = figure.subplots(1, 2, sharex=True, sharey=True)
    seconds = "seconds of training (log)"
    style(left, title="The generator alone: SSIM of G(x) against x", x=seconds, y="SSIM")
    style(right, title="After protecting: SSIM_d (dashed: another seed's generator)", x=seconds, y="SSIM")
    for name, figures in summary["recipes"].items():
        curve, colour = figures["curve"], COLOURS[name]
        judged = [(look["seconds"], look["quality"]) for look in curve if look["quality"]]
        times = [at for at, _ in judged]
        left.plot([look["seconds"] for look in curve], [look["identity"] for look in curve], "o-",
                  color=colour, linewidth=1.6, markersize=3, label=name)  # fmt: skip
        right.plot(times, [quality["ssim_d"] for _, quality in judged], "o-",
                   color=colour, linewidth=1.6, markersize=3, label=name)  # fmt: skip
        right.plot(times, [quality["wrong_key_ssim_d"] for _, quality in judged], "--",
                   color=colour, linewidth=1)  # fmt: skip
    for axes in (left, right):
        axes.set_xscale("log")
        axes.set_ylim(0, 1)
        for target in summary["targets"]:
            axes.axhline(target, color=GREY, linestyle=":", linewidth=0.8)
        axes.legend(fontsize=8, frameon=False, labelcolor=TEXT)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; return the exit code."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    warnings.filterwarnings("ignore", category=FutureWarning)
    try:
        options = parse(arguments)
        summary = run(options)
    except AvihError as error:
        err.print(f"error: {error}")
        return error.exit_code
    if options.json:
        print(json.dumps(summary, indent=2))
    else:
        out().print(table(summary))
    return 0


if __name__ == "__main__":
    sys.exit(main())
