"""The report of a gallery version as one page of HTML: no network, no script, nothing beside it."""

from pathlib import Path
from typing import Final

from avih.evaluation.report import HONESTY
from avih.gallery_report.charts import distribution_charts, trend_charts
from avih.gallery_report.facts import GalleryFacts, Now
from avih.gallery_report.tables import accounting_table, figures_table
from avih.html.markup import Html, joined, tag
from avih.html.page import filled
from avih.html.pictures import png_image
from avih.html.tables import facts_grid

NAME: Final = "report.html"
NOT_EVALUATED: Final = (
    "This version has not been evaluated since it was made or changed: avih evaluate measures it."
)
Rows = tuple[tuple[str, str], ...]


def page(facts: GalleryFacts) -> str:
    """Return the page; the same facts give the same text."""
    level, verdict = verdict_of(facts)
    broken = tag("ul", *(tag("li", sentence) for sentence in facts.broken)) if facts.broken else Html("")
    parts: dict[str, Html] = {
        "more": style(),
        "title": joined(f"{facts.gallery} {facts.version}: {verdict.lower()}"),
        "gallery": joined(f"{facts.gallery}, version {facts.version}"),
        "level": joined(level),
        "verdict": joined(verdict),
        "summary": joined(summary(facts)),
        "broken": broken,
        "live": _live(facts.now),
        "honesty": joined(HONESTY),
        "now": _now(facts.now),
        "total": joined(_total(facts)),
        "accounting": accounting_table(facts),
        "pictures": _pictures(facts),
        "figures_lead": joined(_figures_lead(facts)),
        "figures": figures_table(facts),
        "notes": _notes(facts.notes),
        "distributions": _distributions(facts),
        "made": facts_grid(_made(facts)),
        "trend": _trend(facts),
        "links": where((*facts.links, *(facts.now.links if facts.now else ()))),
    }
    return filled(Path(__file__).with_name("page.html"), parts)


def style() -> Html:
    """Return what these pages need beside the style of all reports."""
    return Html(Path(__file__).with_name("style.css").read_text(encoding="utf-8"))


def verdict_of(facts: GalleryFacts) -> tuple[str, str]:
    """Return the class and the words of the verdict."""
    if facts.metrics is None:
        return "warn", "NOT MEASURED"
    return ("fail", "OUTSIDE THE LIMITS") if facts.broken else ("pass", "WITHIN THE LIMITS")


def summary(facts: GalleryFacts) -> str:
    """Say in one sentence how many photos are protected."""
    good, below = facts.count("protected"), facts.count("below_quality")
    left = facts.accounted - good - below
    text = f"{good + below} of {facts.photos} photos are protected"
    text += f", {below} of them below the quality asked for" if below else ""
    return f"{text}; {left} could not be." if left else f"{text}."


def _live(now: Now | None) -> Html:
    if now is None:
        return Html("")
    badge = tag("span", "LIVE" if now.live else "not live", css=f"badge {'pass' if now.live else 'calm'}")
    return tag("p", badge, tag("span", now.headline), css="live")


def _now(now: Now | None) -> Html:
    if now is None or not now.rows:
        return Html("")
    rows = facts_grid(tuple((name, tag("span", text, css="now")) for name, text in now.rows))
    return tag("section", tag("h2", "The gallery now"), rows)


def _total(facts: GalleryFacts) -> str:
    if facts.accounted == facts.photos:
        return f"The source holds {facts.photos} photos, and each of them is in one line of this table."
    return (
        f"The source holds {facts.photos} photos, but {facts.accounted} are accounted for: the version is "
        "unfinished, or files of it are missing. avih verify says which."
    )


def _pictures(facts: GalleryFacts) -> Html:
    if not facts.pictures:
        return tag("p", "There are none to show.")
    of = facts.count("protected", "below_quality")
    text = (
        f"{len(facts.pictures)} of {of}, as they are stored. No original and no recovered picture is in here."
    )
    shown = (
        png_image(data, alt=f"Protected picture {place}") for place, data in enumerate(facts.pictures, 1)
    )
    parts = [tag("p", text, css="lead"), tag("div", *shown, css="sheet")]
    if facts.now and facts.now.browse:
        parts.append(tag("p", tag("a", "Look at all of them, page by page", href=facts.now.browse)))
    return joined(*parts)


def _figures_lead(facts: GalleryFacts) -> str:
    if facts.metrics is None:
        return NOT_EVALUATED
    told = "Means over the pictures that count, beside the limits that the gallery's settings ask for."
    if facts.persons:
        told += f" Matching was tried with {facts.persons} persons."
    return told


def _notes(notes: tuple[str, ...]) -> Html:
    return tag("ul", *(tag("li", note) for note in notes), css="lead") if notes else Html("")


def _distributions(facts: GalleryFacts) -> Html:
    charts = distribution_charts(facts.distributions)
    if not charts:
        return tag("p", "No figure was measured that could be drawn.")
    key = tag(
        "p",
        tag("span", tag("span", "\N{BLACK UP-POINTING TRIANGLE}", css="mean"), "mean"),
        tag("span", tag("span", css="line fail"), "limit for the mean"),
        tag("span", tag("span", css="line each"), "limit for each picture"),
        css="key",
    )
    lead = tag("p", "How many pictures have which figure.", css="lead")
    return joined(lead, tag("div", *(tag("figure", chart) for chart in charts), css="charts"), key)


def _made(facts: GalleryFacts) -> Rows:
    rows: list[tuple[str, str]] = [("Key", tag("code", facts.key_id))]
    if facts.key:
        key = facts.key
        left = max(0, key.limit - key.used)
        rows += [
            ("Key state", key.state),
            ("Key made", key.made),
            ("Leak budget", f"{key.used} of {key.limit} pictures used, {left} left"),
        ]
    return (
        *rows,
        ("Method", facts.method),
        ("Recovery", facts.recovery),
        ("Recogniser", facts.recogniser),
        ("Recogniser's fingerprint", tag("code", facts.fingerprint)),
        ("Made by", f"avih {facts.code_version}"),
    )


def _trend(facts: GalleryFacts) -> Html:
    charts = trend_charts(facts.trend, facts.limits)
    if not charts:
        return tag("p", "This is the only version so far that was evaluated; a trend needs two.", css="lead")
    first, last = facts.trend[0].version, facts.trend[-1].version
    key = tag("p", tag("span", tag("span", css="line fail"), "limit"), css="key")
    figures = tag("div", *(tag("figure", chart) for chart in charts), css="charts trends")
    return joined(tag("p", f"{len(facts.trend)} versions, {first} to {last}.", css="lead"), figures, key)


def where(rows: Rows) -> Html:
    """Name commands and addresses, each with what it is for."""
    return tag(
        "dl", *(joined(tag("dt", name), tag("dd", tag("code", text))) for name, text in rows), css="where"
    )
