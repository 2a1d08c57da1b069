"""What every attack gets: the gallery's parts, keys of its own, attack networks, and a way to tell progress."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
from torch import nn

from avih.attack.network import TrainedAttack, Training
from avih.attack.pairs import Pairs, Pictures
from avih.attack.prior import best_constant, noise_like
from avih.attack.settings import AttackSettings
from avih.attack.side_by_side import finish_all
from avih.errors import TooFew
from avih.lab.attack import Guess
from avih.lab.scheme import Scheme
from avih.lab.settings import LabSettings
from avih.lab.subject import Parts, Subject
from avih.recovery import through_generator

Tell = Callable[[str], None]


class Lesson(NamedTuple):
    """What an attack network is trained on: pairs, a known generator behind it, another recipe than usual."""

    pairs: Pairs
    generator: nn.Module | None = None
    network: AttackSettings | None = None


@dataclass(frozen=True, eq=False, repr=False)
class Lab:
    """One audit under way.

    Args:
        subject: the gallery version.
        parts: who leaks, who is attacked, whom the second recogniser knows.
        settings: how hard to try.
        scheme: makes keys of the lab's own.
        tell: takes a line about what is going on.
        trained: networks that were trained already, for another attack that needs the same one.
    """

    subject: Subject
    parts: Parts
    settings: LabSettings
    scheme: Scheme
    tell: Tell
    trained: dict[str, TrainedAttack] = field(default_factory=dict)

    @property
    def leaked(self) -> Pairs:
        """Pairs that the attacker may have, of persons who are not attacked; the first N are a leak of N."""
        return self.parts.leaked

    @property
    def targets(self) -> Pairs:
        """The attacked pictures."""
        return self.parts.targets

    @cached_property
    def blank(self) -> Pictures:
        """The best guess without looking: the mean face, improved by SSIM; ``(H, W, 3)`` uint8."""
        network = self.settings.network
        return best_constant(self.leaked.originals, steps=network.prior_steps, seed=network.seed)

    def leaks(self) -> tuple[int, ...]:
        """Return the sizes of the leak that are tried; the whole leak comes last."""
        return tuple(sorted({n for n in self.settings.leaks if n < len(self.leaked)} | {len(self.leaked)}))

    def first(self, pairs: Pairs, count: int) -> Pairs:
        """Return the first pairs."""
        return pairs.named(pairs.images[:count])

    def train(self, pairs: Pairs) -> TrainedAttack:
        """Train an attack network on pairs; one that was trained already is taken as it is."""
        return self.train_all([Lesson(pairs)])[0]

    def train_all(self, lessons: Sequence[Lesson]) -> list[TrainedAttack]:
        """Train attack networks side by side; those that were trained already are taken as they are."""
        names = [self._name(lesson) for lesson in lessons]
        missing = {name: one for name, one in zip(names, lessons, strict=True) if name not in self.trained}
        done = finish_all([self._begun(lesson) for lesson in missing.values()])
        self.trained.update(zip(missing, done, strict=True))
        return [self.trained[name] for name in names]

    def _begun(self, lesson: Lesson) -> Training:
        """Begin a training; one pair is shown twice, because another must say when to stop."""
        pairs, settings = lesson.pairs, lesson.network or self.settings.network
        if not len(pairs):
            raise TooFew("Expected at least 1 leaked pair to train on, got none. Audit a larger gallery.")
        if len(pairs) == 1:
            pairs = pairs.named([*pairs.images, *pairs.images])
        return Training(
            pairs=pairs, settings=settings, recogniser=self.subject.recogniser, generator=lesson.generator
        )

    def _name(self, lesson: Lesson) -> str:
        pairs, settings = lesson.pairs, lesson.network or self.settings.network
        content = hashlib.sha256(pairs.protected.tobytes() + pairs.originals.tobytes()).hexdigest()
        return f"{content} {settings.digest()} {self._generator_name(lesson.generator)}"

    def _generator_name(self, generator: nn.Module | None) -> str:
        if generator is None:
            return "plain"
        return hashlib.sha256(
            b"".join(value.cpu().numpy().tobytes() for value in generator.state_dict().values())
        ).hexdigest()

    def network_guess(
        self, attack: TrainedAttack, label: str, targets: Pairs, **facts: float | int | str
    ) -> Guess:
        """Let a network guess, and let it guess blindly: fed noise with the values of each picture."""
        noise = noise_like(targets.protected, seed=self.settings.seed)
        return Guess(label, targets, attack.guess(targets.protected), (attack.guess(noise),), facts)

    def generator_through(self, generator: nn.Module, pictures: Pictures) -> Pictures:
        """Send pictures through a generator: ``(n, H, W, 3)`` uint8 in, the same out."""
        return np.stack(through_generator(generator, list(pictures)))
