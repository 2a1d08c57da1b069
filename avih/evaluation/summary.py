"""Condense the figures of a gallery's images into one summary, and check it against the limits.

The rows come in parts, of which only sums are kept: a gallery of any size takes the same memory.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from avih.errors import UsageError
from avih.evaluation.identification import IdentificationResult

COUNTED: Final = ("protected", "below_quality")
MEANS: Final = {
    "ssim_e": "ssim_e",
    "ssim_d": "ssim_d",
    "lpips_e": "lpips_e",
    "lpips_d": "lpips_d",
    "cos_mean": "cos",
    "wrong_key_ssim_d": "wrong_key_ssim_d",
    "seconds_per_image": "seconds",
}
KEYS: Final = (
    *("ssim_e", "ssim_d", "lpips_e", "lpips_d", "cos_mean", "cos_min"),
    *("acc_original", "acc_one", "acc_all", "wrong_key_ssim_d", "seconds_per_image"),
)
EVERY: Final = {"ssim_e": "SSIM_e", "ssim_d": "SSIM_d", "cos": "cos"}  # what every image that counts has
ROUNDING: Final = 1e-9  # 0.98 - 0.97 is 0.010000000000000009; that is no broken limit of 0.01

Summary = dict[str, float | None]


class Limits(BaseModel):
    """What a protected gallery must keep to before it is promoted; a figure equal to its limit is fine."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    ssim_e_max: float = Field(
        default=0.03, ge=-1, le=1, description="Highest mean SSIM between protected images and originals."
    )
    ssim_d_min: float = Field(
        default=0.88, ge=-1, le=1, description="Lowest mean SSIM between recovered images and originals."
    )
    cos_mean_min: float = Field(
        default=0.995,
        ge=-1,
        le=1,
        description="Lowest mean cosine between the features of protected images and originals.",
    )
    cos_min_min: float = Field(
        default=0.98, ge=-1, le=1, description="Lowest cosine that any single image's features may have."
    )
    accuracy_drop_max: float = Field(
        default=0.01,
        ge=0,
        le=1,
        description="Largest drop of rank-1 accuracy, as a fraction, from ORIGINAL to ONE and to ALL.",
    )
    wrong_key_ssim_d_max: float = Field(
        default=0.15,
        ge=-1,
        le=1,
        description="Highest mean SSIM between originals and what another key recovers.",
    )
    removed_max: float = Field(
        default=0.25,
        ge=0,
        le=1,
        description="Largest share of the current version's photos that a new version may drop or change.",
    )


# Key of the summary, its name for people, its limit, and whether the limit is a ceiling.
BOUNDS: Final = (
    ("ssim_e", "SSIM_e", "ssim_e_max", True),
    ("ssim_d", "SSIM_d", "ssim_d_min", False),
    ("cos_mean", "mean cos", "cos_mean_min", False),
    ("cos_min", "lowest cos", "cos_min_min", False),
    ("wrong_key_ssim_d", "wrong-key SSIM_d", "wrong_key_ssim_d_max", True),
)
ACCURACIES: Final = (("acc_one", "ONE"), ("acc_all", "ALL"))


