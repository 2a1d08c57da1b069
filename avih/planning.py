"""What a gallery will take, from a small sample: means, ranges, sums, and past plans held against past runs.

Plain arithmetic: nothing is measured, read or printed here. Ranges run from the 10th to the 90th percentile of
the sample, and never closer to the mean than 20 %: a handful of photos knows the mean no better than that.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from statistics import fmean, median
from typing import Final

import numpy as np

from avih.errors import UsageError

NARROWEST: Final = 0.2  # a range reaches at least so far to each side of the mean, in parts of the mean
PERCENTILES: Final = (10, 90)
HOUR: Final = 3600.0


@dataclass(frozen=True)
class Spread:
    """What is expected, and from where to where it may be.

    Attributes:
        mean: the sample's mean.
        low, high: its 10th and 90th percentile, or 20 % below and above the mean if that is further.
    """

    mean: float
    low: float
    high: float

    @classmethod
    def of(cls, sample: Sequence[float]) -> "Spread":
        """Take the mean and the range of a sample.

        Raises:
            UsageError: the sample is empty.
        """
        if not sample:
            raise UsageError("Expected at least one measured value, got none: give a larger sample.")
        mean = fmean(sample)
        low, high = (float(value) for value in np.percentile(sample, PERCENTILES))
        return cls(mean, min(low, mean * (1 - NARROWEST)), max(high, mean * (1 + NARROWEST)))

    def times(self, factor: float) -> "Spread":
        """Return so many times as much; the factor is not negative."""
        return Spread(self.mean * factor, self.low * factor, self.high * factor)

    def plus(self, more: "Spread") -> "Spread":
        """Add another one; both may be low at once, so the lows and the highs add up too."""
        return Spread(self.mean + more.mean, self.low + more.low, self.high + more.high)


NOTHING: Final = Spread(0.0, 0.0, 0.0)


@dataclass(frozen=True)
class StageCost:
    """What one stage takes.

    Attributes:
        stage: ``index``, ``align``, ``key``, ``protect`` or ``evaluate``.
        units: how many there are to do; 0 where nothing is to be done.
        unit: ``images``, or ``steps`` of key training.
        seconds_each: seconds per unit; None where it was not measured, because nothing is to be done.
    """

    stage: str
    units: int
    unit: str
    seconds_each: Spread | None

    @property
    def seconds(self) -> Spread:
        """Seconds of the whole stage."""
        return self.seconds_each.times(self.units) if self.seconds_each and self.units else NOTHING


def hours_in_all(stages: Iterable[StageCost]) -> Spread:
    """Add up the stages, which run one after another."""
    total = NOTHING
    for stage in stages:
        total = total.plus(stage.seconds)
    return total.times(1 / HOUR)


def expected_share(*, photos: int, sampled: int, fitting: int) -> int:
    """Return how many of the photos show a usable face, if all are like those of the sample.

    Raises:
        UsageError: more fit than were sampled, or none was sampled.
    """
    if sampled < 1 or not 0 <= fitting <= sampled:
        raise UsageError(
            f"Expected a sample and at most as many faces as photos, got {fitting} of {sampled}."
        )
    return round(photos * fitting / sampled)


@dataclass(frozen=True)
class ImageTrial:
    """How one image of the sample went.

    Attributes:
        steps: gradient steps that it took.
        done: did it meet the stop rule within the steps that it was given?
    """

    steps: int
    done: bool


def steps_each(trials: Sequence[ImageTrial], *, most: int) -> list[int]:
    """Return the steps that each image will take: its own if it was done, else the most there may be."""
    return [trial.steps if trial.done else most for trial in trials]


def seconds_each(trials: Sequence[ImageTrial], *, seconds: float, most: int) -> list[float]:
    """Return the seconds that each image will take, from a trial that stopped after fewer steps.

    A batch keeps its size to the end (avih/loop.py), so the trial computed as many steps for each image as for
    the one that stayed longest; in a gallery the next image takes the place of one that leaves.

    Args:
        trials: the images of the trial, which filled one batch.
        seconds: what all of them took together.
        most: steps that the settings allow.

    Raises:
        UsageError: no step was taken.
    """
    taken = len(trials) * max((trial.steps for trial in trials), default=0)
    if not taken:
        raise UsageError("Expected at least one step in the sample, got none.")
    return [steps * seconds / taken for steps in steps_each(trials, most=most)]


@dataclass(frozen=True)
class PastPlan:
    """What an earlier plan expected of the optimisation.

    Attributes:
        settings_sha256: digest of the protect settings, as in a shard's done file.
        recogniser: its fingerprint.
        machine: name of the machine it was measured on.
        newest: number of the newest version with protected images at that time; 0 if there was none.
        seconds_each: seconds per image.
    """

    settings_sha256: str
    recogniser: str
    machine: str
    newest: int
    seconds_each: float


@dataclass(frozen=True)
class PastRun:
    """What the optimisation of one version took, counting only images that were made for it.

    Attributes:
        machine: None where the timing does not say.
    """

    version: int
    settings_sha256: str
    recogniser: str
    machine: str | None
    seconds: float
    images: int

    @property
    def seconds_each(self) -> float:
        """Seconds per image."""
        return self.seconds / self.images


def measured(
    runs: Iterable[PastRun], *, settings_sha256: str, recogniser: str, machine: str
) -> list[PastRun]:
    """Return the runs with these settings, this recogniser and, where that is noted, on this machine."""
    return [
        run
        for run in runs
        if (run.settings_sha256, run.recogniser) == (settings_sha256, recogniser)
        and run.machine in (machine, None)
        and run.images
    ]


def ratios(plans: Iterable[PastPlan], runs: Sequence[PastRun]) -> list[float]:
    """Return actual / planned seconds per image of each plan that was followed by a run like it.

    A plan is held against the version made next after it with the same settings and recogniser.
    """
    found = []
    for plan in plans:
        alike = measured(
            runs,
            settings_sha256=plan.settings_sha256,
            recogniser=plan.recogniser,
            machine=plan.machine,
        )
        after = min(
            (run for run in alike if run.version > plan.newest), key=attrgetter("version"), default=None
        )
        if after is not None and plan.seconds_each > 0:
            found.append(after.seconds_each / plan.seconds_each)
    return found


@dataclass(frozen=True)
class Accuracy:
    """How far past plans were off: actual / planned, 1 being right; None where there is nothing to compare.

    Attributes:
        plans: how many were made for the gallery.
        compared: how many of them were followed by a run like it.
    """

    plans: int
    compared: int
    low: float | None = None
    median: float | None = None
    high: float | None = None


def accuracy(plans: Sequence[PastPlan], runs: Sequence[PastRun]) -> Accuracy:
    """Sum up how far the plans of a gallery were off."""
    found = ratios(plans, runs)
    if not found:
        return Accuracy(len(plans), 0)
    return Accuracy(len(plans), len(found), min(found), median(found), max(found))
