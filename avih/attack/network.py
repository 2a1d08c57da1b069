"""Train the attack network: the key's own architecture class, on leaked pairs (000, section 4.3).

Where the key's generator G is public the attacker may append it: A learns the mixing, G does the rest, G(A(x')).
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from avih.acceleration import for_gradients
from avih.attack.pairs import Pairs, Pictures
from avih.attack.settings import AttackSettings
from avih.errors import UsageError
from avih.generators.resnet import PatchDiscriminator, ResnetGenerator, told_as
from avih.images import to_pixels, to_tensor
from avih.key_training import structural_similarity
from avih.precision import InPrecision, resolve
from avih.recognisers import Recogniser

Features = Callable[[Tensor], Tensor]
AT_ONCE = 16  # pictures per pass when nothing is learned
PROGRESS = 0.99  # an error that falls by less than a hundredth has not fallen
NEAR_BEST = 1.1


class AttackNetwork(nn.Module):
    """A ResNet generator A, alone or in front of a known generator.

    Shape:
        - input and output: ``(batch, 3, H, W)`` in [0, 1]; H and W divisible by 4.
    """

    def __init__(self, *, settings: AttackSettings, generator: nn.Module | None = None) -> None:
        super().__init__()
        # Normalising the trunk alone trains several times faster; dropout would only slow a short training.
        self.network = ResnetGenerator(
            width=settings.width, blocks=settings.blocks, dropout=0.0, trunk_norm_only=True
        )
        self.generator = generator

    def forward(self, protected: Tensor) -> Tensor:
        """Guess originals."""
        guess: Tensor = self.network(protected)
        return guess if self.generator is None else self.generator(guess)


@dataclass(frozen=True, eq=False)
class TrainedAttack:
    """An attack network; its weights stay in memory.

    Attributes:
        steps: training steps that it took.
        settled: steps after which its error on held-back pairs was near its best.
    """

    network: AttackNetwork
    steps: int
    settled: int

    def guess(self, protected: Pictures) -> Pictures:
        """Return the attacker's guesses.

        Shape:
            - protected: ``(n, H, W, 3)`` uint8; the same comes back.
        """
        with torch.no_grad():
            parts = [
                self.network(to_tensor(protected[first : first + AT_ONCE]))
                for first in range(0, len(protected), AT_ONCE)
            ]
        return to_pixels(torch.cat(parts))


class Stopped(Exception):
    """A training was given up because its result is no longer wanted."""


class Training:
    """One training of an attack network: networks, optimisers and the leak as tensors.

    By L1, SSIM, PatchGAN and identity features, until held-back pairs stop improving.

    Args:
        pairs: the leak; an eighth of it is held back to see when to stop.
        settings: the recipe.
        recogniser: the service model, which everybody has: pictures in, features out.
        generator: the key's generator where the attacker knows it; frozen.
        minimum_steps: train at least so long, and at least as long as the settings say.

    Raises:
        UsageError: fewer than two pairs.
    """

    def __init__(
        self,
        *,
        pairs: Pairs,
        settings: AttackSettings,
        recogniser: Features,
        generator: nn.Module | None = None,
        minimum_steps: int = 0,
    ) -> None:
        if len(pairs) < 2:
            raise UsageError(f"Expected at least 2 leaked pairs to train on, got {len(pairs)}.")
        self.settings, self.least = settings, min(settings.steps, max(minimum_steps, settings.minimum_steps))
        self.recogniser = for_gradients(recogniser) if isinstance(recogniser, Recogniser) else recogniser
        generator = generator and generator.eval().requires_grad_(False)
        # The global generator is put back: nothing else may depend on whether an attack was tried.
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(settings.seed)
            self.network = AttackNetwork(settings=settings, generator=generator)
            self.judge = (
                PatchDiscriminator(width=settings.judge_width) if settings.adversarial_weight else None
            )
            self.draw = torch.Generator()  # of its own: others may be trained at the same time
            self.draw.set_state(torch.default_generator.get_state())
        self.network.network.to(memory_format=torch.channels_last)
        dtype = resolve("auto", device=torch.device("cpu"), network=self.network)
        self.training_network = InPrecision(self.network, dtype)
        held_back = max(1, len(pairs) // 8)
        self.inputs, self.targets = to_tensor(pairs.protected), to_tensor(pairs.originals)
        self.count, self.held_back = len(pairs) - held_back, min(held_back, AT_ONCE)
        with torch.no_grad():
            self.features = torch.cat([recogniser(part) for part in self.targets.split(AT_ONCE)])
        rate = settings.learning_rate
        self.optimiser = torch.optim.Adam(self.network.network.parameters(), lr=rate)
        self.judge_optimiser = self.judge and torch.optim.Adam(self.judge.parameters(), lr=rate)

    def finish(
        self, progress: Callable[[int], None] | None = None, *, stop: Callable[[], bool] = lambda: False
    ) -> TrainedAttack:
        """Train to the end.

        Args:
            progress: called with the steps since the last look.
            stop: asked at each step whether to give up.

        Raises:
            Stopped: it was given up.
        """
        errors = self._errors(progress or (lambda _: None), stop)
        settled = next(step for step, error in errors.items() if error <= NEAR_BEST * min(errors.values()))
        return TrainedAttack(self.network.eval().requires_grad_(False), max(errors), settled)

    def _errors(self, progress: Callable[[int], None], stop: Callable[[], bool]) -> dict[int, float]:
        """Train, and return the error on held-back pairs by number of steps."""
        settings, stale, step = self.settings, 0, 0
        errors: dict[int, float] = {}
        while step < settings.steps and not (step >= self.least and stale >= settings.patience):
            for _ in range(block := min(settings.check_every, settings.steps - step)):
                if stop():
                    raise Stopped
                self._step()
            step += block
            progress(block)
            error = self._error()
            stale = 0 if error < PROGRESS * min(errors.values(), default=float("inf")) else stale + 1
            errors[step] = error
        return errors

    def _step(self) -> None:
        settings = self.settings
        rows = torch.randint(self.count, (min(settings.batch_size, self.count),), generator=self.draw)
        inputs, targets = self.inputs[rows], self.targets[rows]
        self.network.network.train()
        guesses = self.training_network(inputs)
        loss = settings.l1_weight * functional.l1_loss(guesses, targets)
        if settings.ssim_weight:
            loss = loss + settings.ssim_weight * (1 - structural_similarity(guesses, targets).mean())
        if settings.identity_weight:
            alike = functional.cosine_similarity(self.recogniser(guesses), self.features[rows])
            loss = loss + settings.identity_weight * (1 - alike.mean())
        if self.judge is not None and self.judge_optimiser:
            self.judge_optimiser.zero_grad()
            self.judge.loss(inputs=inputs, true=targets, false=guesses.detach()).backward()
            self.judge_optimiser.step()
            verdict = self.judge(inputs, guesses)
            loss = loss + settings.adversarial_weight * told_as(verdict, real=True)
        self.optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.network.parameters(), 1.0)
        self.optimiser.step()

    def _error(self) -> float:
        """Mean absolute error on the held-back pairs."""
        self.network.network.eval()
        with torch.no_grad():
            guesses = self.network(self.inputs[-self.held_back :])
            return float(functional.l1_loss(guesses, self.targets[-self.held_back :]))
