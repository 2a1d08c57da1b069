"""What the lab found: numbers and words only, the content of ``verdict.json``."""

from typing import Literal

from pydantic import Field

from avih.attack.verdict import LEVELS, Level
from avih.lab.attack import Kind
from avih.lab.settings import LabLimits
from avih.settings import Frozen

Interval = tuple[float, float] | None
AttackVerdict = Literal[
    "pass", "warn", "fail", "by design", "no evidence", "measured", "does not apply", "error"
]
Verdict = Literal["pass", "warn", "fail", "attack too weak"]


class Measured(Frozen):
    """One variant of an attack, held against the prior: the same guess without the picture.

    Rates are from 0 to 1. ``id_rate`` is the rank-1 rate of the second recogniser, ``tar`` its true accept rate
    at FMR 1e-3, over the ``id_images`` whose persons have reference photos. Intervals are 95 %, by drawing
    persons. None: not measured.
    """

    label: str
    kind: Kind
    level: Level
    facts: dict[str, float | int | str]
    images: int
    ssim: float
    prior_ssim: float
    ssim_advantage: float
    ssim_advantage_ci: Interval
    id_images: int
    id_rate: float | None
    id_ci: Interval
    prior_id_rate: float | None
    id_advantage: float | None
    id_advantage_ci: Interval
    tar: float | None
    tar_ci: Interval
    prior_tar: float | None
    lpips: float | None = None
    prior_lpips: float | None = None


class Told(Frozen):
    """A finding that is no picture."""

    label: str
    values: dict[str, float | None]
    text: str
    level: Level | None = None


class ControlResult(Frozen):
    """Whether the lab measures what it should: a control that behaves as it must."""

    name: str
    ok: bool
    expected: str
    got: str
    figures: Measured


class AttackEntry(Frozen):
    """One attack: the variant that did best first, then all.

    ``ci`` holds the intervals of ``id_rate``, ``id_advantage``, ``ssim_advantage`` and ``tar``.
    """

    name: str
    title: str
    claim: str
    holds: str
    kind: Kind
    verdict: AttackVerdict
    id_rate: float | None = None
    prior_id_rate: float | None = None
    tar: float | None = None
    ssim: float | None = None
    ssim_advantage: float | None = None
    ci: dict[str, Interval] = Field(default_factory=dict)
    cost_s: float = 0.0
    variants: tuple[Measured, ...] = ()
    findings: tuple[Told, ...] = ()
    note: str = ""

    @property
    def counts(self) -> bool:
        """Whether it bears on the gallery's verdict: attacks of any kind may have findings that do."""
        return self.verdict in (*LEVELS, "error")

    @property
    def decided_by(self) -> Told | None:
        """The finding that the verdict rests on, where no variant that counts is as bad."""
        found = max((one for one in self.findings if one.level), key=_rank, default=None)
        shown = max((one for one in self.variants if one.kind == "key"), key=_rank, default=None)
        return found if found and (shown is None or _rank(shown) < _rank(found)) else None


def _rank(judged: Measured | Told) -> int:
    return LEVELS.index(judged.level) if judged.level else -1


class BudgetPoint(Frozen):
    """The leak-budget curve: what so many leaked pairs bring; each figure of the network that is best at it."""

    pairs: int
    id_rate: float | None
    id_advantage: float | None
    id_advantage_ci: Interval
    ssim_advantage: float
    ssim_advantage_ci: Interval
    level: Level


class LeakBudget(Frozen):
    """``n10`` and ``n50``: fewest leaked pairs with 10 and 50 % more identified than without the picture, and not
    by luck; None: never, up to ``most``.
    """

    points: tuple[BudgetPoint, ...]
    n10: int | None
    n50: int | None
    most: int


class LabResult(Frozen):
    """The whole audit."""

    verdict: Verdict
    summary: str
    gallery: str
    version: str
    method: str
    recovery: str
    profile: str
    data: str
    recogniser: str
    second_recogniser: str
    chance: float
    images: int
    persons: int
    targets: int
    controls: tuple[ControlResult, ...]
    attacks: tuple[AttackEntry, ...]
    leak_budget: LeakBudget | None
    limits: LabLimits
    notes: tuple[str, ...]
    seconds: float
