"""What is measured of a person's photos under a veil, and the rows made of it (002)."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter  # type: ignore[import-untyped]

from avih.evaluation.metrics import ssim
from avih.reproduction.outcome import Row, mean_row
from avih.reproduction.veils.features import Recognise, Unit, match_rates, unit_features
from avih.reproduction.veils.sets import ALPHA, Kind, VeilSets, Worn, public_seed
from avih.veils.apply import put_on, take_off, take_off_as_printed
from avih.veils.exposure import expose_by_mean, expose_by_pair

SEEN = (1, 2, 5, 10, 20)  # protected photos that an outsider averages
SMOOTHING = 0.8  # sigma of a 3 x 3 Gaussian filter; 002 smooths recovered photos and does not say how much
Part = Literal["crafted", "held out"]
Figures = Mapping[str, Any]
ByPerson = Mapping[str, Figures]


def measured(sets: VeilSets, *, kind: Kind, alpha: float = ALPHA, most: int | None = None) -> ByPerson:
    """Return the figures of each person under a kind of veil, as :func:`figures` gives them.

    Args:
        sets: persons and veils.
        kind: of the veil.
        alpha: share of the photo.
        most: of the first persons only.
    """
    return {name: measured_person(sets, name, kind=kind, alpha=alpha) for name in sets.names[:most]}


def measured_person(sets: VeilSets, name: str, *, kind: Kind, alpha: float = ALPHA) -> Figures:
    """Return the figures of one person under a kind of veil."""

    def compute() -> dict[str, Any]:
        return figures(sets, sets.worn(name, kind, alpha))

    found: Figures = sets.remember("pictures", name, compute, kind=kind, alpha=alpha)
    return found


def figures(sets: VeilSets, worn: Worn) -> dict[str, Any]:
    """Measure photos under a veil: one figure per photo, the crafting photos first.

    Returns:
        ``ssim_e``, ``ssim_d`` (Equation 14 corrected), ``printed``, ``smoothed``, ``cosine``, ``matched`` (how
        often the person's other photos find it), ``strangers`` (how often they find a stranger's photo under the
        veil), ``crafting``, ``steps``, ``clipped``.
    """
    person, stored, veil = worn.person, worn.stored, worn.veil
    originals = person.photos
    back = take_off(stored, veil=veil.pixels, alpha=veil.alpha)
    printed = take_off_as_printed(stored, veil=veil.pixels, alpha=veil.alpha)
    smooth = np.stack(
        [gaussian_filter(one, sigma=(SMOOTHING, SMOOTHING, 0), radius=(1, 1, 0)) for one in back]
    )
    return {
        "ssim_e": similarities(originals, stored),
        "ssim_d": similarities(originals, back),
        "printed": similarities(originals, printed),
        "smoothed": similarities(originals, smooth),
        "cosine": (worn.features * person.features).sum(axis=1).tolist(),
        "matched": match_rates(worn.features, person.features, sets.gallery, same=True),
        "strangers": match_rates(wearing(sets, worn), person.features, sets.gallery, same=False),
        "crafting": person.crafting,
        "steps": veil.steps,
        "clipped": worn.clipped,
    }


def wearing(sets: VeilSets, worn: Worn, recogniser: Recognise | None = None) -> Unit:
    """Return the features of strangers' photos under somebody's veil."""
    others = sets.strangers[0][: sets.sizes.wearers]
    veiled = put_on(others, veil=worn.veil.pixels, alpha=worn.veil.alpha).pictures
    return unit_features(veiled, recogniser or sets.faces.recogniser)


def exposed(sets: VeilSets) -> ByPerson:
    """Return what outsiders get of each person's photos, by how many they see, and from one leaked pair."""
    found = {}
    for name in sets.names:

        def compute(name: str = name) -> dict[str, Any]:
            return exposure(sets, sets.worn(name, "veil"))

        found[name] = sets.remember("exposure", name, compute)
    return found


def exposure(sets: VeilSets, worn: Worn) -> dict[str, Any]:
    """Measure the outsiders' photos of one person: SSIM with the originals.

    Returns:
        ``seen``: by number of protected photos, the SSIM of each with the mean face as prior; ``pair``: SSIM of
        the photos that did not leak; ``other_veil``: SSIM after taking another person's veil off.
    """
    person, alpha = worn.person, worn.veil.alpha
    order = np.random.default_rng(public_seed(person.name)).permutation(len(person.photos))
    seen = {}
    for count in [count for count in SEEN if count <= len(order)]:
        some = order[:count]
        opened = expose_by_mean(worn.stored[some], person.photos[some], alpha=alpha, prior=sets.mean_face)
        seen[str(count)] = list(opened.ssim)
    pair = expose_by_pair(worn.stored, person.photos, alpha=alpha, leaked=int(order[0]))
    following = sets.names[(sets.names.index(person.name) + 1) % len(sets.names)]
    wrong = take_off(worn.stored, veil=sets.veil(following, "veil", alpha).pixels, alpha=alpha)
    return {"seen": seen, "pair": list(pair.ssim), "other_veil": similarities(person.photos, wrong)}


def similarities(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> list[float]:
    """Return the SSIM of each pair of pictures."""
    return [ssim(a, b) for a, b in zip(first, second, strict=True)]


def column(found: ByPerson, figure: str, part: Part | None = None) -> tuple[list[float], list[str]]:
    """Return a figure of all photos, or of one part, and the person of each."""
    values: list[float] = []
    persons: list[str] = []
    for name, of_person in found.items():
        crafting = of_person["crafting"]
        chosen = {"crafted": slice(crafting), "held out": slice(crafting, None), None: slice(None)}[part]
        some = of_person[figure][chosen]
        values += some
        persons += [name] * len(some)
    return values, persons


def photo_row(
    found: ByPerson,
    figure: str,
    *,
    label: str,
    metric: str,
    part: Part | None = None,
    paper: float | None = None,
    percent: bool = False,
    model: str = "",
) -> Row:
    """Make the row of a figure of photos, with its interval by person."""
    values, persons = column(found, figure, part)
    return mean_row(
        label=f"{label}, {part}" if part else label, metric=metric, values=values, persons=persons,
        paper=paper, percent=percent, model=model,
    )  # fmt: skip


def difference(first: ByPerson, second: ByPerson, figure: str, *, part: Part | None = None) -> Row:
    """Return the mean of first minus second, photo by photo, with its interval by person."""
    minuend, persons = column(first, figure, part)
    subtrahend, _ = column(second, figure, part)
    gaps = np.subtract(minuend, subtrahend).tolist()
    return mean_row(label=figure, metric="difference", values=gaps, persons=persons)


def verdict(claim: str, gap: Row, *, digits: int = 4, unit: str = "") -> str:
    """Say whether a claim that a difference is above 0 holds, from its interval."""
    low, high, ours = gap.low, gap.high, gap.ours
    if low is None or high is None or ours is None:
        return f"{claim}: too few persons to tell."
    held = "holds here" if low > 0 else "does not hold here" if high < 0 else "is open here"
    return f"{claim}: {held} (difference {ours:+.{digits}f}{unit}, {low:+.{digits}f} to {high:+.{digits}f})."


def papers(metric: str, figures_of: Sequence[tuple[str, float]]) -> list[Row]:
    """Return rows of the paper's figures that have none of ours beside them."""
    return [Row(label=label, metric=metric, paper=value) for label, value in figures_of]
