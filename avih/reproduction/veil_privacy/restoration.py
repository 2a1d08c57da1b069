"""Veil Privacy (003), Table 7: veiled and noised pictures, as they are and restored.

The paper restores with GPEN, whose weights are not at hand; scikit-image's denoisers stand in for it. They know
nothing of faces, so they restore less than GPEN does. What needs no restoring stands beside: the folded view.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from skimage.filters import gaussian, median
from skimage.morphology import disk
from skimage.restoration import denoise_nl_means, denoise_tv_chambolle

from avih.reproduction.context import Context
from avih.reproduction.outcome import Outcome, Row, mean_row
from avih.reproduction.veil_privacy.data import Group, groups, how
from avih.reproduction.veil_privacy.inversion import absent_rows, kept_of, mean_of, one_each, photos_each
from avih.reproduction.veil_privacy.kept import baseline, two_parts, veiled
from avih.veil_privacy.flip import Pictures, folded, similarity

Floats = NDArray[np.float64]
# Columns: veiled, veiled and restored, noised, noised and restored; three pictures each.
PAPER: Final[Mapping[str, tuple[tuple[float, ...], ...]]] = {
    "BioID": (
        (0.02903, 0.05010, 0.05238), (0.06315, 0.05621, 0.08083), (0.09249, 0.08740, 0.09153),
        (0.33262, 0.34118, 0.32008),
    ),
    "ORL": (
        (0.03130, 0.04346, 0.03576), (0.08289, 0.08676, 0.04736), (0.10282, 0.11860, 0.09712),
        (0.36875, 0.41322, 0.48241),
    ),
    "LFW": (
        (0.06522, 0.05702, 0.03576), (0.06357, 0.06323, 0.04393), (0.11898, 0.12707, 0.11516),
        (0.43874, 0.40150, 0.40930),
    ),
}  # fmt: skip
COLUMNS: Final = ("veiled", "veiled, restored", "noised", "noised, restored")
LOW: Final = 0.1  # "SSIM remains below 0.1", 003, Section 5.5
SIGMAS: Final = (20, 30, 40, 60, 80, 100, 130)  # of Gaussian noise, in levels of a byte
NONE: Final = "nothing"


_disk: Callable[[int], NDArray[np.uint8]] = disk  # scikit-image has no types


def denoisers() -> dict[str, Callable[[Floats], Floats]]:
    """Return the stand-ins for GPEN by name, on grey pictures ``(H, W)`` in [0, 1]."""
    found: dict[str, Callable[[Floats], Floats]] = {}
    for sigma in (1, 2, 3):
        found[f"a Gaussian filter of {sigma}"] = partial(gaussian, sigma=sigma)
    for radius in (2, 4):
        found[f"a median filter of radius {radius}"] = partial(median, footprint=_disk(radius))
    for weight in (0.1, 0.3, 0.6, 1.0):
        found[f"total variation of {weight:g}"] = partial(denoise_tv_chambolle, weight=weight)
    found["non-local means"] = partial(denoise_nl_means, patch_size=5, patch_distance=6, h=0.3)
    return found


def restored(pictures: Pictures, denoise: Callable[[Floats], Floats]) -> Pictures:
    """Denoise each picture and store it as bytes.

    Shape: uint8 ``(n, 1, H, W)``; the same comes back.
    """
    made = [denoise(picture[0] / 255) for picture in pictures]
    return (np.stack(made)[:, None] * 255).clip(0, 255).round().astype(np.uint8)


def noised(pictures: Pictures, *, sigma: float, seed: int) -> Pictures:
    """Add Gaussian noise and store as bytes; the seed is no secret."""
    noise = np.random.default_rng(seed).normal(0, sigma, pictures.shape)
    return (pictures + noise).clip(0, 255).round().astype(np.uint8)


def figure_5(context: Context) -> Outcome:
    """Make Table 7."""
    found = [kept_of(context, group, "restoration", _measure) for group in groups(context)]
    names = {kind: best([one[kind] for one in found]) for kind in ("veiled", "noised", "folded")}
    papers = [mean_of(column) for column in PAPER["ORL"]]
    chosen = {
        "veiled": _row(found, "veiled", NONE, "ORL: veiled", papers[0]),
        "veiled restored": _row(found, "veiled", names["veiled"], "ORL: veiled, restored", papers[1]),
        "noised": _row(found, "noised", NONE, "ORL: noised", papers[2]),
        "noised restored": _row(found, "noised", names["noised"], "ORL: noised, restored", papers[3]),
        "folded": _row(found, "folded", NONE, "folded views |x'| and |x|, no secret, nothing restored", None),
        "folded restored": _row(found, "folded", names["folded"], "folded view restored, and |x|", None),
    }
    chosen["plain"] = mean_row(
        label="ORL: a plain picture of the veiled one's mean, which shows nothing",
        metric="ssim_e",
        values=[value for one in found for value in one["plain"]],
        persons=[person for one in found for person in one["persons"]],
    )
    sigmas = sorted({one["sigma"] for one in found})
    return Outcome(
        mark="substitute",
        rows=(*chosen.values(), *absent_rows(PAPER, COLUMNS)),
        data=groups(context)[0].data,
        model="LeNet-5; denoisers of scikit-image for GPEN",
        setting=(
            f"{photos_each(context)} test photos per repetition, {len(found)} repetition(s); the paper's "
            f"three as their mean. Gaussian noise of {', '.join(map(str, sigmas))} levels, chosen so that "
            f"SSIM comes nearest to the paper's {papers[2]:.3f}. Restored: the best of {len(denoisers())} "
            "denoisers by its mean SSIM, which an attacker could not choose: "
            f"{'; '.join(f'{kind} by {name}' for kind, name in names.items())}. {how(groups(context)[0])}"
        ),
        findings=_findings({key: row.ours or 0.0 for key, row in chosen.items()}),
    )


def best(found: Sequence[Mapping[str, Sequence[float]]]) -> str:
    """Name the denoiser with the highest mean SSIM over repetitions."""
    names = [name for name in found[0] if name != NONE]
    return max(names, key=lambda name: float(np.mean([value for one in found for value in one[name]])))


def _row(
    found: Sequence[Mapping[str, Any]], kind: str, denoiser: str, label: str, paper: float | None
) -> Row:
    return mean_row(
        label=label,
        metric="ssim_folded" if kind == "folded" else "ssim_e",
        values=[value for one in found for value in one[kind][denoiser]],
        persons=[person for one in found for person in one["persons"]],
        paper=paper,
    )


def _measure(context: Context, group: Group) -> dict[str, Any]:
    test = two_parts(group, veiled(context, group, model=baseline(context, group)))[1]
    rows = one_each(group.setup.test, photos_each(context))
    originals, hidden = group.setup.test.select(rows).pictures, test.select(rows).pictures
    seed, wanted = group.setup.training.seed, mean_of(PAPER["ORL"][2])
    noisy = {sigma: noised(originals, sigma=sigma, seed=seed) for sigma in SIGMAS}
    sigma = min(SIGMAS, key=lambda one: abs(float(similarity(noisy[one], originals).mean()) - wanted))
    context.tell(f"restoring pictures of group {group.name}")
    return {
        "persons": [group.persons[label] for label in group.setup.test.labels[rows]],
        "sigma": sigma,
        "veiled": _all_of(hidden, originals),
        "noised": _all_of(noisy[sigma], originals),
        "folded": _all_of(folded(hidden), folded(originals)),
        "plain": similarity(_plain(hidden), originals).tolist(),
    }


def _plain(pictures: Pictures) -> Pictures:
    """Return each picture's mean as a plain picture."""
    means = pictures.mean(axis=(1, 2, 3), keepdims=True).round().astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(means, pictures.shape))


