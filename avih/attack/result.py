"""What an attack check found: numbers only."""

from typing import Literal

from avih.attack.measure import Figures
from avih.attack.verdict import Level, Verdict
from avih.settings import Frozen

Network = Literal["plain", "with generator"]


class NewKeyFigures(Figures):
    """The set on which the attack did best, and both sets; None: there are no such images."""

    same_images: Figures | None
    other_persons: Figures | None


class CurvePoint(Frozen):
    """One attack network: how many pairs it had, and what it reached on other images of the same key."""

    pairs: int
    network: Network
    steps: int
    level: Level
    ssim: float
    ssim_advantage: float
    id_rate: float | None
    id_advantage: float | None


class AttackResult(Frozen):
    """What the attack check found; numbers only.

    Attributes:
        prior: the blank guess at the images that were not leaked.
        control: the positive control.
        old_key: leaked images of the old key (keyed, sealed), or its other images (unmixed: the control).
        same_key_other_images: images of the old key that were not leaked, at the whole leak.
        new_key: None where there is no older key to attack with.
        recommended_budget: most pairs that helped no attack; None: no limit was seen.
    """

    verdict: Verdict
    prior: Figures
    control: Figures
    old_key: Figures
    new_key: NewKeyFigures | None
    same_key_other_images: Figures
    curve: tuple[CurvePoint, ...]
    recommended_budget: int | None
    notes: tuple[str, ...]
