"""Figures 4 and 6 to 8 of 002: whether veiled photos are still found, by whom, at which alpha, and under noise.

A veiled photo stands in a gallery among strangers, and the person's other photos ask for it; it is matched where
it is nearer to them than every stranger. The paper prints these results as curves: few figures are in its text.
"""

from collections.abc import Sequence
from itertools import pairwise
from statistics import fmean
from typing import Any

from avih.reproduction.context import Context
from avih.reproduction.outcome import Outcome, Row
from avih.reproduction.veils.features import match_rates, unit_features
from avih.reproduction.veils.measured import (
    ByPerson,
    Part,
    column,
    difference,
    measured,
    photo_row,
    verdict,
)
from avih.reproduction.veils.noise import DISTORTIONS, distorted
from avih.reproduction.veils.other_recogniser import Second, measured_by, second_of
from avih.reproduction.veils.sets import ALPHA, KINDS, VeilSets, public_seed, veil_sets
from avih.reproduction.veils.tables import setting

ALPHAS = (0.2, 0.4, 0.6, 0.8)
PARTS: tuple[Part, ...] = ("crafted", "held out")
NEAR_ALL = 95.0  # percent: what "nearly 100 %" is taken to mean
STEADY = 2.0  # points: what "negligible" is taken to mean
PROTOCOL = (
    "MSR: each photo is placed among {strangers} strangers' photos and the person's other photos ask for it; "
    "matched where it is nearer than every stranger. "
)


def matching(context: Context) -> Outcome:
    """Figure 4: matching success with the recogniser of the crafting and with another one."""
    sets = veil_sets(context)
    found = {kind: measured(sets, kind=kind) for kind in KINDS}
    bare = _originals(sets)
    rows = [
        photo_row(found[kind], "matched", label=name, metric="msr, same recogniser", part=part, percent=True,
                  paper=100.0 if kind != "v_uap" and part == "crafted" else None)
        for kind, name in KINDS.items() for part in PARTS
    ]  # fmt: skip
    rows.append(_bare_row(bare, metric="msr, same recogniser"))
    findings = [
        _nearly_all(rows[0]),
        *(f"{KINDS[kind]}: {_nearest(found[kind])}" for kind in ("veil", "v_uap")),
    ]
    second = second_of(context)
    rows += _second_rows(sets, second) if second else papers_missing()
    findings += _second_findings(sets, second, found["veil"]) if second else [
        "Another recogniser: not measured, there is none."
    ]  # fmt: skip
    rows += [
        photo_row(of_kind, "strangers", label=f"{KINDS[kind]}, strangers' photos", percent=True,
                  metric="taken for the veil's owner")
        for kind, of_kind in found.items()
    ]  # fmt: skip
    rows.append(photo_row(bare, "strangers", label="No veil, strangers' photos", percent=True,
                          metric="taken for the veil's owner"))  # fmt: skip
    taken, without = rows[-len(KINDS) - 1].ours or 0.0, rows[-1].ours or 0.0
    findings += [
        f"Strangers' photos under a veil are taken for its owner in {taken:.1f} % of the comparisons, without it "
        f"in {without:.1f} %: what is above comes from the veil and not from the photo.",
        verdict("V-UAP keeps more cosine with the own photo than the hull of features",
                difference(found["v_uap"], found["plain"], "cosine"), digits=3),
    ]  # fmt: skip
    return _outcome(sets, rows, findings, persons=len(sets.names))


def papers_missing() -> list[Row]:
    """Return the rows of another recogniser where there is none."""
    return [
        Row(label=f"{KINDS[kind]}, {part}", metric="msr, second recogniser")
        for kind in KINDS
        for part in PARTS
    ]