def _all_of(pictures: Pictures, originals: Pictures) -> dict[str, list[float]]:
    found = {NONE: similarity(pictures, originals).tolist()}
    for name, denoise in denoisers().items():
        found[name] = similarity(restored(pictures, denoise), originals).tolist()
    return found


def _findings(means: Mapping[str, float]) -> tuple[str, ...]:
    gain = means["noised restored"] - means["noised"]
    veiled_gain, over_plain = (means["veiled restored"] - means[key] for key in ("veiled", "plain"))
    low = means["veiled restored"] < LOW
    return (
        f"'Restoring works on noised and fails on veiled pictures': SSIM rises by {gain:.3f} and by "
        f"{veiled_gain:.3f}. But a plain picture, which shows nothing, already has SSIM "
        f"{means['plain']:.3f}: above it the restored veil is by {over_plain:.3f}, the restored noised "
        f"picture by {means['noised restored'] - means['plain']:.3f}.",
        f"'SSIM of the restored below {LOW:g}' {'holds' if low else 'does not hold'} for these denoisers: "
        f"{means['veiled restored']:.3f}.",
        "It is the wrong question: the folded view, one line of arithmetic without a network or a "
        f"secret, has SSIM {means['folded']:.2f} with the folded original, and "
        f"{means['folded restored']:.2f} after a denoiser.",
    )
