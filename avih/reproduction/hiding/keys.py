"""Keys against keys (AVIH, Figures 5, 6 and 14): what another key recovers, and what leaked pairs give away."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
import torch

from avih.attack.network import Training
from avih.attack.pairs import Pairs, Pictures
from avih.attack.prior import best_constant
from avih.attack.settings import AttackSettings
from avih.evaluation.metrics import ssim
from avih.reproduction.context import Context
from avih.reproduction.faces import Face, Faces, Picture, faces
from avih.reproduction.hiding.key_matrix import draw_matrix, matrix_findings, matrix_rows, split_matrix
from avih.reproduction.hiding.protected import Way, protected_faces, recovered
from avih.reproduction.hiding.small_keys import blank_guess, key_way, keyed_way
from avih.reproduction.hiding.visual_losses import cell_correlation
from avih.reproduction.networks import PUBLIC_SEED
from avih.reproduction.outcome import Outcome, Row, mean_row
from avih.settings import PAPER_PROTECT

HEAT_MAP = "avih-figure-5-keys.png"
LIMITS = AttackSettings()


def cross_recovery(context: Context) -> Outcome:
    """Figures 5 and 14: pictures protected under each key, recovered with every key."""
    source, count = faces(context), context.size(smoke=3, cpu=16, full=16)
    steps = context.size(smoke=10, cpu=100, full=PAPER_PROTECT.steps)
    persons = source.persons("test", most=context.size(smoke=2, cpu=2, full=10))
    photos = source.aligned("test", persons=persons, photos_each=1)
    guess = blank_guess(context, source)

    @cache
    def way(number: int) -> Way:
        return key_way(context, source, PUBLIC_SEED + number, steps=steps, batch_size=len(photos))

    facts = {
        "keys": count,
        "photos": [photo.name for photo in photos],
        "way": way(0).digest(),
        "unrelated": "next photo",
    }
    found = [
        context.remember(f"avih/keys/{n + 1}", facts, partial(_under, context, photos, way, n, count))
        for n in range(count)
    ]
    similar, cells, unrelated = (
        np.array([one[name] for one in found]) for name in ("ssim", "cells", "unrelated")
    )
    blank = [ssim(photo.pixels, guess) for photo in photos]
    hidden = np.array([one["ssim_e"] for one in found])
    matrix, guessed = similar.mean(axis=2), float(np.mean(blank))
    draw_matrix(matrix, path=context.folder("results") / HEAT_MAP)
    rows = matrix_rows(similar, cells, hidden)
    chance = float(split_matrix(unrelated)[1].mean())
    rows.append(Row(label="other keys, with the original of another photo", metric="ssim_d", ours=chance))
    rows.append(Row(label="guess without the picture", metric="ssim_d", ours=guessed, n=len(blank)))
    return Outcome(
        mark="substitute", rows=tuple(rows), data=source.data, model=source.model,
        setting=f"{count} keys, the first {way(0).made}, the others alike from other seeds, which also draw the "
        f"order of the training pictures; {len(photos)} photos of {len(persons)} persons, "
        f"{steps} steps. Intervals draw whole keys. cells: correlation (without sign) of the means of 8x8 pixels "
        "with the original.",
        findings=tuple(matrix_findings(matrix, guess=guessed, chance=chance)),
        figure=HEAT_MAP,
    )  # fmt: skip


def _under(
    context: Context, photos: list[Face], way: Callable[[int], Way], number: int, count: int
) -> dict[str, Any]:
    """Protect photos under one key, recover them with every key, and compare: lists by key and photo."""
    context.tell(f"pictures of key {number + 1} of {count}, recovered with every key")
    kept = protected_faces(context, f"avih-keys-{number + 1}", photos, way(number))
    by_key = [recovered(kept, way(number), generator=way(other).generator) for other in range(count)]
    others = photos[1:] + photos[:1]
    return {
        "ssim": [[ssim(x.pixels, y) for x, y in zip(photos, some, strict=True)] for some in by_key],
        "cells": [
            [cell_correlation(x.pixels, y) for x, y in zip(photos, some, strict=True)] for some in by_key
        ],
        # With the next photo's original: what a similarity says of pictures that have nothing in common.
        "unrelated": [[ssim(x.pixels, y) for x, y in zip(others, some, strict=True)] for some in by_key],
        "ssim_e": [ssim(one.face.pixels, one.pixels) for one in kept],
    }


@dataclass(frozen=True)
class _Leak:
    """Photos whose pairs leak, and photos of other persons that are attacked."""

    context: Context
    source: Faces
    leaked: list[Face]
    attacked: list[Face]
    settings: AttackSettings

    def pairs(self, name: str, photos: Sequence[Face], way: Way) -> Pairs:
        """Protect photos, or read them."""
        kept = protected_faces(self.context, _folder(name), photos, way)
        return Pairs(
            images=tuple(face.name for face in photos),
            persons=tuple(face.person for face in photos),
            originals=_stack(photos),
            protected=np.stack([one.pixels for one in kept]),
        )

    def attack(
        self, name: str, way: Way, *, count: int, others: dict[str, Way], help_by_generator: bool = False
    ) -> dict[str, list[float]]:
        """Train on the first pairs of a way; return the SSIM of what it makes of unseen pictures of each way."""

        def train() -> dict[str, list[float]]:
            self.context.tell(f"attack network: {name}, {count} leaked pairs")
            training = Training(
                pairs=self.pairs(name, self.leaked[:count], way),
                settings=self.settings,
                recogniser=_on_cpu(self.source.recogniser),
                generator=_on_cpu(way.generator) if help_by_generator else None,
            )
            trained = training.finish()
            guesses = {
                other: trained.guess(self.pairs(other, self.attacked, known).protected)
                for other, known in others.items()
            }
            return {other: self.similarity(pictures) for other, pictures in guesses.items()}

        facts = {
            "photos": [face.name for face in self.leaked[:count] + self.attacked],
            "ways": [one.digest() for one in (way, *others.values())],
            "attack": self.settings.digest(),
        }
        kind = "with-generator" if help_by_generator else "plain"
        return dict(
            self.context.remember(f"avih/attack/{name}-{count}-{kind}".replace(" ", "-"), facts, train)
        )

    def similarity(self, guesses: Sequence[Picture] | Pictures) -> list[float]:
        """Return the SSIM of guesses of the attacked photos."""
        return [ssim(face.pixels, guess) for face, guess in zip(self.attacked, guesses, strict=True)]

    def owner(self, name: str, way: Way) -> list[float]:
        """Return the SSIM of what the owner of the key recovers."""
        kept = protected_faces(self.context, _folder(name), self.attacked, way)
        return self.similarity(recovered(kept, way))

    def row(self, label: str, values: Sequence[float]) -> Row:
        """Make a row of one value per attacked photo."""
        persons = [face.person for face in self.attacked]
        return mean_row(label=label, metric="ssim_d", values=values, persons=persons)


def attack_model(context: Context) -> Outcome:
    """Figure 6: a network trained on leaked pairs of key 1, tried on keys 1 and 2; and the same under mixing."""
    leak = _leak(context)
    steps = context.size(smoke=10, cpu=60, full=PAPER_PROTECT.steps)
    first, second = (
        key_way(context, leak.source, PUBLIC_SEED + number, steps=steps, batch_size=4) for number in range(2)
    )
    keyed = keyed_way(context, leak.source)
    every = len(leak.leaked)
    guess = leak.similarity(
        [best_constant(_stack(leak.leaked), steps=leak.settings.prior_steps)] * len(leak.attacked)
    )
    rows = [
        leak.row("guess without the picture", guess),
        leak.row("key 1, its owner", leak.owner("key 1", first)),
    ]
    advantages: dict[str, float] = {}
    for count in (max(2, every // 6), every):
        found = leak.attack("key 1", first, count=count, others={"key 1": first, "key 2": second})
        for other, values in found.items():
            rows.append(leak.row(f"{count} leaked pairs of key 1, unseen pictures of {other}", values))
            advantages[other] = float(np.mean(values) - np.mean(guess))
    rows.append(leak.row("keyed mixing, its owner", leak.owner("keyed", keyed)))
    for helped in (False, True):
        found = leak.attack("keyed", keyed, count=every, others={"keyed": keyed}, help_by_generator=helped)
        known = "the key's generator and " if helped else ""
        rows.append(
            leak.row(f"{known}{every} leaked pairs under keyed mixing, unseen pictures", found["keyed"])
        )
        advantages["keyed"] = max(
            advantages.get("keyed", -1.0), float(np.mean(found["keyed"]) - np.mean(guess))
        )
    return Outcome(
        mark="substitute", rows=tuple(rows), data=leak.source.data, model=leak.source.model,
        setting=f"{every} leaked pairs, {len(leak.attacked)} attacked photos of other persons; {first.made} and "
        f"another seed, {steps} steps; attack network of width {leak.settings.width} with {leak.settings.blocks} "
        f"blocks, at most {leak.settings.steps} steps.",
        findings=tuple(attack_findings(advantages, pairs=every)),
    )  # fmt: skip


def attack_findings(advantages: dict[str, float], *, pairs: int) -> list[str]:
    """Hold the claims of section 4.3 against SSIM above the guess without the picture."""
    same, other, keyed = (advantages[name] for name in ("key 1", "key 2", "keyed"))
    broken = "holds here" if same >= LIMITS.control_ssim_advantage else "does not hold here"
    safe = "holds here" if other <= LIMITS.pass_ssim_advantage else "does not hold here"
    nothing = "nothing" if keyed <= LIMITS.pass_ssim_advantage else "something"
    return [
        f"That leaked pairs undo the key for unseen pictures {broken}: {pairs} pairs bring SSIM {same:+.3f} over "
        "the guess without the picture.",
        f"That they do not undo another key {safe}: {other:+.3f}.",
        f"The same leak under keyed mixing brings {nothing}: {keyed:+.3f}.",
    ]


def _leak(context: Context) -> _Leak:
    source = faces(context)
    insiders, outsiders = context.size(smoke=(3, 2), cpu=(12, 6), full=(20, 12))
    each, tries = context.size(smoke=(2, 1), cpu=(4, 2), full=(20, 5))
    persons = source.persons("test", most=insiders + outsiders)
    settings = (
        AttackSettings(steps=2, minimum_steps=2, check_every=2, prior_steps=2)
        if context.profile == "smoke"
        else LIMITS
    )
    return _Leak(
        context=context,
        source=source,
        # Persons in turn, so that the first pairs are of as many persons as there are.
        leaked=sorted(source.aligned("test", persons=persons[:insiders], photos_each=each), key=_turn),
        attacked=source.aligned("test", persons=persons[insiders:], photos_each=tries),
        settings=settings,
    )


def _folder(name: str) -> str:
    return f"avih-attack-{name}".replace(" ", "-")


def _turn(face: Face) -> str:
    return face.name.rsplit("/", 1)[-1][::-1]


def _stack(photos: Sequence[Face]) -> Pictures:
    return np.stack([face.pixels for face in photos])


def _on_cpu(network: torch.nn.Module) -> Any:
    parameter = next(network.parameters(), None)
    return network if parameter is None or parameter.device.type == "cpu" else copy.deepcopy(network).cpu()
