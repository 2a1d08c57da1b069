"""Tables that fit a phone: there each cell stands under the name of its column."""

from collections.abc import Iterable, Iterator, Sequence

from avih.html.figures import NONE
from avih.html.markup import Html, tag

Row = Sequence[str]


def table(columns: Sequence[str], body: Iterable[Html]) -> Html:
    """Return a table with these columns; its body are elements ``tr``."""
    head = tag("thead", tag("tr", *(tag("th", name, scope="col") for name in columns)))
    return tag("div", tag("table", head, tag("tbody", *body)), css="scroll")


def table_rows(columns: Sequence[str], rows: Iterable[Row]) -> Iterator[Html]:
    """Yield one ``tr`` for each row; the first cell is what the row is about."""
    for row in rows:
        cells = (
            tag("td", tag("div", cell), data_label=name, css=_class(place, cell))
            for place, (name, cell) in enumerate(zip(columns, row, strict=True))
        )
        yield tag("tr", *cells)


def facts_grid(facts: Iterable[tuple[str, str]]) -> Html:
    """Return names with what is known of each, in a grid."""
    return tag("dl", *(tag("div", tag("dt", name), tag("dd", text)) for name, text in facts), css="grid")


def _class(place: int, cell: str) -> str:
    if place == 0:
        return "first"
    return "none" if cell == NONE else ""
