"""Tables 1 to 3 of 002: how veiled photos look, how they come back, and what the block variance does.

The paper's figures are those of A-ResNet, whose loss (ArcFace) is that of our recogniser; its other models stand
alone. An outsider who averages photos under one veil is in Table 2 besides: the paper does not try it.
"""

from collections.abc import Sequence

from avih.reproduction.context import Context
from avih.reproduction.outcome import Outcome, Row, mean_row
from avih.reproduction.veils.measured import (
    SMOOTHING,
    ByPerson,
    column,
    difference,
    exposed,
    measured,
    papers,
    photo_row,
    verdict,
)
from avih.reproduction.veils.sets import ALPHA, VeilSets, veil_sets

LPIPS = "LPIPS is left out: its network's weights are not at hand."


def hiding(context: Context) -> Outcome:
    """Table 1: SSIM of veiled and original photos, V-UAP and ours."""
    sets = veil_sets(context)
    ours, baseline = measured(sets, kind="veil"), measured(sets, kind="v_uap")
    plain = measured(sets, kind="plain")
    rows = [
        photo_row(baseline, "ssim_e", label="V-UAP", metric="ssim_e", part="crafted", paper=0.034),
        photo_row(baseline, "ssim_e", label="V-UAP", metric="ssim_e", part="held out"),
        photo_row(ours, "ssim_e", label="Ours", metric="ssim_e", part="crafted", paper=0.011),
        photo_row(ours, "ssim_e", label="Ours", metric="ssim_e", part="held out"),
        *papers("ssim_e", [("V-UAP, S-ResNet", 0.040), ("V-UAP, L-ResNet", 0.043)]),
        *papers("ssim_e", [("Ours, S-ResNet", 0.011), ("Ours, L-ResNet", 0.012)]),
        *papers(
            "lpips_e", [("V-UAP, S-ResNet", 0.723), ("V-UAP, L-ResNet", 0.710), ("V-UAP, A-ResNet", 0.785)]
        ),
        *papers("lpips_e", [("Ours, S-ResNet", 1.250), ("Ours, L-ResNet", 1.287), ("Ours, A-ResNet", 1.247)]),
    ]
    findings = [
        verdict("SSIM_e of V-UAP is above ours", difference(baseline, ours, "ssim_e")),
        verdict(
            "SSIM_e of V-UAP is above ours without block variance (the paper: the hull changes structure more)",
            difference(baseline, plain, "ssim_e"),
        ),
        _held_out(ours),
    ]
    return _outcome(sets, rows, findings)


def _held_out(found: ByPerson) -> str:
    crafted, held = (column(found, "ssim_e", part)[0] for part in ("crafted", "held out"))
    first, second = sum(crafted) / len(crafted), sum(held) / len(held)
    return (
        f"SSIM_e of photos that the veil was not crafted from is {second:.4f}; of those it was, {first:.4f}."
    )


def recovery(context: Context) -> Outcome:
    """Table 2: SSIM of recovered and original photos, and what outsiders recover."""
    sets = veil_sets(context)
    found, outside = measured(sets, kind="veil"), exposed(sets)
    corrected = "Equation 14 corrected"
    rows = [
        photo_row(found, "ssim_d", label=corrected, metric="ssim_d", part="crafted", paper=0.869),
        photo_row(found, "ssim_d", label=corrected, metric="ssim_d", part="held out"),
        photo_row(
            found, "smoothed", metric="ssim_d",
            label=f"{corrected}, then a 3 x 3 Gaussian filter of sigma {SMOOTHING:g}", paper=0.869,
        ),
        photo_row(found, "printed", label="Equation 14 as printed", metric="ssim_d"),
        *papers("ssim_d", [("Ours, S-ResNet", 0.868), ("Ours, L-ResNet", 0.869)]),
        *papers("lpips_d", [("Ours, S-ResNet", 0.046), ("Ours, L-ResNet", 0.047), ("Ours, A-ResNet", 0.046)]),
        *_outsiders(outside),
    ]  # fmt: skip
    return _outcome(sets, rows, _recovered(found, rows))


def _outsiders(outside: ByPerson) -> list[Row]:
    """Make the rows of what people without the veil get."""
    counts = sorted({count for one in outside.values() for count in one["seen"]}, key=int)
    labelled = [
        (_average(int(count)), {name: one["seen"].get(count, []) for name, one in outside.items()})
        for count in counts
    ]
    labelled.append(("one leaked pair", {name: one["pair"] for name, one in outside.items()}))
    labelled.append(("another person's veil", {name: one["other_veil"] for name, one in outside.items()}))
    return [
        mean_row(
            label=f"Outsider: {label}",
            metric="ssim_outsider",
            values=[value for values in of_persons.values() for value in values],
            persons=[name for name, values in of_persons.items() for _ in values],
        )
        for label, of_persons in labelled
    ]


