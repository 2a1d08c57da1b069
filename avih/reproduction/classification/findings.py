"""What the figures of Tables 5 and 8 of 000 say for or against its claims, in sentences made from the figures."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from scipy.stats import binomtest  # type: ignore[import-untyped]

from avih.reproduction.classification.data import CLASSES

Figures = Mapping[str, Sequence[Any]]

CHANCE: Final = 100 / CLASSES
SLIGHT: Final = 1.0  # points of accuracy; the paper calls 0.25 slight
SURE: Final = 0.05
FEWEST: Final = 100  # with fewer pictures a fall of a few points cannot be told from none
SEEN: Final = 0.1  # differences of SSIM or of correlations from here on are called differences


def kept_accuracy(name: str, avih: Figures) -> str:
    """Say whether AVIH keeps the accuracy, by McNemar's exact test on the same pictures before and after."""
    before, after = (np.asarray(avih[part], dtype=bool) for part in ("before", "after"))
    lost, gained = int((before & ~after).sum()), int((~before & after).sum())
    fall = 100 * (lost - gained) / len(before)
    chance = float(binomtest(lost, lost + gained).pvalue) if lost + gained else 1.0
    if chance < SURE and fall > SLIGHT:
        verdict = "the paper's claim of a very slight impact does not hold here"
    elif fall <= SLIGHT and len(before) >= FEWEST:
        verdict = "as the paper claims, the impact is slight"
    else:
        verdict = "too few pictures to tell whether the paper's claim of a very slight impact holds"
    return (
        f"{name}: AVIH takes accuracy from {100 * before.mean():.1f} to {100 * after.mean():.1f} % "
        f"({lost} of {len(before)} pictures lost, {gained} gained, exact McNemar p = {chance:.2g}): {verdict}."
    )


def why_lost(name: str, avih: Figures) -> str:
    """Say what became of the logits of the pictures whose class was lost; nothing where none was."""
    lost = ~np.asarray(avih["kept"], dtype=bool)
    if not lost.any():
        return ""
    rise, other = (np.asarray(avih[part])[lost] for part in ("rise", "rise_other"))
    return (
        f"{name}: of {int(lost.sum())} pictures whose class AVIH lost, the class's own logit rose in "
        f"{int((rise > 0).sum())}, and the highest of the others rose more in {int((other > rise).sum())}; "
        "Equation 17 raises the one and holds no other down."
    )


def lie_accuracy(name: str, lie: Figures) -> str:
    """Say what a classifier trained on LIE's output reads, and what one that was not does."""
    original, protected, old = (100 * float(np.mean(lie[part])) for part in ("original", "protected", "old"))
    same = "as in the paper" if protected > original + 50 else "unlike the paper"
    return (
        f"{name}: trained on LIE's output it names {protected:.1f} % of that and {original:.1f} % of originals "
        f"(chance: {CHANCE:.0f} %), {same}; not trained anew it names {old:.1f} % of LIE's output."
    )


def itp_accuracy(name: str, itp: Figures, avih: Figures) -> str:
    """Compare what ITP and AVIH cost."""
    costs = [
        100 * float(np.mean(figures[first]) - np.mean(figures[second]))
        for figures, first, second in ((itp, "original", "protected"), (avih, "before", "after"))
    ]
    order = "as" if costs[0] > costs[1] else "other than"
    return (
        f"{name}: ITP costs {costs[0]:.1f} points of accuracy, AVIH {costs[1]:.1f}, {order} in the paper, where "
        "ITP costs more."
    )


def recovery(name: str, avih: Figures, *, paper: float) -> str:
    """Compare AVIH's recovery with the paper's and with that of a wrong key."""
    back, wrong = (float(np.mean(avih[part])) for part in ("ssim_d", "wrong"))
    verdict = "reaches" if back >= paper else "stays below"
    opened = "" if wrong < back / 2 else ": another key of the same recipe opens much of it"
    return (
        f"{name}: AVIH's recovery, SSIM_d {back:.3f}, {verdict} the paper's {paper:.3f}; a wrong key gives "
        f"{wrong:.3f}{opened}."
    )


def lie_exact(name: str, recovered: int, count: int) -> str:
    """Say how many pictures LIE gave back without any difference."""
    verdict = "as the paper says" if recovered == count else "the paper has all"
    return f"{name}: LIE gives {recovered} of {count} pictures back exactly, {verdict}."


def way_back(name: str, itp: Figures) -> str:
    """Say whether ITP's pictures are as unrecoverable as the paper has them."""
    undone, blank = (float(np.mean(itp[part])) for part in ("undone", "blank"))
    verdict = (
        "without a key does not mean without a way back"
        if undone > blank + SEEN
        else "no way back was found by that"
    )
    return (
        f"{name}: a linear guess fitted to leaked pairs brings ITP's pictures back to SSIM {undone:.3f} (the "
        f"mean picture: {blank:.3f}); {verdict}."
    )


def edges(name: str, method: str, figures: Figures) -> str:
    """Say whether a picture's own outlines can be seen in its protected picture."""
    own, other, hidden = (float(np.mean(figures[part])) for part in ("edges", "edges_other", "ssim_e"))
    shown = "its own edges show" if own > other + SEEN else "its own edges hardly show"
    return (
        f"{name}: a picture under {method} has SSIM_e {hidden:.3f}, and edge correlation {own:.2f} with its own "
        f"original, {other:.2f} with another one: {shown}."
    )