def _originals(sets: VeilSets) -> ByPerson:
    """Return how often photos without a veil are found, and strangers taken for the person."""
    found = {}
    for name in sets.names:

        def compute(name: str = name) -> dict[str, Any]:
            person = sets.person(name)
            others = unit_features(sets.strangers[0][: sets.sizes.wearers], sets.faces.recogniser)
            return {
                "matched": match_rates(person.features, person.features, sets.gallery, same=True),
                "strangers": match_rates(others, person.features, sets.gallery, same=False),
                "crafting": person.crafting,
            }

        found[name] = sets.remember("originals", name, compute, kind=None)
    return found


def _bare_row(bare: ByPerson, *, metric: str) -> Row:
    return photo_row(bare, "matched", label="Originals, no veil", metric=metric, percent=True)


def _nearly_all(row: Row) -> str:
    held = "holds here" if (row.ours or 0.0) >= NEAR_ALL else "does not hold here"
    return f"With the same recogniser MSR is nearly 100 %: {held} ({row.ours:.1f} %)."


def _nearest(found: ByPerson) -> str:
    """Say whether a veil keeps the cosine of all crafting photos or of one of them."""
    ordered = [sorted(one["cosine"][: one["crafting"]], reverse=True) for one in found.values()]
    best, others = fmean(own[0] for own in ordered), fmean(fmean(own[1:]) for own in ordered)
    return f"cosine {best:.2f} for each person's best crafting photo, {others:.2f} for the other crafting photos."


def _second_rows(sets: VeilSets, second: Second) -> list[Row]:
    rows = [
        photo_row(measured_by(sets, second, kind=kind), "matched", label=name, metric="msr, second recogniser",
                  part=part, percent=True, model=second.name)
        for kind, name in KINDS.items() for part in PARTS
    ]  # fmt: skip
    bare = _bare_row(measured_by(sets, second, kind=None), metric="msr, second recogniser")
    return [*rows, bare.model_copy(update={"model": second.name})]


def _second_findings(sets: VeilSets, second: Second, same: ByPerson) -> list[str]:
    veil, plain = (measured_by(sets, second, kind=kind) for kind in ("veil", "plain"))
    bare = measured_by(sets, second, kind=None)
    share = photo_row(bare, "matched", label="", metric="", percent=True).ours or 0.0
    return [
        verdict("MSR falls with another recogniser", difference(same, veil, "matched"), digits=3)
        + f" It finds {share:.1f} % of photos without a veil.",
        verdict("Another recogniser finds fewer veiled photos than bare ones", difference(bare, veil, "matched"),
                digits=3),
        verdict("Without block variance another recogniser matches more", difference(plain, veil, "matched"),
                digits=3),
    ]  # fmt: skip


def alpha(context: Context) -> Outcome:
    """Figure 6: matching success by alpha, the share of the photo."""
    sets = veil_sets(context)
    found = {share: measured(sets, kind="veil", alpha=share, most=sets.sizes.few) for share in ALPHAS}
    rows = [
        photo_row(of_share, "matched", label=f"alpha {share}", metric="msr", part=part, percent=True,
                  paper=100.0 if share == ALPHAS[0] and part == "crafted" else None)
        for part in PARTS for share, of_share in found.items()
    ]  # fmt: skip
    rates = [row.ours for row in rows if row.ours is not None]
    spread = max(rates) - min(rates)
    held = "holds here" if spread <= STEADY else "does not hold here"
    cosines = [
        photo_row(one, "cosine", label=f"alpha {share}", metric="cosine") for share, one in found.items()
    ]
    findings = [f"Alpha hardly matters for MSR: {held} ({min(rates):.1f} to {max(rates):.1f} %)."]
    return _outcome(sets, [*rows, *cosines], findings, persons=len(found[ALPHAS[0]]), alphas=ALPHAS)


