"""A learned start: does a network S(x, noise) that proposes x'_0 save steps, and what does it show of x?

S is trained on public pictures so that G(S(x, z)) is near x, with terms that hold its output to noise. Then faces
are refined with the rule of ``fast`` from S and from noise, and what would be stored is compared.
This is for ``recovery="unmixed"`` alone, where x' depends on x anyway. In ``keyed`` and ``sealed`` it must never:
all that x' may tell of x there is f(x), and a start that saw x would break that promise.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional

from avih.acceleration import for_gradients
from avih.criteria import Never
from avih.datasets.pictures import public_pictures
from avih.errors import AvihError, UsageError
from avih.images import to_pixels, to_tensor
from avih.key_training import PictureSampler, structural_similarity
from avih.losses import BlockVariance, FeatureDistance, Objective, RecoveryDistance
from avih.methods.avih import hide
from avih.precision import InPrecision, resolve
from avih.recognisers import Recogniser, load_recogniser
from avih.settings import FAST_UNMIXED_PROTECT, PAPER_KEY
from avih.steps import AdaptiveMomentum
from benchmarks.machine import describe_machine, err, out
from benchmarks.options import Options, default_recogniser, default_source
from benchmarks.quality import Judge, KeyPair
from benchmarks.subjects import PUBLIC_SEED, SECRET, WRONG_SECRET, Picture, load_faces, obtain_generator

Facts = dict[str, Any]

CELL: Final = 8  # pixels; side of a low-pass cell
PATCH: Final = 4  # pixels; S works on patches of this side
GENTLE: Final = 0.1  # a first step that leaves something of the start; the preset's is 0.6
RATE: Final = 2e-3  # the first step of Adam; it falls to zero in a straight line
WEIGHTS_OF: Final = {"low_pass": 1.0, "block_variance": 1.0, "correlation": 32.0}
# How much higher (below 0: lower) a figure counts as equal; a mean |correlation| of noise varies by 0.03.
SLACK: Final = {
    "ssim_e": 0.01, "low_pass": 0.05, "folded": 0.05, "wrong_key_ssim_d": 0.01, "ssim_d": -0.005, "cos": -0.001
}  # fmt: skip


class Proposer(nn.Module):
    """S: moves noise to where G sees the picture, ``(batch, 3, H, W)`` in [0, 1]; untrained, it moves nothing."""

    def __init__(self, *, width: int = 128, depth: int = 4) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before in [6 * PATCH**2] + [width] * (depth - 1):
            layers += [nn.Conv2d(before, width, 3, padding=1), nn.SiLU()]
        last = nn.Conv2d(width, 3 * PATCH**2, 3, padding=1, bias=False)
        nn.init.zeros_(last.weight)
        self.layers = nn.Sequential(*layers, last)

    def forward(self, pictures: Tensor, noise: Tensor) -> Tensor:
        """Propose a start; sides are multiples of 4."""
        patches = functional.pixel_unshuffle(torch.cat([pictures, noise], dim=1), PATCH)
        change = functional.pixel_shuffle(self.layers(patches), PATCH)
        return torch.sigmoid(torch.logit(noise, eps=1e-3) + change)


def folded(images: Tensor) -> Tensor:
    """Return |x' - 0.5|: a picture that is hidden in the contrast of noise, and not in its mean, shows here."""
    return (images - 0.5).abs()


def low_pass(images: Tensor) -> Tensor:
    """Return the means of 8x8 cells, ``(batch, channels, H // 8, W // 8)``: what is seen from a distance."""
    return functional.avg_pool2d(images, CELL)


def correlation(first: Tensor, second: Tensor) -> Tensor:
    """Return Pearson's correlation coefficient of each pair of a batch, ``(batch,)``; 0 where one is flat."""
    a, b = (values.flatten(1) - values.flatten(1).mean(dim=1, keepdim=True) for values in (first, second))
    spread = (a.square().sum(dim=1) * b.square().sum(dim=1) + 1e-12).sqrt()
    return (a * b).sum(dim=1) / spread


def bands(images: Tensor) -> list[Tensor]:
    """Return what pixels, 2x2 and 4x4 cells add to the next coarser scale, and the 8x8 cells."""
    scales = [images if side == 1 else functional.avg_pool2d(images, side) for side in (1, 2, 4, CELL)]
    coarser = [functional.interpolate(scale, scale_factor=2.0) for scale in scales[1:]]
    return [*(scale - wide for scale, wide in zip(scales, coarser, strict=False)), scales[-1]]


