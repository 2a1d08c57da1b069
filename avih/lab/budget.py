"""The leak-budget curve: how much falls with how many leaked pairs of one key."""

from collections.abc import Sequence

from avih.attack.verdict import LEVELS
from avih.lab.result import AttackEntry, BudgetPoint, LeakBudget, Measured

SOURCE = "same_key_network"


def leak_budget(results: Sequence[AttackEntry]) -> LeakBudget | None:
    """Take what the networks reached at every size of the leak; None where that attack was not run."""
    variants = [
        one for result in results if result.name == SOURCE for one in result.variants if "pairs" in one.facts
    ]
    if not variants:
        return None
    sizes = sorted({int(one.facts["pairs"]) for one in variants})
    points = tuple(_point(size, [one for one in variants if one.facts["pairs"] == size]) for size in sizes)
    return LeakBudget(points=points, n10=_reaching(points, 0.1), n50=_reaching(points, 0.5), most=sizes[-1])


def _point(size: int, tried: Sequence[Measured]) -> BudgetPoint:
    """Take each figure from the network that was best at it: one names more, another looks more alike."""
    named = max(tried, key=lambda one: -1.0 if one.id_advantage is None else one.id_advantage)
    alike = max(tried, key=lambda one: one.ssim_advantage)
    return BudgetPoint(
        pairs=size,
        id_rate=named.id_rate,
        id_advantage=named.id_advantage,
        id_advantage_ci=named.id_advantage_ci,
        ssim_advantage=alike.ssim_advantage,
        ssim_advantage_ci=alike.ssim_advantage_ci,
        level=max((one.level for one in tried), key=LEVELS.index),
    )


def _reaching(points: Sequence[BudgetPoint], rate: float) -> int | None:
    """Return the fewest pairs with which so many are named over the prior, and not by luck; None: never."""
    for one in points:
        if one.level != "pass" and one.id_advantage is not None and one.id_advantage >= rate:
            return one.pairs
    return None
