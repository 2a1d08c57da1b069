"""Charts as SVG inside a page: colours and letters are the page's, so that a chart is dark where the page is."""

import io
import re
from typing import Final

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from avih.html.markup import Html, tag

# Stand-ins in the drawing for the page's own colours.
INK, MUTED, RULE, PAPER, PASS, WARN, FAIL, ACCENT = (
    "#101010", "#202020", "#303030", "#404040", "#505050", "#606060", "#707070", "#808080"
)  # fmt: skip
_NAMES: Final = {
    INK: "ink", MUTED: "muted", RULE: "rule", PAPER: "paper", PASS: "pass", WARN: "warn", FAIL: "fail",
    ACCENT: "accent",
}  # fmt: skip
WIDTH: Final = 4.3  # inches: letters of 10 points are legible at the width of a phone
SMALL: Final = 9.5


def blank(height: float) -> tuple[Figure, Axes]:
    """Begin a chart of one panel; the height is in inches."""
    figure = Figure(figsize=(WIDTH, height))
    FigureCanvasSVG(figure)
    figure.patch.set_visible(False)
    axes = figure.add_subplot()
    axes.patch.set_visible(False)
    axes.tick_params(labelsize=SMALL, colors=RULE, labelcolor=MUTED, length=3)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(RULE)
    axes.set_axisbelow(True)
    return figure, axes


def svg(figure: Figure, *, name: str, says: str) -> Html:
    """Return a chart as an element of a page, the same bytes each time.

    Args:
        figure: the chart.
        name: its own on the page; references inside the chart hang on it.
        says: what it shows, for those who do not see it.
    """
    file = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(file, format="svg", metadata=nothing)
    drawn = file.getvalue()
    view = re.search(r'viewBox="([^"]+)"', drawn)
    if view is None:
        raise ValueError(f"Expected an SVG with a viewBox, got {drawn[:200]!r}.")
    inside = drawn[drawn.index(">", drawn.index("<svg")) + 1 : drawn.rindex("</svg>")]
    for pattern, instead in (
        (r"<metadata>.*?</metadata>", ""),
        (r"<!--.*?-->", ""),
        (r'<g id="[A-Za-z][\w.]*_\d+"(/?)>', r"<g\1>"),  # numbered alike in every chart of a page
        (r"\bxlink:href=", "href="),
        (r"font-family: [^;\"]*(; )?", ""),
        (r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px"),
        (r"\n\s*", "\n"),
    ):
        inside = re.sub(pattern, instead, inside, flags=re.DOTALL)
    for colour, variable in _NAMES.items():
        inside = inside.replace(colour, f"var(--{variable})")
    return tag("svg", Html(inside), viewBox=view[1], role="img", aria_label=says)
