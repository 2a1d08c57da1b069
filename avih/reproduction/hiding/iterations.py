"""How long to iterate, and how many pictures at once (AVIH, Table 6, Figures 10 and 11)."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import fmean, median
from typing import Any

import torch

from avih.atomic import write_bytes
from avih.evaluation.contact_sheet import contact_sheet
from avih.evaluation.metrics import ssim
from avih.images import encode_png
from avih.precision import resolve
from avih.protection import Protector
from avih.reproduction.context import Context, DataFolders
from avih.reproduction.faces import Picture, faces
from avih.reproduction.hiding.trajectory import Clock, Run, start, trajectory
from avih.reproduction.networks import SECRET
from avih.reproduction.outcome import Outcome, Row, holds, mean_row
from avih.settings import PAPER_PROTECT

PAPER_SSIM_D: Mapping[int, float] = {100: 0.721, 200: 0.829, 400: 0.886, 600: 0.895, 800: 0.912}
PAPER_COS: Mapping[int, float] = {100: 0.973, 200: 0.983, 400: 0.995, 600: 0.997, 800: 0.997}
PAPER_SECONDS: Mapping[int, float] = {100: 5.651, 200: 11.251, 400: 22.703, 600: 32.703, 800: 43.053}
STRIP = "avih-figure-11-pictures.png"
MUCH = 0.67  # of the time of a picture alone: "greatly improve the efficiency"
SLIGHT = 0.03  # SSIM: "little impact on protection quality"


def table(context: Context) -> Outcome:
    """Table 6: seconds, SSIM_d and cosine by iterations; SSIM_e and another key's SSIM_d besides."""
    run = start(context, persons=context.size(smoke=2, cpu=4, full=10))
    found = trajectory(run)
    rows = [
        Row(
            label=f"{step} iterations", metric="seconds per batch", paper=PAPER_SECONDS.get(step),
            ours=measured["seconds"], n=len(run.photos),
        )
        for step, measured in found.items()
    ]  # fmt: skip
    rows += _rows(run, found, {"ssim_d": PAPER_SSIM_D, "cos": PAPER_COS, "ssim_e": {}, "ssim_d_external": {}})
    return Outcome(
        mark="substitute", rows=tuple(rows), data=run.source.data, model=run.source.model,
        setting=_setting(run), findings=tuple(findings(found)),
    )  # fmt: skip


