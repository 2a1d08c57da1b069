"""Filling in a page: a template beside its module, and the style that all reports have."""

from collections.abc import Mapping
from pathlib import Path
from string import Template

from avih.html.markup import Html

# Nothing is loaded, sent or framed; pictures are in the page itself.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"


def filled(template: Path, parts: Mapping[str, Html]) -> str:
    """Return a page; ``$style`` in its template is the style of all reports.

    Args:
        template: a file with ``$name`` where a part goes.
        parts: what goes there, by name; safe as it is.
    """
    style = Html(Path(__file__).with_name("style.css").read_text(encoding="utf-8"))
    return Template(template.read_text(encoding="utf-8")).substitute({"style": style, **parts})