def visibility(context: Context) -> Outcome:
    """Figure 8: SSIM of veiled and original photos by alpha, with and without block variance.

    The paper shows pictures there; SSIM is their figure.
    """
    sets = veil_sets(context)
    shapes = {
        kind: {share: measured(sets, kind=kind, alpha=share, most=sets.sizes.few) for share in ALPHAS}
        for kind in ("veil", "plain")
    }
    words = {"veil": "with block variance", "plain": "without block variance"}
    rows = [
        photo_row(found, "ssim_e", label=f"alpha {share}, {words[kind]}", metric="ssim_e")
        for kind, of_kind in shapes.items() for share, found in of_kind.items()
    ]  # fmt: skip
    curve = [row.ours or 0.0 for row in rows[: len(ALPHAS)]]
    rising = all(low < high for low, high in pairwise(curve))
    held = "holds here." if rising else "does not hold at every step here."
    findings = [f"Higher alpha shows more of the photo: {held}"] + [
        verdict(f"At alpha {share} more shows without block variance",
                difference(shapes["plain"][share], shapes["veil"][share], "ssim_e"))
        for share in ALPHAS
    ]  # fmt: skip
    return _outcome(sets, rows, findings, persons=len(shapes["veil"][ALPHAS[0]]), alphas=ALPHAS)


def robustness(context: Context) -> Outcome:
    """Figure 7: matching success of veiled photos under noise and a median filter, beside bare photos."""
    sets = veil_sets(context)
    names = sets.names[: sets.sizes.noisy]
    found: dict[str, ByPerson] = {label: {} for label in ("Veiled", "Bare")}
    for name in names:

        def compute(name: str = name) -> dict[str, Any]:
            return _noisy(sets, name)

        both = sets.remember("noise", name, compute, levels=list(DISTORTIONS))
        for label in found:
            found[label] = {**found[label], name: both[label]}
    rows = [
        photo_row(of_label, key, label=f"{label}, {key}", metric=f"msr, {kind}", percent=True)
        for kind in dict.fromkeys(one.kind for one in DISTORTIONS.values())
        for label, of_label in found.items()
        for key, one in DISTORTIONS.items() if one.kind == kind
    ]  # fmt: skip
    return _outcome(sets, rows, _noise_findings(found["Veiled"]), persons=len(names))


def _noisy(sets: VeilSets, name: str) -> dict[str, Any]:
    """Measure one person's held-out photos under each distortion, veiled and bare."""
    worn, result = sets.worn(name, "veil"), {}
    person = worn.person
    for label, pictures in (("Veiled", worn.stored), ("Bare", person.photos)):
        rates: dict[str, Any] = {"crafting": 0}
        for key, distortion in DISTORTIONS.items():
            noisy = distorted(pictures, distortion, seed=public_seed(f"{name} {key}"))[person.crafting :]
            features = unit_features(noisy, sets.faces.recogniser)
            # Placed photo i was made from probe crafting + i, which does not ask for it.
            probes = person.features
            order = [*range(person.crafting, len(probes)), *range(person.crafting)]
            rates[key] = match_rates(features, probes[order], sets.gallery, same=True)
        result[label] = rates
    return result


def _noise_findings(veiled: ByPerson) -> list[str]:
    shares = {key: sum(column(veiled, key)[0]) / len(column(veiled, key)[0]) for key in DISTORTIONS}
    noise = {one.level: 100 * shares[key] for key, one in DISTORTIONS.items() if one.kind == "Gaussian noise"}
    start, at_limit, end = noise[0], noise[120], noise[200]
    text = ", ".join(f"{level:g}: {rate:.0f} %" for level, rate in noise.items())
    before = "holds here" if start - at_limit <= STEADY else "does not hold here"
    after = "falls" if at_limit - end > STEADY else "does not fall"
    return [f"MSR stands noise up to sigma 120: {before}; it {after} from there to 200 ({text})."]


def _outcome(
    sets: VeilSets,
    rows: Sequence[Row],
    findings: Sequence[str],
    *,
    persons: int,
    alphas: Sequence[float] = (ALPHA,),
) -> Outcome:
    protocol = PROTOCOL.format(strangers=sets.gallery_size)
    return Outcome(
        mark="substitute", rows=tuple(rows), data=sets.faces.data, model=sets.faces.model,
        setting=setting(sets, persons, protocol=protocol, alphas=alphas), findings=tuple(findings),
    )  # fmt: skip
