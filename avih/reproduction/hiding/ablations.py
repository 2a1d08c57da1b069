"""What hides: the block variance against other visual losses, and its kernel (AVIH, Figures 7, 8 and 16).

The paper's weights of features and recovery; the visual loss alone changes. The fast step rule is used, so that
the tables fit on a CPU.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean
from typing import TypeVar

import torch
from torch import Tensor

from avih.acceleration import for_gradients
from avih.criteria import Never
from avih.evaluation.metrics import cosine, ssim
from avih.images import to_pixels, to_tensor
from avih.jobs import start_noise
from avih.losses import BlockVariance, FeatureDistance, LossTerm, Objective, RecoveryDistance
from avih.methods.avih import hide
from avih.precision import InPrecision, resolve
from avih.protection import step_rule
from avih.reproduction.context import Context
from avih.reproduction.faces import Face, Faces, Picture, faces
from avih.reproduction.hiding.ablation_findings import (
    BLOCKS,
    METRICS,
    SIZE,
    Kernel,
    Means,
    kernel_findings,
    loss_findings,
)
from avih.reproduction.hiding.small_keys import small_key, small_network
from avih.reproduction.hiding.visual_losses import CELL, VISUAL_LOSSES, cell_correlation, folded
from avih.reproduction.networks import PUBLIC_SEED, SECRET, Network
from avih.reproduction.outcome import Outcome, Row, mean_row
from avih.settings import FAST_UNMIXED_PROTECT, PAPER_PROTECT

WEIGHTS = (0.003, 0.01, 0.03, 0.1)
Measured = dict[str, list[float]]
_Name = TypeVar("_Name")
Term = Callable[[Tensor], tuple[LossTerm, ...]]


@dataclass(frozen=True)
class _Bench:
    """What all variants of a table share: photos, an own and an external key."""

    context: Context
    source: Faces
    photos: list[Face]
    own: Network
    external: Network
    steps: int

    @property
    def persons(self) -> list[str]:
        """One name per photo."""
        return [photo.person for photo in self.photos]

    def measure(self, name: str, term: Term) -> Measured:
        """Hide the photos with a visual loss and measure what is stored, one value per photo; remembered."""
        facts = {
            "photos": [photo.name for photo in self.photos],
            "recogniser": self.source.recogniser.fingerprint,
            "generator": self.own.made,
            "steps": self.steps,
            "weights": PAPER_PROTECT.digest(),
            "rule": FAST_UNMIXED_PROTECT.digest(),
        }
        return dict(self.context.remember(f"avih/ablations/{name}", facts, lambda: self._measure(name, term)))

    def _measure(self, name: str, term: Term) -> Measured:
        self.context.tell(f"visual loss: {name}")
        originals = [photo.pixels for photo in self.photos]
        stored = self._hide(to_tensor(originals).to(self.context.device), term)
        with torch.no_grad():
            images = to_tensor(stored).to(self.context.device)
            own, other = (to_pixels(key.generator(images)) for key in (self.own, self.external))
            features = [
                self.source.recogniser(to_tensor(pictures).to(self.context.device)).cpu().numpy()
                for pictures in (originals, stored)
            ]
        return {
            "ssim_e": [ssim(x, y) for x, y in zip(originals, stored, strict=True)],
            "ssim_d": [ssim(x, y) for x, y in zip(originals, own, strict=True)],
            "ssim_d_external": [ssim(x, y) for x, y in zip(originals, other, strict=True)],
            "cells": [cell_correlation(x, y) for x, y in zip(originals, stored, strict=True)],
            "folded": [cell_correlation(x, folded(y)) for x, y in zip(originals, stored, strict=True)],
            "cos": cosine(*features).tolist(),
        }

    def _hide(self, originals: Tensor, term: Term) -> list[Picture]:
        recogniser, device = self.source.recogniser, torch.device(self.context.device)
        generator = self.own.generator
        with torch.no_grad():
            target = recogniser(originals)
        noise = [start_noise(SECRET, photo.name, photo.pixels.shape) for photo in self.photos]
        dtype = resolve("auto", device=device, network=generator)
        terms: tuple[LossTerm, ...] = (
            FeatureDistance(InPrecision(for_gradients(recogniser)), target, PAPER_PROTECT.feature_weight),
            RecoveryDistance(InPrecision(generator, dtype), originals, PAPER_PROTECT.recovery_weight),
            *term(originals),
        )
        hidden = hide(
            start=to_tensor(noise).to(device),
            objective=Objective(terms),
            rule=step_rule(FAST_UNMIXED_PROTECT, recogniser.card.feature_size, steps=self.steps),
            stop=Never(),
            steps=self.steps,
        )
        return list(to_pixels(hidden.protected))

    def outcome(self, rows: Sequence[Row], findings: Sequence[str]) -> Outcome:
        """Put a table together."""
        return Outcome(
            mark="substitute", rows=tuple(rows), data=self.source.data, model=self.source.model,
            setting=f"{len(self.photos)} photos of {len(set(self.persons))} persons, {self.own.made}; weights "
            f"1 (features) and 0.2 (recovery) as in the paper, fast step rule, {self.steps} steps from noise. "
            f"cells: correlation (without sign) of the means of {CELL}x{CELL} pixels of protected and original; "
            "folded: the same of the distance to middle grey. External key: another start, same training.",
            findings=tuple(findings),
        )  # fmt: skip


def bench(context: Context) -> _Bench:
    """Read photos and train the two keys."""
    source = faces(context)
    persons = source.persons("test", most=context.size(smoke=2, cpu=4, full=12))
    photos = source.aligned("test", persons=persons, photos_each=1)
    recipe = small_key(context, width=32, blocks=6, steps=200)
    own, external = (small_network(context, source, PUBLIC_SEED + number, recipe) for number in range(2))
    return _Bench(context, source, photos, own, external, context.size(smoke=6, cpu=80, full=220))


def losses(context: Context) -> Outcome:
    """Figures 7 and 16: the block variance, three other visual losses at several weights each, and none."""
    shared = bench(context)
    found = {"none": shared.measure("none", lambda _: ())}
    found[BLOCKS] = _with_kernel(shared, (SIZE, 1, PAPER_PROTECT.variance_weight))
    for kind in VISUAL_LOSSES:
        for weight in context.size(smoke=(0.1,), cpu=WEIGHTS, full=WEIGHTS):
            name = f"{kind}, {weight}"
            found[name] = shared.measure(name.replace(", ", "-"), partial(_visual, kind, weight))
    return shared.outcome(_rows(shared, found), loss_findings(_means(found)))


def kernel(context: Context) -> Outcome:
    """Figure 8: kernel size, stride and weight, each with the paper's other two; the full profile pairs all."""
    shared = bench(context)
    usual = PAPER_PROTECT.variance_weight
    sizes = context.size(smoke=(4, 16), cpu=(2, 4, 8, 16), full=(2, 4, 8, 16))
    strides = context.size(smoke=(1,), cpu=(1, 2, 4), full=(1, 2, 4))
    weights = context.size(smoke=(0.01,), cpu=(0.0001, 0.01, 0.1), full=(0.0001, 0.01, 0.1))
    grid = context.profile == "full"
    chosen: list[Kernel] = [(k, s, usual) for k in sizes for s in strides if grid or k == SIZE or s == 1]
    chosen += [(SIZE, 1, weight) for weight in weights]
    found = {one: _with_kernel(shared, one) for one in chosen}
    named = {"k {}, stride {}, weight {}".format(*one): values for one, values in found.items()}
    return shared.outcome(_rows(shared, named), kernel_findings(_means(found)))


def _with_kernel(shared: _Bench, one: Kernel) -> Measured:
    """Measure a kernel; the paper's own is Figure 7's."""
    same = one == (SIZE, 1, PAPER_PROTECT.variance_weight)
    name = "block-variance" if same else "kernel-{}-{}-{}".format(*one)
    return shared.measure(name, partial(_block_variance, *one))


def _visual(kind: str, weight: float, original: Tensor) -> tuple[LossTerm, ...]:
    return (VISUAL_LOSSES[kind](original, weight),)


def _block_variance(size: int, stride: int, weight: float, _: Tensor) -> tuple[LossTerm, ...]:
    return (BlockVariance(weight, size, stride),)


def _rows(shared: _Bench, found: Mapping[str, Measured]) -> list[Row]:
    return [
        mean_row(label=name, metric=metric, values=values[metric], persons=shared.persons)
        for metric in METRICS
        for name, values in found.items()
    ]


def _means(found: Mapping[_Name, Measured]) -> dict[_Name, Means]:
    return {name: {metric: fmean(values) for metric, values in one.items()} for name, one in found.items()}
