"""A training that is watched: what its generator is worth at growing times, while the clock stands still."""

import copy
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any, Final

import numpy as np
import torch
from torch import nn

from avih.datasets.pictures import public_pictures
from avih.evaluation.metrics import ssim
from avih.generators.codec import CodecGenerator, encode
from avih.images import to_pixels, to_tensor
from avih.key_training import PictureSampler, train_generator
from avih.recognisers import Recogniser
from avih.settings import KeySettings, ProtectSettings, preset
from benchmarks.machine import err, synchronise
from benchmarks.ours import run_ours
from benchmarks.quality import Judge, KeyPair, Quality, on_cpu
from benchmarks.subjects import SECRET, WRONG_SECRET, Picture

LOOK_EVERY: Final = 1.25  # times the seconds of the look before
PROTECT_EVERY: Final = 3  # looks
FIRST_LOOK: Final = 5.0  # seconds
WORTH_PROTECTING: Final = 0.5  # SSIM of G(x) against x


@dataclass(frozen=True)
class Look:
    """A generator in training, looked at.

    Args:
        seconds: of training so far.
        step: training steps so far.
        identity: mean SSIM of G(x) against x, from 8-bit pictures.
        quality: of pictures that were protected with it; none where only the identity was looked at.
    """

    seconds: float
    step: int
    identity: float
    quality: Quality | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Examiner:
    """Measures generators on the same faces.

    Args:
        faces: for the identity; the first ``protected`` of them are protected.
        recogniser: on the device where pictures are protected.
        steps: most steps of protecting; none: the preset's.
        folder: where pictures are stored for a moment.
    """

    faces: tuple[Picture, ...]
    protected: int
    recogniser: Recogniser
    steps: int | None
    folder: Path

    def identity(self, generator: nn.Module) -> float:
        """Return the mean SSIM of G(x) against x, after rounding to 8 bits."""
        judged = _resting(on_cpu(generator))
        inputs = [encode(face) for face in self.faces] if _is_codec(judged) else self.faces
        with torch.no_grad():
            outputs = [to_pixels(judged(to_tensor([picture])))[0] for picture in inputs]
        return fmean(ssim(face, output) for face, output in zip(self.faces, outputs, strict=True))

    def quality(self, generator: nn.Module, wrong: nn.Module) -> Quality:
        """Protect some faces with the preset's loop and return what the stored pictures are worth."""
        judged, pictures = _resting(generator), list(self.faces[: self.protected])
        settings = self._protect_settings(judged)
        keys = KeyPair(settings.recovery, on_cpu(judged), on_cpu(wrong), SECRET, WRONG_SECRET)
        hidden = run_ours(
            pictures=pictures,
            names=[str(number) for number in range(len(pictures))],
            generator=judged,
            recogniser=self.recogniser,
            settings=settings,
            secret=SECRET,
        )
        judge = Judge(originals=pictures, recogniser=on_cpu(self.recogniser), folder=self.folder)
        return judge.quality([p.pixels for p in hidden], keys=keys, nonces=[p.nonce for p in hidden])

    def _protect_settings(self, generator: nn.Module) -> ProtectSettings:
        recovery = "keyed" if _is_codec(generator) else "unmixed"
        settings = preset("fast", recovery=recovery).protect
        if self.steps is None:
            return settings
        return ProtectSettings.model_validate(settings.model_dump() | {"steps": self.steps})


def _resting(generator: nn.Module) -> nn.Module:
    """Return a copy that does not train."""
    return copy.deepcopy(generator).eval().requires_grad_(False)


def _is_codec(generator: nn.Module) -> bool:
    return isinstance(generator, CodecGenerator)


class Course:
    """One training, watched: hand it to :func:`avih.key_training.train_generator` as its ``watch``.

    Args:
        settings: the recipe.
        limit: seconds of training after which it ends.
        device: where it trains.
        examiner: looks at the generator; none: nobody does.
        wrong: the generator that protected pictures are also recovered with.
        now: where the time comes from.
    """

    def __init__(
        self,
        *,
        settings: KeySettings,
        limit: float,
        device: torch.device,
        examiner: Examiner | None = None,
        wrong: nn.Module | None = None,
        now: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.settings, self.limit, self._device = settings, limit, device
        self._examiner, self._wrong, self._now = examiner, wrong, now
        self._next = 0.0  # the first look is after the first step
        self._began = now()
        self.looks: list[Look] = []

    def __call__(self, step: int, generator: nn.Module) -> bool:
        """Look, if it is time to, and say whether the training ends here."""
        seconds = self._now() - self._began
        over = seconds >= self.limit or step == self.settings.steps
        if self._examiner is not None and (over or seconds >= self._next):
            synchronise(self._device)
            paused = self._now()
            seconds = paused - self._began
            self._look(self._examiner, generator, step, seconds, over=over)
            self._next = max(FIRST_LOOK, seconds * LOOK_EVERY)
            self._began += self._now() - paused
        return over

    def _look(
        self, examiner: Examiner, generator: nn.Module, step: int, seconds: float, *, over: bool
    ) -> None:
        look = Look(seconds, step, examiner.identity(generator))
        due = look.identity >= WORTH_PROTECTING and len(self.looks) % PROTECT_EVERY == 0
        if self._wrong is not None and (over or due):
            look = replace(look, quality=examiner.quality(generator, self._wrong))
        self.looks.append(look)
        shown = f", SSIM_d {look.quality.ssim_d:.3f}" if look.quality else ""
        err.print(f"  {seconds:.1f} s, step {step}: SSIM(G(x), x) {look.identity:.3f}{shown}")

    def train(self, *, seed: int, size: tuple[int, int]) -> nn.Module:
        """Train on public pictures from a public seed, and return the generator."""
        sampler = PictureSampler(
            pictures=public_pictures(), height=size[0], width=size[1], rng=np.random.default_rng(seed)
        )
        self._began = self._now()
        trained = train_generator(
            settings=self.settings, sampler=sampler, seed=seed, device=self._device, watch=self
        )
        return trained.generator
