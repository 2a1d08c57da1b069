"""The report of an audit: one page of HTML that needs no network, no script and nothing beside it."""

from pathlib import Path
from typing import Final

from avih.atomic import write_bytes
from avih.html.figures import duration, percent
from avih.html.markup import Html, joined, tag
from avih.html.page import filled
from avih.html.tables import facts_grid
from avih.lab.report.pictures import picture_strips
from avih.lab.report.plots import attack_charts, budget_charts, id_limits
from avih.lab.report.tables import apart_list, attack_block, attack_table, control_table
from avih.lab.result import LabResult
from avih.lab.runner import Audit
from avih.lab.settings import LabLimits

NAME: Final = "report.html"
WORDS: Final = {"pass": "PASS", "warn": "WARN", "fail": "FAIL", "attack too weak": "ATTACK TOO WEAK"}


def write_report(audit: Audit, folder: Path) -> Path:
    """Write the report of an audit, and return its path.

    Args:
        audit: what was found, and the pictures that may be shown.
        folder: where it goes.
    """
    path = folder / NAME
    write_bytes(path, page(audit).encode())
    return path


def page(audit: Audit) -> str:
    """Return the page; the same audit gives the same text."""
    result, limits = audit.result, audit.result.limits
    titles = {one.name: one.title for one in result.attacks}
    parts: dict[str, Html] = {
        "title": joined(f"{WORDS[result.verdict]}: {result.gallery} {result.version}"),
        "gallery": joined(f"{result.gallery}, version {result.version}"),
        "level": joined(result.verdict.replace(" ", "-")),
        "verdict": joined(WORDS[result.verdict]),
        "summary": joined(result.summary),
        "meanings": _meanings(result, limits),
        "facts": _facts(result),
        "controls": control_table(result.controls),
        "attacks": attack_table(result.attacks),
        "apart": apart_list(result.attacks),
        "budget": _budget(result, limits),
        "charts": _charts(attack_charts(result, limits), "No attack gave a figure that could be drawn."),
        "details": joined(*(attack_block(one) for one in result.attacks)),
        "pictures": picture_strips(audit.shown, titles),
        "notes": _notes(result),
        "false_match_rate": joined(f"{limits.false_match_rate:g}"),
    }
    return filled(Path(__file__).with_name("page.html"), parts)


def _meanings(result: LabResult, limits: LabLimits) -> Html:
    allowed, far = id_limits(result, limits)
    meanings = {
        "pass": "Every attack that counts stays near its prior: identification at most "
        f"{percent(allowed).rstrip('%')} points above it (luck allowed for), SSIM at most "
        f"{limits.pass_ssim_advantage:g}. All controls behaved.",
        "warn": "Some attack that counts lies between PASS and FAIL.",
        "fail": f"Some attack is far above its prior: identification by {percent(far).rstrip('%')} points or a "
        f"TAR of {percent(limits.fail_tar)}, either beyond luck, or SSIM by {limits.fail_ssim_advantage:g}.",
        "attack too weak": "Nothing got through, but a control did not behave as it must, or an attack broke: "
        "the audit proves nothing.",
    }
    rows = (
        joined(tag("dt", WORDS[verdict], css="now" if verdict == result.verdict else ""), tag("dd", text))
        for verdict, text in meanings.items()
    )
    return tag("dl", *rows, css="meanings")


def _facts(result: LabResult) -> Html:
    facts = (
        ("Gallery", result.gallery),
        ("Version", result.version),
        ("Method", result.method),
        ("Recovery", result.recovery),
        ("Profile", result.profile),
        ("Data", result.data),
        ("Recogniser", result.recogniser),
        ("Second recogniser", result.second_recogniser),
        ("Chance", f"{percent(result.chance)} by naming a person at random"),
        ("Pictures read", f"{result.images} of {result.persons} persons"),
        ("Pictures attacked", str(result.targets)),
        ("Took", duration(result.seconds)),
    )
    return facts_grid(facts)


def _budget(result: LabResult, limits: LabLimits) -> Html:
    budget = result.leak_budget
    if budget is None:
        return tag("p", "The attack that measures the leak budget was not part of this audit.")
    said = (_reach(share, pairs, budget.most) for share, pairs in (("10%", budget.n10), ("50%", budget.n50)))
    lines = tag("dl", *(tag("div", tag("dt", name), tag("dd", text)) for name, text in said), css="grid wide")
    return joined(
        lines, _charts(budget_charts(result, limits), "The curve has no figures that could be drawn.")
    )


def _reach(share: str, pairs: int | None, most: int) -> tuple[str, str]:
    name = f"N{share[:-1]}: pairs until {share} are identified over the prior"
    if pairs is None:
        return name, f"never, with up to {most} pairs"
    return name, f"{pairs} {'pair' if pairs == 1 else 'pairs'}"


def _charts(charts: tuple[Html, ...], otherwise: str) -> Html:
    if not charts:
        return tag("p", otherwise)
    return joined(tag("div", *(tag("figure", chart) for chart in charts), css="charts"), _key())


def _key() -> Html:
    """Explain the lines of a chart."""
    lines = (("prior", "prior"), ("pass", "passes up to here"), ("fail", "fails from here"))
    items = (tag("span", tag("span", css=f"line {css}"), words) for css, words in lines)
    return tag("p", *items, css="key")


def _notes(result: LabResult) -> Html:
    if not result.notes:
        return tag("p", "None.")
    return tag("ul", *(tag("li", note) for note in result.notes))