def measured(rows: pd.DataFrame, column: str) -> NDArray[np.float64]:
    """Return a column's values of the images that count (protected or below quality) and have one.

    Shape: float64 (k,), all finite, k at most the number of rows.

    Raises:
        UsageError: the table lacks the column or the status.
    """
    missing = [name for name in ("status", column) if name not in rows.columns]
    if missing:
        raise UsageError(
            f"Expected a table of images with the columns status and {column}, got none named "
            f"{' or '.join(missing)}: leave a metric that was not measured empty, but keep its column."
        )
    counted = rows.loc[rows["status"].isin(COUNTED), column]
    values = pd.to_numeric(counted, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    return values[np.isfinite(values)]


@dataclass
class Values:
    """What the values of one column add up to."""

    count: int = 0
    total: float = 0.0
    lowest: float = math.inf
    highest: float = -math.inf

    def add(self, values: NDArray[np.float64]) -> None:
        """Take in more values; the sum is rounded once per call, however many there are."""
        if values.size:
            self.count += values.size
            self.total = math.fsum((self.total, *values))
            self.lowest = min(self.lowest, float(values.min()))
            self.highest = max(self.highest, float(values.max()))

    @property
    def mean(self) -> float | None:
        """The mean, or None of no values."""
        return self.total / self.count if self.count else None


class Tally:
    """What a gallery's rows add up to, taken in part by part.

    Attributes:
        statuses: images by status.
        reasons: images by the first word of their reason.
        figures: by column.
    """

    def __init__(self) -> None:
        self.statuses: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        self.figures = {column: Values() for column in MEANS.values()}

    @classmethod
    def of(cls, tables: Iterable[pd.DataFrame]) -> Self:
        """Take in all tables."""
        tally = cls()
        for table in tables:
            tally.add(table)
        return tally

    def add(self, rows: pd.DataFrame) -> None:
        """Take in the rows of more images.

        Args:
            rows: one row per input image with the columns status, ssim_e, ssim_d, lpips_e, lpips_d, cos,
                wrong_key_ssim_d and seconds, empty (None or NaN) where an image has no such figure; and reason,
                if there is one.

        Raises:
            UsageError: the table lacks a column.
        """
        for column, figure in self.figures.items():
            figure.add(measured(rows, column))
        self.statuses.update(rows["status"].tolist())
        if "reason" in rows.columns:
            given = rows["reason"].dropna()
            self.reasons.update(text.split(" ")[0] for text in given.tolist() if text)


def summarise(tally: Tally, identification: IdentificationResult) -> Summary:
    """Return the gallery's figures: means over the images that count, and the rank-1 accuracies.

    Args:
        tally: what the gallery's rows add up to.
        identification: the accuracies.

    Returns:
        Plain floats by name, ready for JSON; None where no image has the figure.
    """
    found: Summary = {key: tally.figures[column].mean for key, column in MEANS.items()}
    cos = tally.figures["cos"]
    found["cos_min"] = cos.lowest if cos.count else None
    for key in ("acc_original", "acc_one", "acc_all"):
        value = getattr(identification, key)
        found[key] = None if value is None else float(value)
    return {key: found[key] for key in KEYS}


def check_limits(summary: Mapping[str, float | None], limits: Limits) -> list[str]:
    """Return one sentence per broken limit; none means that every figure that exists keeps to its own.

    A figure that does not exist breaks nothing here (:func:`unchecked_limits` names it), except that a summary
    without any figure is reported: a gallery of which nothing is known is not a good one.
    """
    if len(unchecked_limits(summary)) == len(BOUNDS) + len(ACCURACIES):
        return ["No figure was measured, so no limit could be checked"]
    broken = []
    for key, name, field, ceiling in BOUNDS:
        value, limit = summary.get(key), float(getattr(limits, field))
        if value is None:
            continue
        if (value - limit if ceiling else limit - value) > ROUNDING:
            side = "above" if ceiling else "below"
            broken.append(f"{name} {_digits(value, limit)} is {side} the limit {limit:g}")
    before, limit = summary.get("acc_original"), limits.accuracy_drop_max
    for key, name in ACCURACIES:
        after = summary.get(key)
        if before is not None and after is not None and before - after > limit + ROUNDING:
            broken.append(
                f"{name} accuracy {after:.3f} is {_digits(before - after, limit)} below ORIGINAL "
                f"{before:.3f}, more than the limit {limit:g}"
            )
    return broken


def unmeasured(tally: Tally) -> list[str]:
    """Return one sentence per figure that some images lack although every protected image has it.

    A mean over the others would say nothing of them: features that are not finite have no cosine.
    """
    counted = sum(tally.statuses[status] for status in COUNTED)
    lacking = ((name, counted - tally.figures[column].count) for column, name in EVERY.items())
    return [f"{name} was not measured for {count} of {counted} images" for name, count in lacking if count]


def unchecked_limits(summary: Mapping[str, float | None]) -> list[str]:
    """Name the figures that have a limit but were not measured, so that a report can say so."""
    names = [name for key, name, _, _ in BOUNDS if summary.get(key) is None]
    without = summary.get("acc_original") is None
    return names + [f"{name} accuracy" for key, name in ACCURACIES if without or summary.get(key) is None]


def _digits(value: float, limit: float) -> str:
    """Write a figure with three decimals, or with as many as it takes to tell it from its limit."""
    for places in range(3, 9):
        text = f"{value:.{places}f}"
        if float(text) != limit:
            return text
    return repr(value)
