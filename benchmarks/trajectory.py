"""How a variant's pictures get better with time: snapshots on the way, taken while the clock stands still."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from avih.images import to_pixels, to_tensor
from avih.recognisers import Recogniser
from avih.settings import ProtectSettings
from benchmarks.baseline import AuthorsSettings, protect_like_the_authors, uniform_noise
from benchmarks.machine import synchronise
from benchmarks.ours import run_ours

Picture = NDArray[np.uint8]
Pictures = NDArray[np.uint8]

# (up to this step, one snapshot every so many steps): a time is read to a tenth or so at any speed.
SPACING = ((50, 5), (100, 10), (300, 25), (10**9, 50))


def watched_steps(last: int) -> tuple[int, ...]:
    """Return the steps after which a snapshot is taken: sparser as it goes, and always the last."""
    steps, step = [], 0
    while step < last:
        step = min(last, step + next(gap for limit, gap in SPACING if step < limit))
        steps.append(step)
    return tuple(steps)


class Stopwatch:
    """Counts the seconds that are spent on optimising, and none of what happens inside :meth:`paused`.

    Args:
        device: waited for before the time is read.
        now: where the time comes from.
    """

    def __init__(
        self, device: torch.device | str = "cpu", now: Callable[[], float] = time.perf_counter
    ) -> None:
        self._device, self._now = device, now
        self._counted, self._since = 0.0, 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Count the time inside."""
        synchronise(self._device)
        self._since = self._now()
        yield
        self._stop()

    @contextmanager
    def paused(self) -> Iterator[float]:
        """Give the seconds so far and do not count the time inside."""
        self._stop()
        yield self._counted
        self._since = self._now()

    @property
    def seconds(self) -> float:
        """The seconds counted while it ran."""
        return self._counted

    def _stop(self) -> None:
        synchronise(self._device)
        self._counted += self._now() - self._since


@dataclass(frozen=True)
class Snapshot:
    """Pictures as they would be stored after some steps.

    Shape:
        - pixels: uint8 ``(n, H, W, 3)``.
    """

    step: float
    seconds: float
    pixels: Pictures


@dataclass(frozen=True)
class Course:
    """What one variant did with one set of pictures.

    Args:
        snapshots: on the way, without stopping early.
        shipped: the result of the variant as users get it, with its own stop rule; its step is a mean.
        batch_size: pictures optimised together.
        nonces: one per picture; empty strings where the recovery knows none.
    """

    snapshots: tuple[Snapshot, ...]
    shipped: Snapshot
    batch_size: int
    nonces: tuple[str, ...]


class Recorder:
    """Takes snapshots of a batch at certain steps; hand it to a loop as its ``watch``."""

    def __init__(
        self, *, steps: Sequence[int], clock: Stopwatch, progress: Callable[[int], None] | None = None
    ) -> None:
        self.snapshots: list[Snapshot] = []
        self._wanted, self._clock, self._progress, self._seen = frozenset(steps), clock, progress, 0

    def __call__(self, step: int, images: Tensor) -> None:
        """Keep the pictures, rounded to 8 bits, if it is time to."""
        if step not in self._wanted:
            return
        with self._clock.paused() as seconds:
            self.snapshots.append(Snapshot(step, seconds, to_pixels(images)))
            if self._progress is not None:
                self._progress((step - self._seen) * len(images))
            self._seen = step


def put_together(batches: Sequence[Sequence[Snapshot]]) -> tuple[Snapshot, ...]:
    """Join the snapshots of batches that ran one after another: seconds add up, pictures stand side by side."""
    return tuple(
        Snapshot(
            step=parts[0].step,
            seconds=sum(part.seconds for part in parts),
            pixels=np.concatenate([part.pixels for part in parts]),
        )
        for parts in zip(*batches, strict=True)
    )


def watch_authors(
    *,
    pictures: Sequence[Picture],
    generator: nn.Module,
    recogniser: Recogniser,
    settings: AuthorsSettings,
    batch_size: int,
    seed: int,
    device: str = "cpu",
    progress: Callable[[int], None] | None = None,
) -> Course:
    """Run the authors' loop in batches of ``batch_size`` and watch it; it ships what it ends with."""
    wanted, batches = watched_steps(settings.steps), []
    for begin in range(0, len(pictures), batch_size):
        clock = Stopwatch(device)
        recorder = Recorder(steps=wanted, clock=clock, progress=progress)
        originals = to_tensor(list(pictures[begin : begin + batch_size])).to(device)
        start = uniform_noise(tuple(originals.shape), seed=seed + begin, device=device)
        with clock.running():
            protect_like_the_authors(
                originals=originals,
                start=start,
                generator=generator,
                recogniser=recogniser,
                settings=settings,
                watch=recorder,
            )
        batches.append(recorder.snapshots)
    snapshots = put_together(batches)
    return Course(snapshots, snapshots[-1], min(batch_size, len(pictures)), ("",) * len(pictures))


def watch_ours(
    *,
    pictures: Sequence[Picture],
    names: Sequence[str],
    generator: nn.Module,
    recogniser: Recogniser,
    settings: ProtectSettings,
    secret: bytes,
    device: str = "cpu",
    progress: Callable[[int], None] | None = None,
) -> Course:
    """Run our loop without its stop rule and watch it, then once more as users run it.

    Settings without a stop rule are run once: the watched run is then what users get.
    """
    size = min(settings.batch_size, len(pictures))
    batches, ends, shipped = [], [], []
    for begin in range(0, len(pictures), size):
        chosen, ids = list(pictures[begin : begin + size]), list(names[begin : begin + size])
        clock = Stopwatch(device)
        recorder = Recorder(steps=watched_steps(settings.steps), clock=clock, progress=progress)
        # The loop fills up a batch that is not full; users' galleries have enough to fill it.
        settings = settings.model_copy(update={"batch_size": size})
        unstopped = settings.model_copy(update={"stop_cosine": None})
        with clock.running():
            result = run_ours(
                pictures=chosen, names=ids, generator=generator, recogniser=recogniser,
                settings=unstopped, secret=secret, watch=recorder,
            )  # fmt: skip
        batches.append(recorder.snapshots)
        if settings.stop_cosine is not None:
            clock = Stopwatch(device)
            with clock.running():
                result = run_ours(
                    pictures=chosen, names=ids, generator=generator, recogniser=recogniser,
                    settings=settings, secret=secret,
                )  # fmt: skip
        ends.append(clock.seconds)
        shipped.extend(result)
    final = Snapshot(
        step=float(np.mean([one.steps for one in shipped])),
        seconds=sum(ends),
        pixels=np.stack([one.pixels for one in shipped]),
    )
    return Course(put_together(batches), final, size, tuple(one.nonce for one in shipped))