def hiding_terms(starts: Tensor, noise: Tensor, pictures: Tensor) -> dict[str, Tensor]:
    """Return what holds starts to noise, plain and folded: 0 for noise itself, but for chance.

    These are the squared distance of the 8x8 cells in units of their variance, the block variance above the
    noise's, and the mean squared correlation with x over the scales.
    """
    views = (starts, noise, 1 / 12), (folded(starts), folded(noise), 1 / 48)
    distances = [(low_pass(a) - low_pass(b)).square().mean() * CELL**2 / variance for a, b, variance in views]
    excess = (BlockVariance()(starts) / BlockVariance()(noise) - 1).relu().mean()
    pairs = [pair for view, *_ in views for pair in zip(bands(view), bands(pictures), strict=True)]
    traces = torch.stack([correlation(a, b).square().mean() for a, b in pairs])
    return {"low_pass": distances[0] + distances[1], "block_variance": excess, "correlation": traces.mean()}


def train(proposer: Proposer, generator: InPrecision, sampler: PictureSampler, time_s: float) -> Facts:
    """Train on crops of up to 64 pixels until the time is up, one step at least; return steps and last losses."""
    optimiser = torch.optim.Adam(proposer.parameters())
    source, began, steps = torch.Generator().manual_seed(PUBLIC_SEED), time.perf_counter(), 0
    while (done := (time.perf_counter() - began) / time_s) < 1 or not steps:
        optimiser.param_groups[0]["lr"] = RATE * max(1 - done, 0)
        pictures = sampler.batch(4, side=min(64, sampler.height, sampler.width))
        noise = torch.rand(pictures.shape, generator=source)
        starts = proposer(pictures, noise)
        outputs, terms = generator(starts), hiding_terms(starts, noise, pictures)
        recovery = functional.l1_loss(outputs, pictures) + 1 - structural_similarity(outputs, pictures).mean()
        optimiser.zero_grad()
        torch.stack([recovery, *(WEIGHTS_OF[name] * term for name, term in terms.items())]).sum().backward()
        nn.utils.clip_grad_norm_(proposer.parameters(), 1.0)
        optimiser.step()
        steps += 1
        seen = {name: round(value.item(), 4) for name, value in {"recovery": recovery, **terms}.items()}
        if steps % 100 == 0:
            err.print(f"  training step {steps}: {seen}")
    return {"steps": steps} | seen


def views_of(stored: Tensor, originals: Tensor) -> dict[str, float]:
    """Return the mean |correlation| of grey 8x8 cells with those of x: cells of x', and of |x' - 0.5|."""
    views = {"low_pass": stored, "folded": folded(stored), "x": originals}
    grey = {name: low_pass(view.double().mean(dim=1, keepdim=True)) for name, view in views.items()}
    return {name: float(correlation(grey[name], grey["x"]).abs().mean()) for name in ("low_pass", "folded")}


def objective(pictures: Sequence[Picture], recogniser: Recogniser, generator: InPrecision) -> Objective:
    """Return what ``fast`` moves unmixed pictures by."""
    originals, chosen = to_tensor(pictures), FAST_UNMIXED_PROTECT
    with torch.no_grad():
        target = recogniser(originals)
    features = FeatureDistance(InPrecision(for_gradients(recogniser)), target, chosen.feature_weight)
    recovery = RecoveryDistance(generator, originals, chosen.recovery_weight)
    return Objective((features, recovery, BlockVariance(chosen.variance_weight)))


def compare(net: Proposer, judge: Judge, keys: KeyPair, to_do: Objective, counts: list[int]) -> list[Facts]:
    """Return the rows of noise, of S, and of S refined with small steps, each a mean over the pictures."""
    source, originals = torch.Generator().manual_seed(PUBLIC_SEED + 1), to_tensor(judge.originals)
    noise = torch.randint(256, originals.shape, generator=source) / 255
    with torch.no_grad():
        learned = net(originals, noise)
    usual, rows = FAST_UNMIXED_PROTECT.step_size, []
    starts = ("noise", noise, usual), ("S", learned, usual), (f"S, steps of {GENTLE}", learned, GENTLE)
    for name, start, size in starts:
        for steps in counts if size == usual else filter(None, counts):
            done = start
            if steps:
                rule = AdaptiveMomentum(step_size=size, momentum=FAST_UNMIXED_PROTECT.momentum, steps=steps)
                done = hide(start=start, objective=to_do, rule=rule, stop=Never(), steps=steps).protected
            pixels = list(to_pixels(done))
            quality = judge.quality(pixels, keys=keys, nonces=[str(n) for n in range(len(pixels))])
            figures = quality.as_dict() | views_of(to_tensor(pixels), originals)
            rows.append({"start": name, "steps": steps} | {key: round(figures[key], 4) for key in SLACK})
            err.print(f"  {rows[-1]}")
    return rows


