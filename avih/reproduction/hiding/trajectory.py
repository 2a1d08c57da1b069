"""One run of the paper's rule, looked at on the way: seconds and pictures after each number of iterations.

The rule's step sizes do not depend on how many steps are to come, so one run serves all numbers of iterations.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from avih.evaluation.metrics import cosine, ssim
from avih.images import decode_png, encode_png, to_pixels, to_tensor
from avih.protection import Protector
from avih.reproduction.context import Context
from avih.reproduction.faces import Face, Faces, Picture, faces
from avih.reproduction.hiding.small_keys import small_key, small_network
from avih.reproduction.networks import PUBLIC_SEED, SECRET, Network
from avih.settings import PAPER_PROTECT, ProtectSettings

ITERATIONS = (100, 200, 400, 600, 800)


class Clock:
    """Seconds of work: of the processor on a CPU, so that other programs do not count, else of the wall."""

    def __init__(self, device: str) -> None:
        self.device = device
        self._begun = self._read()

    def __call__(self) -> float:
        """Return the seconds since the clock was made."""
        return self._read() - self._begun

    def _read(self) -> float:
        if self.device == "cpu":
            return time.process_time()
        torch.cuda.synchronize(self.device)
        return time.perf_counter()


@dataclass(frozen=True)
class Run:
    """Pictures that are protected together by the paper's rule, and two keys of the paper's size."""

    context: Context
    source: Faces
    photos: list[Face]
    own: Network
    other: Network

    @property
    def settings(self) -> ProtectSettings:
        """The paper's rule and weights; the generator computes in bfloat16 where that is faster."""
        changed: dict[str, Any] = {"batch_size": len(self.photos), "precision": "auto"}
        if self.context.profile == "full":
            changed["precision"] = "float32"
        return PAPER_PROTECT.model_copy(update=changed | {"steps": max(counts(self.context))})

    def facts(self) -> dict[str, Any]:
        """What the figures depend on."""
        return {
            "photos": [photo.name for photo in self.photos],
            "recogniser": self.source.recogniser.fingerprint,
            "generator": self.own.made,
            "settings": self.settings.digest(),
        }

    def watch(self) -> dict[int, tuple[float, list[Picture]]]:
        """Protect the photos once; return seconds and stored pictures after each number of iterations."""
        wanted, found = set(counts(self.context)), {}
        away = 0.0  # spent on looking, not on iterating
        clock = Clock(self.context.device)

        def look(step: int, images: Tensor) -> None:
            nonlocal away
            if step in wanted:
                seconds = clock()
                pictures = [decode_png(encode_png(one)) for one in to_pixels(images)]
                found[step] = (seconds - away, pictures)
                self.context.tell(f"{step} iterations, {seconds - away:.0f} s")
                away += clock() - seconds

        protector = Protector(SECRET, self.own.generator, self.source.recogniser, self.settings, "iterations")
        protector.protect(
            pictures=[photo.pixels for photo in self.photos],
            images=[photo.name for photo in self.photos],
            watch=look,
        )
        return found

    def measure(self, seconds: float, stored: Sequence[Picture]) -> dict[str, Any]:
        """Measure stored pictures, one value per photo."""
        originals = [photo.pixels for photo in self.photos]
        return {
            "seconds": seconds,
            "ssim_e": _similar(originals, stored),
            "ssim_d": _similar(originals, self.recovered(self.own, stored)),
            "ssim_d_external": _similar(originals, self.recovered(self.other, stored)),
            "cos": cosine(self._features(originals), self._features(stored)).tolist(),
        }

    def recovered(self, key: Network, stored: Sequence[Picture]) -> list[Picture]:
        """Recover with a key."""
        with torch.no_grad():
            return list(to_pixels(key.generator(to_tensor(list(stored)).to(self.context.device))))

    def _features(self, pictures: Sequence[Picture]) -> Any:
        with torch.no_grad():
            return self.source.recogniser(to_tensor(list(pictures)).to(self.context.device)).cpu().numpy()


def _similar(originals: Sequence[Picture], pictures: Sequence[Picture]) -> list[float]:
    return [ssim(x, y) for x, y in zip(originals, pictures, strict=True)]


def counts(context: Context) -> tuple[int, ...]:
    """Return the numbers of iterations that are looked at."""
    return context.size(smoke=(2, 4, 8), cpu=ITERATIONS, full=ITERATIONS)


def start(context: Context, *, persons: int) -> Run:
    """Read one photo of each person and train two keys."""
    source = faces(context)
    photos = source.aligned("test", persons=source.persons("test", most=persons), photos_each=1)
    # The fast recipe of the paper's whole generator: nine blocks, ngf 64.
    recipe = small_key(context, width=64, blocks=9, steps=240)
    own, other = (small_network(context, source, PUBLIC_SEED + number, recipe) for number in range(2))
    return Run(context, source, photos, own, other)


def trajectory(run: Run) -> dict[int, dict[str, Any]]:
    """Return what was measured after each number of iterations; remembered."""

    def compute() -> dict[str, Any]:
        return {str(step): run.measure(*found) for step, found in run.watch().items()}

    found = run.context.remember("avih/iterations/trajectory", run.facts(), compute)
    return {int(step): found[step] for step in sorted(found, key=int)}
