"""Filling in a page: a template beside its module, and the style that all reports have."""

from collections.abc import Mapping
from pathlib import Path
from string import Template

from avih.html.markup import Html

# Nothing is loaded, sent or framed; pictures are in the page itself.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"


def filled(template: Path, parts: Mapping[str, Html]) -> str:
    """Return a page with the head and the style of all reports.

    Args:
        template: a file with the body, and ``$name`` where a part goes.
        parts: what goes there, by name, safe as it is: ``title``, and ``more`` style if there is some.
    """
    head, style = (
        Path(__file__).with_name(name).read_text(encoding="utf-8") for name in ("head.html", "style.css")
    )
    page = Template(head + template.read_text(encoding="utf-8"))
    return page.substitute({"policy": Html(POLICY), "style": Html(style), "more": Html(""), **parts})
