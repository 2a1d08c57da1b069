"""The claims of AVIH's section 4.4 and supplementary D, held against mean figures of each variant."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

from avih.reproduction.hiding.visual_losses import VISUAL_LOSSES
from avih.reproduction.outcome import holds
from avih.settings import PAPER_PROTECT

SIZE = 4  # of the papers' kernel, in pixels
SAME = 0.02  # SSIM: less is no difference
BLOCKS = "block variance, 0.001"
METRICS = ("ssim_e", "ssim_d", "ssim_d_external", "cells", "folded", "cos")
Means = dict[str, float]
Kernel = tuple[int, int, float]  # size, stride, weight


def loss_findings(means: Mapping[str, Means]) -> list[str]:
    """Hold the claims of Figures 7 and 16 against the mean figures of each variant."""
    ours, none = means[BLOCKS], means["none"]
    findings = [
        f"Without a visual loss the cells of protected and original correlate at {none['cells']:.2f}, with the "
        f"block variance at {ours['cells']:.2f}; their SSIM_e is {none['ssim_e']:.3f} and {ours['ssim_e']:.3f}."
    ]
    for kind in VISUAL_LOSSES:
        same = {name: one for name, one in means.items() if name.startswith(kind)}
        # The strongest weight that recovers as well as the block variance; if none does, the one nearest to it.
        good = [name for name, one in same.items() if one["ssim_d"] >= ours["ssim_d"] - SAME]
        name = good[-1] if good else max(same, key=lambda one: same[one]["ssim_d"])
        one = same[name]
        figures = ", ".join(f"{metric} {one[metric]:.3f} ({ours[metric]:.3f})" for metric in METRICS[:4])
        findings.append(
            f"{name} (in brackets: block variance): {figures}. "
            f"That it shows more of the original {holds(one['cells'] > ours['cells'])}; that an external key "
            f"recovers more of it {holds(one['ssim_d_external'] > ours['ssim_d_external'])}."
        )
    far = [one for name, one in means.items() if name.startswith(next(iter(VISUAL_LOSSES)))]
    free = [one for one in far if one["cells"] <= ours["cells"] and one["ssim_d"] >= ours["ssim_d"] - SAME]
    least = min(far, key=lambda one: one["cells"])
    findings.append(
        f"That the distance to the original cannot hide as much and recover as well {holds(not free)}: where it "
        f"shows least, cells {least['cells']:.2f} and SSIM_d {least['ssim_d']:.3f}."
    )
    findings.append(
        f"Under the block variance the distances to middle grey correlate with the original at "
        f"{ours['folded']:.2f}, without a visual loss at {none['folded']:.2f}: what is folded is a second view."
    )
    return findings


def kernel_findings(means: Mapping[Kernel, Means]) -> list[str]:
    """Hold the claims of section 4.4 on kernel, stride and weight against the mean figures."""
    usual, findings = PAPER_PROTECT.variance_weight, []
    sizes = [means[one] for one in sorted(means) if one[1] == 1 and one[2] == usual]
    findings.append(
        f"That recovery gets worse as blocks grow (stride 1) {holds(_falls(sizes, 'ssim_d'))}: SSIM_d "
        f"{_list(sizes, 'ssim_d')}."
    )
    strides = [means[one] for one in sorted(means) if one[0] == SIZE and one[2] == usual]
    if len(strides) > 1:
        findings.append(
            f"That less overlap hides less (k {SIZE}) {holds(_falls(strides[::-1], 'cells'))}: cells "
            f"{_list(strides, 'cells')}, SSIM_e {_list(strides, 'ssim_e')}."
        )
    weak, strong = means[SIZE, 1, usual], means[SIZE, 1, 10 * usual]
    far = max(abs(weak[metric] - strong[metric]) for metric in ("ssim_e", "ssim_d"))
    findings.append(
        f"That weights of 0.001 and 0.01 differ slightly {holds(far <= 2 * SAME)}: SSIM_e and SSIM_d differ "
        f"by at most {far:.3f}."
    )
    return findings


def _falls(found: Sequence[Means], metric: str) -> bool:
    values = [one[metric] for one in found]
    return all(after < before for before, after in pairwise(values))


def _list(found: Sequence[Means], metric: str) -> str:
    return ", ".join(f"{one[metric]:.3f}" for one in found)