def findings(found: Mapping[int, Mapping[str, Any]]) -> list[str]:
    """Hold the claims of supplementary A against what was measured after each number of iterations."""
    means = {
        step: {name: fmean(one[name]) for name in ("ssim_d", "cos", "ssim_d_external")}
        for step, one in found.items()
    }
    steps = sorted(means)
    half = steps[len(steps) // 2]
    first, middle, last = (means[step] for step in (steps[0], half, steps[-1]))
    better = all(means[a]["ssim_d"] < means[b]["ssim_d"] for a, b in pairwise(steps))
    lost = last["ssim_d"] - middle["ssim_d"]
    early, late = first["ssim_d_external"], last["ssim_d_external"]
    said = [
        f"That more iterations raise the quality {holds(better)}: SSIM_d "
        + ", ".join(f"{means[step]['ssim_d']:.3f} ({step})" for step in steps) + ".",
        f"That {half} iterations cost little quality {holds(lost <= SLIGHT)}: SSIM_d falls by {lost:.3f}, the "
        f"cosine from {last['cos']:.4f} to {middle['cos']:.4f}.",
    ]  # fmt: skip
    if early > late:
        said.append(
            "Stopping early has a price that the paper does not name: another key recovers SSIM "
            f"{early:.3f} after {steps[0]} iterations and {late:.3f} after {steps[-1]}."
        )
    return said


def batch_sizes(context: Context) -> Outcome:
    """Figure 10: seconds per image by batch size, from a few steps."""
    sizes = context.size(smoke=(1, 2), cpu=(1, 2, 4, 8), full=(1, 2, 4, 8))
    timed = context.size(smoke=2, cpu=4, full=20)
    everybody = start(context, persons=max(sizes))
    steps, seconds = PAPER_PROTECT.steps, {}
    for size in sizes:
        run = replace(everybody, photos=everybody.photos[:size])
        facts = run.facts() | {"timed": timed, "device": context.device, "threads": torch.get_num_threads()}
        seconds[size] = context.remember(
            f"avih/iterations/batch-{size}", facts, partial(_seconds_per_step, run, timed)
        )
    rows = []
    for size, one in seconds.items():
        told = {"label": f"batch of {size}", "n": timed}
        rows.append(Row(**told, metric="seconds per image", ours=one * steps / size))
        rows.append(Row(**told, metric="seconds per batch", ours=one * steps))
    small, large = min(seconds), max(seconds)
    share = (seconds[large] / large) / (seconds[small] / small)
    return Outcome(
        mark="substitute", rows=tuple(rows), data=everybody.source.data, model=everybody.source.model,
        setting=f"extrapolated to {steps} steps from the median of {timed}; the paper gives a chart without "
        f"figures. {_setting(everybody, f'batches of up to {max(sizes)}')}",
        findings=(
            f"That larger batches make protection much faster {holds(share <= MUCH)}: an image in a batch of "
            f"{large} takes {share:.2f} times as long as one alone ({context.device}; the paper: a GPU).",
        ),
    )  # fmt: skip


def pictures(context: Context) -> Outcome:
    """Figure 11: Table 6's measurements again, and a strip of pictures of a face that is drawn."""
    run = start(context, persons=context.size(smoke=2, cpu=4, full=10))
    found = trajectory(run)
    drawn = faces(replace(context, data=DataFolders()))
    person = drawn.persons("test", most=1)
    one = replace(run, source=drawn, photos=drawn.aligned("test", persons=person, photos_each=1))
    path = context.folder("results") / STRIP
    context.remember("avih/iterations/strip", one.facts(), partial(_strip, one, path))
    if not path.is_file():
        _strip(one, path)
    return Outcome(
        mark="substitute",
        rows=tuple(_rows(run, found, {"ssim_e": {}, "ssim_d": PAPER_SSIM_D})),
        data=run.source.data, model=run.source.model,
        setting=f"The pictures show {drawn.data} and {drawn.model}. {_setting(run)}",
        findings=tuple(findings(found)), figure=STRIP,
    )  # fmt: skip


def _rows(
    run: Run, found: Mapping[int, Mapping[str, Any]], metrics: Mapping[str, Mapping[int, float]]
) -> list[Row]:
    persons = [photo.person for photo in run.photos]
    return [
        mean_row(
            label=f"{step} iterations", metric=metric, values=measured[metric], persons=persons,
            paper=paper.get(step),
        )
        for metric, paper in metrics.items()
        for step, measured in found.items()
    ]  # fmt: skip


def _seconds_per_step(run: Run, timed: int) -> float:
    """Return the median time of a step; the first one, which also prepares the networks, does not count."""
    run.context.tell(f"timing batches of {len(run.photos)}")
    settings = run.settings.model_copy(update={"steps": timed + 1})
    protector = Protector(SECRET, run.own.generator, run.source.recogniser, settings, "timing")
    clock, moments = Clock(run.context.device), list[float]()
    protector.protect(
        pictures=[photo.pixels for photo in run.photos],
        images=[photo.name for photo in run.photos],
        watch=lambda *_: moments.append(clock()),
    )
    return median(after - before for before, after in pairwise(moments))


def _strip(run: Run, path: Path) -> dict[str, float]:
    """Draw original, protected and recovered pictures after each number of iterations; return SSIM_d."""
    (photo,) = run.photos
    columns: dict[str, list[Picture]] = {"original": [], "protected": [], "recovered": [], "other key": []}
    captions, found = [], {}
    for step, (_, stored) in run.watch().items():
        shown = [
            photo.pixels,
            stored[0],
            run.recovered(run.own, stored)[0],
            run.recovered(run.other, stored)[0],
        ]
        for column, picture in zip(columns.values(), shown, strict=True):
            column.append(picture)
        found[str(step)] = ssim(photo.pixels, shown[2])
        captions.append(f"{step} iterations: SSIM recovered {ssim(photo.pixels, shown[2]):.3f}")
    write_bytes(path, encode_png(contact_sheet(list(columns.items()), captions=captions)))
    return found


def _setting(run: Run, photos: str = "") -> str:
    photos = photos or f"{len(run.photos)} photos of as many persons in one batch"
    time_of = "processor seconds of one core" if run.context.device == "cpu" else "seconds"
    device = torch.device(run.context.device)
    number = resolve(run.settings.precision, device=device, network=run.own.generator)
    return (
        f"{photos}; the paper's rule and weights, generator in "
        f"{str(number).removeprefix('torch.')}; {run.own.made}; {time_of} (the paper: a TITAN Xp). "
        "Best of the stored pictures so far, 8 bits. External key: another seed, same training."
    )