def verdict(rows: Sequence[Facts]) -> str:
    """Say whether S reaches what noise ends with in fewer steps and shows no more; the attack check is last."""
    target = max((row for row in rows if row["start"] == "noise"), key=lambda row: int(row["steps"]))
    early = [row for row in rows if row["start"] != "noise" and row["steps"] < target["steps"]]
    faults: dict[str, list[str]] = {}
    for row in early:
        found = [name for name, slack in SLACK.items() if (row[name] - target[name] - slack) * slack > 0]
        faults[f"{row['start']}, {row['steps']} steps"] = found
    after = f"noise after {target['steps']} steps"
    if good := [name for name, found in faults.items() if not found]:
        return f"no worse than {after}: {', '.join(good)}; the attack check remains to be run"
    listed = "; ".join(f"{name}: {', '.join(found)}" for name, found in faults.items())
    return f"rejected, the attack check was not run; worse than {after}: {listed}"


def run(options: argparse.Namespace) -> Facts:
    """Train S, refine and measure."""
    shared = Options(source=options.source, recogniser=options.recogniser)
    recogniser = load_recogniser(card=shared.recogniser, weights=shared.weights_file)
    card = recogniser.card
    faces = load_faces(source=shared.source, template=card.template, count=options.images)
    size = card.input_height, card.input_width
    files = options.generator, options.wrong_generator
    given = partial(obtain_generator, settings=PAPER_KEY, seed=PUBLIC_SEED, size=size, cache=Path())
    key, wrong = (given(file=file).generator for file in files)
    quick = InPrecision(key, resolve("auto", device=torch.device("cpu"), network=key))
    rng = np.random.default_rng(PUBLIC_SEED)
    sampler = PictureSampler(pictures=public_pictures(), height=size[0], width=size[1], rng=rng)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(PUBLIC_SEED)
        proposer = Proposer()
    losses = train(proposer, quick, sampler, 60 * options.minutes)
    to_do = objective(faces.pictures, recogniser, quick)
    keys = KeyPair("unmixed", key, wrong, SECRET, WRONG_SECRET)
    with tempfile.TemporaryDirectory(prefix="avih-bench-") as folder:
        judge = Judge(originals=faces.pictures, recogniser=recogniser, folder=Path(folder))
        rows = compare(proposer, judge, keys, to_do, options.steps)
    data = {"source": faces.source, "images": options.images, "recogniser": card.name}
    facts = {"machine": describe_machine(), "data": data, "training": {"minutes": options.minutes} | losses}
    return facts | {"rows": rows, "verdict": verdict(rows)}


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line; refuse what makes no sense."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.learned_start", description=__doc__)
    for name, text in (("generator", "The key"), ("wrong-generator", "A wrong key")):
        parser.add_argument(f"--{name}", type=Path, required=True, help=f"{text}: a safetensors file.")
    parser.add_argument("--steps", type=int, nargs="+", default=[0, 25, 50, 100], help="Steps of refining.")
    parser.add_argument("--json", action="store_true", help="Print only JSON.")
    parser.add_argument("--minutes", type=float, default=4.0, help="Minutes of training.")
    parser.add_argument("--images", type=int, default=4, help="Faces.")
    parser.add_argument("--source", default=default_source(), help="Folder of photos, or the word synthetic.")
    parser.add_argument("--recogniser", default=default_recogniser(), help="Card of the service model.")
    options = parser.parse_args(arguments)
    if min(options.minutes, options.images) <= 0 or min(options.steps) < 0:
        raise UsageError("Expected minutes and images above 0 and steps of 0 or more; check the options.")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; return the exit code."""
    try:
        summary = run(options := parse(arguments))
    except AvihError as error:
        err.print(f"error: {error}")
        return error.exit_code
    if options.json:
        print(json.dumps(summary, indent=2))
        return 0
    table = Table(*("start", "steps", *SLACK), title="From a learned start and from noise, 8 bits")
    for row in summary["rows"]:
        table.add_row(*(str(value) for value in row.values()))
    out().print(table, summary["verdict"])
    return 0


if __name__ == "__main__":
    sys.exit(main())
