"""The tables of the report: controls, attacks, and all that one attack tried."""

from collections.abc import Sequence
from typing import Final

from avih.html.figures import (
    NONE,
    duration,
    figure,
    gain,
    percent,
    points,
    similarity,
    with_interval,
)
from avih.html.markup import Html, joined, tag
from avih.html.tables import Row, table, table_rows
from avih.lab.result import AttackEntry, ControlResult, Measured, Told

GROUPS: Final = {
    "key": ("Count for the verdict", "What somebody without the key gets out of the pictures."),
    "by design": ("By design", "What the recogniser tells whatever the key is. Shown, not counted."),
    "owner": ("For the owner", "What the owner's own pictures bear. Shown, not counted."),
    "no evidence": ("No evidence of security", "Statistics that papers show. They say nothing either way."),
}
APART: Final = "does not apply"
CONTROL_COLUMNS: Final = ("Control", "Expected", "Got", "Behaved")
ATTACK_COLUMNS: Final = (
    "Attack, and what the attacker has", "Verdict", "Identified", "SSIM over prior", "TAR", "Time"
)  # fmt: skip
VARIANT_COLUMNS: Final = (
    "Variant", "Level", "Identified", "Points over prior", "SSIM", "SSIM over prior", "TAR", "LPIPS"
)  # fmt: skip


def badge(word: str) -> Html:
    """Return a verdict that is told by its word and by its colour."""
    css = {"pass": "pass", "warn": "warn", "fail": "fail", "attack too weak": "warn", "error": "fail"}
    loud = css.get(word, "calm")
    return tag("span", word.upper() if loud != "calm" else word, css=f"badge {loud}")


def control_table(controls: Sequence[ControlResult]) -> Html:
    """Show what each control had to do, and what it did."""
    rows = [(tag("strong", one.name), one.expected, one.got, _behaved(one.ok)) for one in controls]
    return table(CONTROL_COLUMNS, table_rows(CONTROL_COLUMNS, rows))


def _behaved(ok: bool) -> Html:
    return tag("span", "as it must" if ok else "not as it must", css=f"badge {'pass' if ok else 'fail'}")


def attack_table(attacks: Sequence[AttackEntry]) -> Html:
    """Show every attack with its best variant, in groups."""
    pieces: list[Html] = []
    for kind, (title, text) in GROUPS.items():
        group = [one for one in attacks if _group(one) == kind and one.verdict != APART]
        if group:
            pieces.append(_heading(title, text))
            pieces += table_rows(ATTACK_COLUMNS, [_attack(one) for one in group])
    return table(ATTACK_COLUMNS, pieces)


def _group(one: AttackEntry) -> str:
    """Return where an attack stands: what counts for the verdict stands together, whatever its kind."""
    return "key" if one.counts else one.kind


def apart_list(attacks: Sequence[AttackEntry]) -> Html:
    """Name the attacks that make no sense here, each with the reason."""
    none = [one for one in attacks if one.verdict == APART]
    if not none:
        return Html("")
    items = (tag("li", tag("strong", one.title), f": {one.note or 'no reason given'}") for one in none)
    return joined(tag("h3", "Do not apply here"), tag("ul", *items))


def _attack(one: AttackEntry) -> Row:
    said = [one.note] if one.note else []
    figures = _best_guess(one)
    if one.counts and one.decided_by:
        said.append(f"Decided by {one.decided_by.label} (below), not by a picture.")
        figures = (NONE, NONE, NONE) if one.kind != "key" else figures
    holds = [tag("span", one.holds, css="sub"), *(tag("span", text, css="sub note") for text in said)]
    return (
        joined(tag("a", one.title, href=f"#{anchor(one)}"), *holds),
        badge(one.verdict),
        *figures,
        duration(one.cost_s),
    )


def _best_guess(one: AttackEntry) -> Row:
    named = joined(NONE)
    if one.id_rate is not None:
        named = joined(
            with_interval(one.id_rate, one.ci.get("id_rate")),
            tag("span", f"prior {percent(one.prior_id_rate)}", css="sub"),
        )
    return (
        named,
        with_interval(one.ssim_advantage, one.ci.get("ssim_advantage"), says=gain),
        with_interval(one.tar, one.ci.get("tar")),
    )


def anchor(attack: AttackEntry) -> str:
    """Return the address of an attack's block on the page."""
    return f"attack-{attack.name}"


def attack_block(attack: AttackEntry) -> Html:
    """Show one attack in full: claim, attacker, all variants and findings."""
    facts = [("Tests", attack.claim), ("The attacker has", attack.holds), ("Took", duration(attack.cost_s))]
    facts += [("Note", attack.note)] if attack.note else []
    inside: list[Html] = [
        tag("dl", *(joined(tag("dt", name), tag("dd", text)) for name, text in facts), css="facts")
    ]
    if attack.variants:
        inside += [tag("h4", "Variants, the best first"), _variants(attack)]
    if attack.findings:
        inside += [tag("h4", "Findings"), _findings(attack.findings)]
    summary = tag("summary", tag("span", attack.title, css="title"), " ", badge(attack.verdict))
    return tag("details", summary, *inside, id=anchor(attack))


def _variants(attack: AttackEntry) -> Html:
    lpips = any(one.lpips is not None for one in attack.variants)
    columns = VARIANT_COLUMNS if lpips else VARIANT_COLUMNS[:-1]
    rows = [_variant(one)[: len(columns)] for one in attack.variants]
    return table(columns, table_rows(columns, rows))


def _variant(one: Measured) -> Row:
    facts = [f"{name} {figure(value)}" for name, value in one.facts.items()]
    facts += [
        f"{one.images} pictures" + (f", {one.id_images} to identify" if one.id_images != one.images else "")
    ]
    return (
        joined(tag("strong", one.label), tag("span", " · ".join(facts), css="sub")),
        badge(one.level if one.kind == "key" else one.kind),
        joined(with_interval(one.id_rate, one.id_ci), _prior(percent(one.prior_id_rate))),
        with_interval(one.id_advantage, one.id_advantage_ci, says=points),
        joined(similarity(one.ssim), _prior(similarity(one.prior_ssim))),
        with_interval(one.ssim_advantage, one.ssim_advantage_ci, says=gain),
        joined(with_interval(one.tar, one.tar_ci), _prior(percent(one.prior_tar))),
        joined(similarity(one.lpips), _prior(similarity(one.prior_lpips))),
    )


def _prior(text: str) -> Html:
    return Html("") if text == NONE else tag("span", f"prior {text}", css="sub")


def _findings(findings: Sequence[Told]) -> Html:
    items = []
    for one in findings:
        values = ((tag("span", name, css="ci"), " ", figure(value)) for name, value in one.values.items())
        figures = tag("p", *(tag("span", *value, css="value") for value in values), css="values")
        head = [tag("strong", one.label), *([" ", badge(one.level)] if one.level else [])]
        items.append(tag("li", *head, tag("p", one.text), *([figures] if one.values else [])))
    return tag("ul", *items, css="findings")


def _heading(title: str, text: str) -> Html:
    inside = (tag("span", title, css="group"), " ", tag("span", text, css="ci"))
    return tag("tr", tag("th", *inside, colspan=str(len(ATTACK_COLUMNS)), scope="rowgroup"), css="heading")
