"""The tables of a gallery's report: every photo's whereabouts, and every figure with its limit."""

from typing import Final

from avih.evaluation.report import FIGURES
from avih.evaluation.summary import ACCURACIES, BOUNDS, Limits, check_limits
from avih.gallery_report.facts import GalleryFacts
from avih.html.figures import NONE, figure, percent, similarity
from avih.html.markup import Html, joined, tag
from avih.html.tables import Row, table, table_rows

SAYS: Final = {
    "protected": ("Protected", "hidden, recognised and recoverable as asked for"),
    "below_quality": ("Below quality", "protected and served, but not as good as asked for"),
    "skipped": ("Skipped", "a photo without a face that can be used"),
    "failed": ("Failed", "a file that could not be read or protected"),
}
STATUS_COLUMNS: Final = ("Status", "Photos", "Why")
FIGURE_COLUMNS: Final = ("Figure", "Value", "Limit")


def accounting_table(facts: GalleryFacts) -> Html:
    """Show every status with its reasons; all lines together are all photos."""
    return table(
        STATUS_COLUMNS, table_rows(STATUS_COLUMNS, [_status(facts, name) for name in facts.accounting])
    )


def _status(facts: GalleryFacts, name: str) -> Row:
    title, text = SAYS.get(name, (name.replace("_", " "), ""))
    count = facts.count(name)
    share = count / facts.accounted if facts.accounted else 0.0
    reasons = [(reason, images) for reason, images in facts.accounting[name].items() if reason]
    low = name == "below_quality"  # then the reasons are names of figures
    said = [(f"{reason} too low" if low else reason.replace("_", " "), images) for reason, images in reasons]
    lines = (tag("li", f"{reason}: {images}") for reason, images in said)
    bar = tag("span", tag("span", style=f"width:{100 * share:.1f}%"), css="share")
    return (
        joined(tag("strong", title), tag("span", text, css="sub")),
        joined(str(count), " ", tag("span", percent(share), css="ci"), bar),
        tag("ul", *lines, css="reasons") if reasons else joined(NONE),
    )


def figures_table(facts: GalleryFacts) -> Html:
    """Show every figure with its limit and whether it keeps to it."""
    if facts.metrics is None:
        return Html("")
    rows = [_figure(facts, key, name, reading) for key, name, reading in FIGURES]
    return table(FIGURE_COLUMNS, table_rows(FIGURE_COLUMNS, rows))


def _figure(facts: GalleryFacts, key: str, name: str, reading: str) -> Row:
    metrics = facts.metrics or {}
    value, limit = metrics.get(key), limit_text(key, facts.limits)
    kept = Html("")
    if limit and value is not None:
        # Judged by the gate itself, of which nothing is repeated here.
        alone = {key: value, "acc_original": metrics.get("acc_original")}
        outside = bool(check_limits(alone, facts.limits))
        kept = tag("span", "outside" if outside else "kept", css=f"badge {'fail' if outside else 'pass'}")
    return (
        joined(tag("strong", name), tag("span", reading, css="sub")),
        joined("not measured" if value is None else similarity(value, digits=4)),
        joined(limit, " ", kept) if limit else joined(NONE),
    )


def limit_text(key: str, limits: Limits) -> str:
    """Write the limit of a figure; empty where it has none."""
    for name, _, field, ceiling in BOUNDS:
        if name == key:
            return f"{'at most' if ceiling else 'at least'} {figure(getattr(limits, field))}"
    if key in dict(ACCURACIES):
        return f"ORIGINAL less {limits.accuracy_drop_max:g}"
    return ""
