"""The leak-budget curve: how much falls with how many leaked pairs of one key."""

from collections.abc import Sequence

from avih.lab.result import AttackEntry, BudgetPoint, LeakBudget, Measured
from avih.lab.verdict import worst

SOURCE = "same_key_network"


def leak_budget(results: Sequence[AttackEntry]) -> LeakBudget | None:
    """Take the best network at every size of the leak; None where that attack was not run."""
    variants = [
        one for result in results if result.name == SOURCE for one in result.variants if "pairs" in one.facts
    ]
    if not variants:
        return None
    sizes = sorted({int(one.facts["pairs"]) for one in variants})
    best = [(size, worst([one for one in variants if one.facts["pairs"] == size])) for size in sizes]
    points = tuple(
        BudgetPoint(
            pairs=size,
            id_rate=one.id_rate,
            id_advantage=one.id_advantage,
            id_advantage_ci=one.id_advantage_ci,
            ssim_advantage=one.ssim_advantage,
            ssim_advantage_ci=one.ssim_advantage_ci,
            level=one.level,
        )
        for size, one in best
    )
    return LeakBudget(points=points, n10=_reaching(best, 0.1), n50=_reaching(best, 0.5), most=sizes[-1])


def _reaching(best: Sequence[tuple[int, Measured]], rate: float) -> int | None:
    """Return the fewest pairs with which so many are named over the prior; None: never."""
    for size, one in best:
        if one.id_advantage is not None and one.id_advantage >= rate:
            return size
    return None