def _average(count: int) -> str:
    return "a mean face alone, with 1 photo" if count == 1 else f"the mean of {count} protected photos"


def _recovered(found: ByPerson, rows: Sequence[Row]) -> list[str]:
    by_label = {row.label: row.ours for row in rows if row.ours is not None}
    corrected = photo_row(found, "ssim_d", label="", metric="").ours or 0.0
    printed, clipped = by_label["Equation 14 as printed"], sum(one["clipped"] for one in found.values())
    findings = [
        f"Veiled photos can be recovered: SSIM_d {corrected:.3f} with Equation 14 corrected (paper: 0.869); as "
        f"printed it gives {printed:.3f}. Clipped values: {clipped}."
    ]
    outside = {label: ours for label, ours in by_label.items() if label.startswith("Outsider: ")}
    alone = outside["Outsider: a mean face alone, with 1 photo"]
    several = {label: ours for label, ours in outside.items() if " mean of " in label}
    worse = "beats" if all(ours > alone for ours in several.values()) else "does not always beat"
    text = "; ".join(f"{label.removeprefix('Outsider: ')} {ours:.2f}" for label, ours in several.items())
    findings.append(
        f"Averaging photos under one veil {worse} one photo (SSIM {alone:.2f}), without veil or recogniser: "
        f"{text}; one leaked pair {outside['Outsider: one leaked pair']:.2f}."
    )
    other = outside["Outsider: another person's veil"]
    findings.append(f"Another person's veil gives SSIM {other:.3f}.")
    return findings


def ablation(context: Context) -> Outcome:
    """Table 3: SSIM of veiled and original photos with and without block variance."""
    sets = veil_sets(context)
    ours, plain = measured(sets, kind="veil"), measured(sets, kind="plain")
    rows = [
        photo_row(ours, "ssim_e", label="With (w)", metric="ssim_e", part="crafted", paper=0.011),
        photo_row(ours, "ssim_e", label="With (w)", metric="ssim_e", part="held out"),
        photo_row(plain, "ssim_e", label="Without (w/o)", metric="ssim_e", part="crafted", paper=0.030),
        photo_row(plain, "ssim_e", label="Without (w/o)", metric="ssim_e", part="held out"),
        photo_row(ours, "cosine", label="With (w)", metric="cosine with the own photo"),
        photo_row(plain, "cosine", label="Without (w/o)", metric="cosine with the own photo"),
        *papers("ssim_e", [("With, S-ResNet", 0.011), ("With, L-ResNet", 0.012)]),
        *papers("ssim_e", [("Without, S-ResNet", 0.032), ("Without, L-ResNet", 0.037)]),
        *papers("lpips_e", [("With, S-ResNet", 1.250), ("With, L-ResNet", 1.287), ("With, A-ResNet", 1.247)]),
        *papers(
            "lpips_e",
            [("Without, S-ResNet", 0.776), ("Without, L-ResNet", 0.734), ("Without, A-ResNet", 0.852)],
        ),
    ]
    gap = difference(plain, ours, "ssim_e")
    findings = [
        verdict("Without block variance SSIM_e is higher (paper: by 0.019 to 0.025)", gap),
        verdict("Block variance costs cosine", difference(plain, ours, "cosine"), digits=3),
    ]
    return _outcome(sets, rows, findings)


def setting(sets: VeilSets, persons: int, *, protocol: str = "", alphas: Sequence[float] = (ALPHA,)) -> str:
    """Say how veils were made, for the tables."""
    sizes, chosen = sets.sizes, sets.settings("veil")
    return (
        f"{persons} persons, up to {sizes.photos} photos of each, {sizes.crafting} of them craft the veil, the "
        f"others are held out; alpha {', '.join(map(str, alphas))}, {chosen.steps} steps of {chosen.step_size}, "
        f"weights {chosen.feature_weight:g}, {chosen.visual_weight:g}, {chosen.variance_weight:g} (the paper "
        f"gives no steps, step size or weights); the veil starts from noise inside [0, 1]. Stored 8-bit photos. "
        f"{protocol}{LPIPS}"
    )


def _outcome(sets: VeilSets, rows: Sequence[Row], findings: Sequence[str]) -> Outcome:
    return Outcome(
        mark="substitute", rows=tuple(rows), data=sets.faces.data, model=sets.faces.model,
        setting=setting(sets, len(sets.names)), findings=tuple(findings),
    )  # fmt: skip
