"""From figures to levels, and from all levels and controls to the verdict of a gallery."""

from collections.abc import Sequence
from typing import Final

from avih.attack.verdict import LEVELS, Level
from avih.attack.verdict import named_level as judged
from avih.lab.result import AttackEntry, AttackVerdict, ControlResult, Measured, Verdict
from avih.lab.settings import LabLimits

SURE: Final = 0.001  # chance that a blind guess is recognised as often, below which a rate is no luck
UNLIKELY: Final = 0.01  # the same for a warning, against the pass limit
SHOWN: Final[dict[str, AttackVerdict]] = {
    "by design": "by design", "no evidence": "no evidence", "owner": "measured"
}  # fmt: skip


def level_of(figures: Measured, *, limits: LabLimits, chance: float, identity: bool) -> Level:
    """Judge one guess by how far it is above the guess without the picture.

    Args:
        figures: the measured guess.
        limits: the limits.
        chance: rate of naming a person of the references at random.
        identity: whether the second recogniser is good enough to count.
    """
    levels = [_similarity(figures, limits)]
    if identity:
        levels += [_identification(figures, limits, chance), _verification(figures, limits)]
    return max(levels, key=LEVELS.index)


def _similarity(figures: Measured, limits: LabLimits) -> Level:
    if figures.ssim_advantage >= limits.fail_ssim_advantage:
        return "fail"
    return "pass" if figures.ssim_advantage <= limits.pass_ssim_advantage else "warn"


def _identification(figures: Measured, limits: LabLimits, chance: float) -> Level:
    rate, prior = figures.id_rate, figures.prior_id_rate
    if rate is None or prior is None:
        return "pass"
    return named_level(rate, prior, tries=figures.id_images, chance=chance, limits=limits)


def named_level(
    rate: float, prior: float, *, tries: int, limits: LabLimits, chance: float | None = None
) -> Level:
    """Judge rank-1: a rate over few pictures moves by luck, so it has to be surely above its limit.

    Args:
        rate: share of ``tries`` pictures that were named right.
        prior: the same without the picture.
        tries: pictures.
        limits: the limits.
        chance: rate of naming a person at random; the prior where that is all it is.
    """
    chance = prior if chance is None else chance
    return judged(
        rate, prior, tries=tries, allowed=max(2 * chance, limits.pass_id_advantage),
        far=limits.fail_id_advantage, sure=SURE, unlikely=UNLIKELY,
    )  # fmt: skip


def _verification(figures: Measured, limits: LabLimits) -> Level:
    """Judge TAR: from the limit on, where the whole interval is above what blind guesses reach."""
    tar, prior = figures.tar, figures.prior_tar
    if tar is None or prior is None or tar < limits.fail_tar or tar <= prior:
        return "pass"
    low = figures.tar_ci[0] if figures.tar_ci else 0.0
    if low > max(prior, 2 * limits.false_match_rate):
        return "fail"
    return "warn" if low > 0 else "pass"  # a single person who is accepted is luck


def attack_verdict(variants: Sequence[Measured], levels: Sequence[Level], *, kind: str) -> AttackVerdict:
    """Return the verdict of an attack: its worst level, or what it is instead of a judgement.

    Args:
        variants: its guesses; those of another kind than ``key`` are not judged.
        levels: of its findings, where they have one.
        kind: of the attack.
    """
    judged = [one.level for one in variants if one.kind == "key"] + list(levels)
    return max(judged, key=LEVELS.index) if judged else SHOWN.get(kind, "measured")


def verdict_of(attacks: Sequence[AttackEntry], controls: Sequence[ControlResult]) -> Verdict:
    """Combine all attacks that count with the controls.

    An attack that got nothing proves something only if it works where it can; one that got through needs no
    control. Where no attack counts, nothing is proved.
    """
    found = {one.verdict for one in attacks}
    if "fail" in found:
        return "fail"
    if not all(control.ok for control in controls) or "error" in found or not found & set(LEVELS):
        return "attack too weak"
    return "warn" if "warn" in found else "pass"


def worst(variants: Sequence[Measured]) -> Measured:
    """Return the variant with which the attack did best; one that counts for the verdict comes before others."""
    return max(
        variants,
        key=lambda one: (
            one.kind == "key",
            LEVELS.index(one.level),
            one.ssim_advantage + (one.id_advantage or 0.0),
        ),
    )
