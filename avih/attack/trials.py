"""The trials of an attack check: networks trained on growing leaks, and what they make of whose pictures."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from torch import nn

from avih.attack.measure import Figures, Gauge, attack_figures, prior_figures
from avih.attack.network import Features, TrainedAttack, Training
from avih.attack.pairs import Pairs, Pictures, Split
from avih.attack.prior import best_constant, nearest_leaked, noise_like
from avih.attack.result import CurvePoint, Network, NewKeyFigures
from avih.attack.settings import AttackSettings
from avih.attack.side_by_side import finish_all
from avih.attack.verdict import Level, level_of, worse
from avih.evaluation.lpips_metric import WITHOUT_FILE

Sample = Callable[[Pairs], Pairs]
FEW: Final = 16  # images: below it a mean says little


@dataclass(frozen=True)
class Control:
    """What the positive control came to, and the training steps after which it was near its best."""

    figures: Figures
    settled: int


class Trials:
    """The trials of one check, and what they share."""

    def __init__(
        self,
        old: Pairs,
        split: Split,
        settings: AttackSettings,
        recogniser: Features,
        gauge: Gauge,
        progress: Callable[[int], None],
    ) -> None:
        self.old, self.split, self.settings, self.recogniser = old, split, settings, recogniser
        self.gauge, self.progress = gauge, progress
        attacked = old.named(split.others)
        self.second_rate = gauge.scores(attacked.originals, attacked).id_rate
        self.identity = self.second_rate is not None and self.second_rate >= max(
            settings.second_minimum, min(1.0, 3 * gauge.chance)
        )
        self.blank = self._blank(old.named(split.leaked))

    def sampled(self, sample: Sample) -> Control:
        """Make the unmixed sample, attack it, and say how long that took."""
        settings, split = self.settings, self.split
        leaked = split.leaked[: settings.control_pairs]
        attacked = split.others[:: max(1, len(split.others) // settings.control_tests)][
            : settings.control_tests
        ]
        hidden = sample(self.old.named(leaked + attacked))
        attack = self._training(hidden.named(leaked), generator=None, steps=0).finish(self.progress)
        return Control(self.at(attack, hidden.named(attacked)), attack.settled)

    def curve(
        self, kinds: tuple[Network, ...], generator: nn.Module | None, control: Control | None
    ) -> tuple[list[CurvePoint], list[TrainedAttack]]:
        """Attack with growing leaks; return all points, and the networks of the whole leak."""
        points, whole = [], []
        leaked, others = self.split.leaked, self.old.named(self.split.others)
        counts = sorted({count for count in self.settings.pairs if 2 <= count < len(leaked)} | {len(leaked)})
        tried = [(count, kind) for count in counts for kind in kinds]
        trainings = [
            self._training(
                self.old.named(leaked[:count]),
                generator=generator if kind == "with generator" else None,
                steps=control.settled if control else 0,
            )
            for count, kind in tried
        ]
        attacks = finish_all(trainings, progress=self.progress)
        for (count, kind), attack in zip(tried, attacks, strict=True):
            figures = self.at(attack, others, by_design=control is not None)
            seen = figures.model_dump(include={"ssim", "ssim_advantage", "id_rate", "id_advantage"})
            points.append(
                CurvePoint(pairs=count, network=kind, steps=attack.steps, level=self.level(figures), **seen)
            )
            whole += [attack] if count == counts[-1] else []
        return points, whole

    def new_key(self, attacks: list[TrainedAttack], new: Pairs) -> NewKeyFigures | None:
        """Attack images of the new key: the attacker's own and of the same persons, and of other persons."""
        split, met = self.split, set(self.old.named(self.split.leaked).persons) - {""}
        same = new.named(split.memorised + split.known)
        fresh = [
            image
            for image, person in zip(new.images, new.persons, strict=True)
            if image not in self.old.images and person not in met
        ]
        other = new.named([*split.strangers, *fresh[: self.settings.test_images]])
        sets = [
            self.worst([self.at(attack, pairs, by_design=True) for attack in attacks]) if len(pairs) else None
            for pairs in (same, other)
        ]
        there = [figures for figures in sets if figures]
        if not there:
            return None
        return NewKeyFigures(**self.worst(there).model_dump(), same_images=sets[0], other_persons=sets[1])

    def _training(self, pairs: Pairs, *, generator: nn.Module | None, steps: int) -> Training:
        return Training(
            pairs=pairs,
            settings=self.settings,
            recogniser=self.recogniser,
            generator=generator,
            minimum_steps=steps,
        )

    def _blank(self, leaked: Pairs) -> Pictures:
        return best_constant(leaked.originals, steps=self.settings.prior_steps, seed=self.settings.seed)

    def prior(self, attacks: list[TrainedAttack], pairs: Pairs) -> Figures:
        """Measure the blank guesses at these images: the best constant picture, and each network fed noise."""
        noise = noise_like(pairs.protected, seed=self.settings.seed)
        guesses = [self.blank[None].repeat(len(pairs), axis=0), *(attack.guess(noise) for attack in attacks)]
        return prior_figures([self.gauge.scores(guess, pairs) for guess in guesses], chance=self.gauge.chance)

    def at(self, attack: TrainedAttack, pairs: Pairs, *, by_design: bool = False) -> Figures:
        """Let one network attack these images, and set it against the blank guess.

        Args:
            attack: the network.
            pairs: the images.
            by_design: hold identification against what the recogniser alone tells, too: f(x') = f(x) names
                everybody whose photo leaked, under any key, so that naming them says nothing of the key.
        """
        prior = self.prior([attack], pairs)
        if by_design and prior.id_rate is not None:
            guess = nearest_leaked(self.old.named(self.split.leaked), pairs, recogniser=self.recogniser)
            named = self.gauge.scores(guess, pairs).id_rate or 0.0
            prior = prior.model_copy(update={"id_rate": max(prior.id_rate, named)})
        return attack_figures(self.gauge.scores(attack.guess(pairs.protected), pairs), prior)

    def level(self, figures: Figures) -> Level:
        """Judge one set."""
        return level_of(figures, chance=self.gauge.chance, settings=self.settings, identity=self.identity)

    def worst(self, sets: list[Figures]) -> Figures:
        """Return the set on which the attack did best."""
        return worse(sets, chance=self.gauge.chance, settings=self.settings, identity=self.identity)

    def notes(self, *, control: Figures, new: Pairs | None, new_key: Figures | None) -> list[str]:
        """Say what was not measured, or what a figure is worth."""
        notes = []
        if self.gauge.lpips is None:
            notes.append(WITHOUT_FILE)
        if self.second_rate is None:
            notes.append("identification not measured: no attacked person has a photo left for reference")
        elif not self.identity:
            notes.append(
                f"second recogniser too weak: rank-1 {self.second_rate:.2f} on originals "
                f"(chance {self.gauge.chance:.2f}); SSIM alone counts"
            )
        else:
            notes.append(
                f"second recogniser: rank-1 {self.second_rate:.2f} on originals, chance {self.gauge.chance:.2f}"
            )
            if (control.id_advantage or 0.0) <= self.settings.pass_id_advantage:
                notes.append("the control was not recognised either: identification proves little here")
        if len(self.split.others) < FEW:
            notes.append(f"only {len(self.split.others)} images could be attacked: the figures are rough")
        if new is None:
            notes.append("no older key: only other images of the same key were attacked")
        elif new_key is None:
            notes.append("the new version holds none of the images chosen for the attack")
        return notes
