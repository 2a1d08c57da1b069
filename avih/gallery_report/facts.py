"""What the report of a gallery version tells: counts, figures and protected pictures, never an original."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import pandas as pd

from avih.evaluation.quality_plot import Distribution
from avih.evaluation.summary import COUNTED, Limits

STATUSES: Final = ("protected", "below_quality", "skipped", "failed")
Accounting = Mapping[str, Mapping[str, int]]


@dataclass(frozen=True)
class KeyFacts:
    """A key as everybody may know it.

    Attributes:
        made: day.
        used: pictures that count as leaked, over all galleries of the key.
    """

    key_id: str
    state: str
    made: str
    used: int
    limit: int


@dataclass(frozen=True)
class Point:
    """One version on the way to this one."""

    version: str
    metrics: Mapping[str, float | None]
    images: Mapping[str, int]

    @property
    def protected(self) -> int:
        """Photos that have a protected picture."""
        return sum(self.images.get(status, 0) for status in COUNTED)

    @property
    def left_out(self) -> int:
        """Photos without one."""
        return sum(self.images.values()) - self.protected


@dataclass(frozen=True)
class Now:
    """How a gallery is at the moment somebody looks; no part of a report that is kept.

    Attributes:
        live: whether this version serves.
        headline: the same in words.
        rows: names, and what is known of each.
        links: names, and where to find more.
        browse: address of the page of all pictures, where there is one.
    """

    live: bool
    headline: str
    rows: tuple[tuple[str, str], ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    browse: str = ""


@dataclass(frozen=True, eq=False)
class GalleryFacts:
    """Everything that the report tells of one version.

    Attributes:
        photos: of the source, as the index has them.
        accounting: photos by status and reason; an empty reason is none.
        metrics: None where the version was not evaluated.
        pictures: a few protected pictures as PNG files.
        trend: versions up to this one that were evaluated, oldest first.
        links: names, and where to find more.
        now: absent from a report that is kept.
    """

    gallery: str
    version: str
    key_id: str
    method: str
    recovery: str
    recogniser: str
    fingerprint: str
    code_version: str
    photos: int
    accounting: Accounting
    metrics: Mapping[str, float | None] | None
    limits: Limits
    broken: tuple[str, ...]
    notes: tuple[str, ...]
    persons: int | None
    distributions: tuple[Distribution, ...]
    key: KeyFacts | None
    pictures: tuple[bytes, ...]
    trend: tuple[Point, ...]
    links: tuple[tuple[str, str], ...] = ()
    now: Now | None = None

    def count(self, *statuses: str) -> int:
        """Return how many photos ended like this."""
        return sum(sum(self.accounting.get(status, {}).values()) for status in statuses)

    @property
    def accounted(self) -> int:
        """All photos that have a status."""
        return self.count(*self.accounting)


def account(tables: Iterable[pd.DataFrame]) -> dict[str, dict[str, int]]:
    """Count photos by status and by the words of their reason.

    Args:
        tables: columns status and reason, in parts.
    """
    found: dict[str, Counter[str]] = {status: Counter() for status in STATUSES}
    for table in tables:
        reasons = table["reason"].fillna("").astype(str)
        for status, reason in zip(table["status"].tolist(), reasons, strict=True):
            found.setdefault(str(status), Counter())[short_reason(reason)] += 1
    return {status: dict(sorted(counts.items(), key=_most_first)) for status, counts in found.items()}


def short_reason(reason: str) -> str:
    """Return a reason without its figures: ``cos 0.97 below 0.98; SSIM_d 0.8 below 0.9`` is two names."""
    return " and ".join(part.split(" ")[0] for part in reason.split("; ") if part)


def _most_first(entry: tuple[str, int]) -> tuple[int, str]:
    return -entry[1], entry[0]
