"""What pictures are worth, from their stored files, and when a variant has reached what another ends with."""

import copy
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from avih.evaluation.metrics import cosine, ssim
from avih.images import decode_png, encode_png, to_tensor
from avih.recovery import Stored, recover
from avih.settings import Recovery
from benchmarks.trajectory import Course, Snapshot

Picture = NDArray[np.uint8]

TOLERANCE = 0.01  # absolute, on SSIM_e and wrong-key SSIM_d
OWN_SLACK = 0.001  # absolute, on the baseline's own SSIM_d and cos


@dataclass(frozen=True)
class Quality:
    """Means over pictures, the worst for ``cos_worst``; as in DESIGN: SSIM_e and wrong-key SSIM_d low is good."""

    ssim_e: float
    ssim_d: float
    cos: float
    cos_worst: float
    wrong_key_ssim_d: float

    def as_dict(self) -> dict[str, float]:
        """Return plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Moment:
    """The quality after some steps and the seconds per image they took."""

    step: float
    seconds_per_image: float
    quality: Quality


@dataclass(frozen=True)
class KeyPair:
    """A key and a wrong one: what the owner recovers with, and what somebody else would."""

    recovery: Recovery
    generator: nn.Module
    wrong_generator: nn.Module
    secret: bytes
    wrong_secret: bytes

    def recover(self, stored: Sequence[Picture], nonces: Sequence[str], *, wrong: bool) -> list[Picture]:
        """Recover stored pictures with the key, or with the wrong one."""
        samples = [Stored(nonce, picture, nonce) for nonce, picture in zip(nonces, stored, strict=True)]
        return recover(
            samples,
            secret=self.wrong_secret if wrong else self.secret,
            generator=self.wrong_generator if wrong else self.generator,
            recovery=self.recovery,
        )


def on_cpu(network: nn.Module) -> nn.Module:
    """Return the network on the CPU, where every device's results are judged alike and in float32."""
    parameter = next(network.parameters(), None)
    return network if parameter is None or parameter.device.type == "cpu" else copy.deepcopy(network).cpu()


class Judge:
    """Measures pictures of one set of originals after a round trip through 8-bit files.

    Args:
        originals: the aligned pictures.
        recogniser: on the CPU, float32.
        folder: where the files are written; emptied by its owner.
    """

    def __init__(self, *, originals: Sequence[Picture], recogniser: nn.Module, folder: Path) -> None:
        self.originals, self.recogniser, self.folder = list(originals), recogniser, folder
        self.features = self._features(self.originals)

    def quality(self, pixels: Sequence[Picture], *, keys: KeyPair, nonces: Sequence[str]) -> Quality:
        """Return the quality of one picture per original."""
        stored = self._through_files(pixels)
        cosines = cosine(self._features(stored), self.features)
        recovered = keys.recover(stored, nonces, wrong=False)
        guessed = keys.recover(stored, nonces, wrong=True)
        return Quality(
            ssim_e=self._mean_ssim(stored),
            ssim_d=self._mean_ssim(recovered),
            cos=float(cosines.mean()),
            cos_worst=float(cosines.min()),
            wrong_key_ssim_d=self._mean_ssim(guessed),
        )

    def moments(self, course: Course, *, keys: KeyPair) -> tuple[tuple[Moment, ...], Moment]:
        """Judge all snapshots of a course, and what it ships."""

        def judged(snapshot: Snapshot) -> Moment:
            quality = self.quality(list(snapshot.pixels), keys=keys, nonces=course.nonces)
            return Moment(snapshot.step, snapshot.seconds / len(self.originals), quality)

        return tuple(judged(snapshot) for snapshot in course.snapshots), judged(course.shipped)

    def _through_files(self, pixels: Sequence[Picture]) -> list[Picture]:
        paths = [self.folder / f"{number:05d}.png" for number in range(len(pixels))]
        for path, picture in zip(paths, pixels, strict=True):
            path.write_bytes(encode_png(picture))
        return [decode_png(path.read_bytes()) for path in paths]

    def _features(self, pictures: Sequence[Picture]) -> NDArray[np.float32]:
        with torch.no_grad():
            features: NDArray[np.float32] = self.recogniser(to_tensor(list(pictures))).numpy()
        return features

    def _mean_ssim(self, pictures: Sequence[Picture]) -> float:
        return fmean(ssim(picture, x) for picture, x in zip(pictures, self.originals, strict=True))


def shortfalls(quality: Quality, target: Quality, *, slack: float, tolerance: float) -> tuple[str, ...]:
    """Name the figures that are worse than the target's: none means that it is reached.

    Args:
        quality: of the variant.
        target: what the baseline ends with.
        slack: how much lower SSIM_d and cos may be.
        tolerance: how much higher SSIM_e and wrong-key SSIM_d may be.
    """
    checks = {
        "ssim_d": quality.ssim_d >= target.ssim_d - slack,
        "cos": quality.cos >= target.cos - slack,
        "ssim_e": quality.ssim_e <= target.ssim_e + tolerance,
        "wrong_key_ssim_d": quality.wrong_key_ssim_d <= target.wrong_key_ssim_d + tolerance,
    }
    return tuple(name for name, good in checks.items() if not good)


def first_reaching(
    moments: Sequence[Moment], *, target: Quality, slack: float = 0.0, tolerance: float = TOLERANCE
) -> Moment | None:
    """Return the first moment at which nothing is worse than the target, or none."""
    good = (m for m in moments if not shortfalls(m.quality, target, slack=slack, tolerance=tolerance))
    return next(good, None)


def baseline_reaching(moments: Sequence[Moment]) -> Moment:
    """Return the first moment at which the baseline is as good as it ends, within :data:`OWN_SLACK`.

    Whoever knew when to stop the authors' loop would stop it there; the claims are held against that time.
    """
    found = first_reaching(moments, target=moments[-1].quality, slack=OWN_SLACK, tolerance=float("inf"))
    return found or moments[-1]
