"""From figures to a verdict. A rate over few images moves by luck, so it has to be surely above its limit."""

from collections.abc import Sequence
from typing import Literal

from scipy.stats import binom  # type: ignore[import-untyped]

from avih.attack.measure import Figures
from avih.attack.settings import AttackSettings

Level = Literal["pass", "warn", "fail"]
Verdict = Literal["pass", "warn", "fail", "attack too weak"]
LEVELS: tuple[Level, ...] = ("pass", "warn", "fail")
ROUNDING = 1e-9  # a difference of two rates misses its true value by less


def at_least(hits: int, *, tries: int, rate: float) -> float:
    """Return the chance of ``hits`` or more in ``tries`` at this rate: the binomial distribution's upper tail."""
    return float(binom.sf(hits - 1, tries, rate))


def level_of(figures: Figures, *, chance: float, settings: AttackSettings, identity: bool = True) -> Level:
    """Judge one set: how far similarity and identification are above the blank guess.

    Args:
        figures: the set's figures.
        chance: rate of naming a person of the references at random.
        settings: the limits.
        identity: whether the second recogniser is good enough to count.
    """
    return max(
        _similarity(figures, settings), _identity(figures, chance, settings, identity), key=LEVELS.index
    )


def _similarity(figures: Figures, settings: AttackSettings) -> Level:
    if figures.ssim_advantage >= settings.fail_ssim_advantage:
        return "fail"
    return "pass" if figures.ssim_advantage <= settings.pass_ssim_advantage else "warn"


def _identity(figures: Figures, chance: float, settings: AttackSettings, counts: bool) -> Level:
    rate, advantage, tries = figures.id_rate, figures.id_advantage, figures.id_images
    if not counts or rate is None or advantage is None:
        return "pass"
    prior, hits = rate - advantage, round(rate * tries)
    allowed = max(2 * chance, settings.pass_id_advantage)
    if (
        advantage >= max(settings.fail_id_advantage, allowed) - ROUNDING
        and at_least(hits, tries=tries, rate=prior) < settings.fail_significance
    ):
        return "fail"
    limit = min(1.0, prior + allowed)
    if (
        advantage <= allowed + ROUNDING
        or at_least(hits, tries=tries, rate=limit) >= settings.warn_significance
    ):
        return "pass"
    return "warn"


def worse(sets: Sequence[Figures], *, chance: float, settings: AttackSettings, identity: bool) -> Figures:
    """Return the set on which the attack did best."""

    def rank(figures: Figures) -> tuple[int, float]:
        level = level_of(figures, chance=chance, settings=settings, identity=identity)
        return LEVELS.index(level), figures.ssim_advantage + (figures.id_advantage or 0.0)

    return max(sets, key=rank)


def verdict_of(levels: Sequence[Level], *, control: Figures, settings: AttackSettings) -> Verdict:
    """Combine the levels of all sets that count with the positive control.

    An attack that failed proves something only if it works elsewhere; one that succeeded needs no control.
    """
    if "fail" in levels:
        return "fail"
    if control.ssim_advantage < settings.control_ssim_advantage:
        return "attack too weak"
    return max(levels, key=LEVELS.index, default="warn")


def recommended_budget(curve: Sequence[tuple[int, Level]]) -> int | None:
    """Return the largest number of pairs before the first at which the attack works; None: it never did.

    0: it worked with the fewest pairs that were tried.
    """
    safe = 0
    for pairs in sorted({pairs for pairs, _ in curve}):
        if any(level == "fail" for tried, level in curve if tried == pairs):
            return safe
        safe = pairs
    return None
