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
    return named_level(
        rate, rate - advantage, tries=tries, allowed=max(2 * chance, settings.pass_id_advantage),
        far=settings.fail_id_advantage, sure=settings.fail_significance, unlikely=settings.warn_significance,
    )  # fmt: skip


def named_level(
    rate: float, prior: float, *, tries: int, allowed: float, far: float, sure: float, unlikely: float
) -> Level:
    """Judge how often pictures were named right.

    Args:
        rate: share of ``tries`` pictures that were named right.
        prior: the same without the picture.
        tries: pictures.
        allowed: over the prior; pass up to here.
        far: over the prior; fail from here on, if it is more than allowed, and surely so.
        sure: chance of so many hits at the prior's rate, below which it is no luck.
        unlikely: the same for a warning, at the allowed rate.
    """
    advantage, hits = rate - prior, round(rate * tries)
    far = max(far, min(allowed, 1 - prior))  # all right is far, whatever chance is
    if advantage >= far - ROUNDING and at_least(hits, tries=tries, rate=prior) < sure:
        return "fail"
    within = advantage <= allowed + ROUNDING
    # All right is told, even where so few are no surprise at the allowed rate: more they could not show.
    limit = prior if hits == tries else min(1.0, prior + allowed)
    luck = at_least(hits, tries=tries, rate=limit) >= unlikely
    return "pass" if within or luck else "warn"


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
