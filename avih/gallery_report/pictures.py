"""Pages of a version's pictures, each with what its row says; recovered ones beside them if their owner asks."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from avih.gallery_report.page import style
from avih.html.figures import similarity
from avih.html.markup import Html, joined, tag
from avih.html.page import filled
from avih.html.pictures import png_image

LEAD: Final = "Every photo of the version in the order of its shards, with what its row says."
WITH_RECOVERED: Final = (
    "Protected on the left, recovered on the right: computed now, in memory, and kept nowhere."
)


@dataclass(frozen=True, eq=False)
class Card:
    """One photo of the version.

    Attributes:
        protected: PNG file; None where there is no picture.
        recovered: PNG file; None where it was not asked for or refused.
    """

    image: str
    status: str
    reason: str
    cos: float | None = None
    ssim_e: float | None = None
    ssim_d: float | None = None
    protected: bytes | None = None
    recovered: bytes | None = None


@dataclass(frozen=True, eq=False)
class Sheet:
    """A page of cards; pages are counted from 1, and ``problems`` say what could not be read."""

    gallery: str
    version: str
    number: int
    pages: int
    photos: int
    first: int
    recovered: bool
    cards: tuple[Card, ...]
    problems: tuple[str, ...] = ()


def pictures_page(sheet: Sheet, *, report: str, browse: str) -> str:
    """Return the page.

    Args:
        sheet: what it shows.
        report: address of the report.
        browse: address of these pages, to which ``?page=N`` is put.
    """
    last = sheet.first + len(sheet.cards) - 1
    title = f"Photos {sheet.first} to {last} of {sheet.photos}" if sheet.cards else "No photos"
    css = "cards pairs" if sheet.recovered else "cards"
    parts: dict[str, Html] = {
        "more": style(),
        "title": joined(title),
        "report": joined(report),
        "gallery": joined(f"{sheet.gallery}, version {sheet.version}"),
        "lead": joined(f"{LEAD} {WITH_RECOVERED}" if sheet.recovered else LEAD),
        "problems": _problems(sheet.problems),
        "pages": _pages(sheet, browse),
        "cards": tag("div", *(_card(card, sheet.recovered) for card in sheet.cards), css=css),
    }
    return filled(Path(__file__).with_name("pictures.html"), parts)


def _problems(problems: Sequence[str]) -> Html:
    return tag("ul", *(tag("li", text) for text in problems), css="lead") if problems else Html("")


def _pages(sheet: Sheet, browse: str) -> Html:
    """Lead to the first page, the neighbours and the last."""
    if sheet.pages < 2:
        return Html("")
    here, last = sheet.number, sheet.pages
    wanted = (
        ("First", 1, here > 2), ("Back", here - 1, here > 1), ("Next", here + 1, here < last),
        ("Last", last, here < last - 1),
    )  # fmt: skip
    links = [tag("a", name, href=f"{browse}?page={number}") for name, number, there in wanted if there]
    return tag("nav", *links, tag("span", f"page {here} of {last}", css="ci"), css="pages")


def _card(card: Card, recovered: bool) -> Html:
    first = _picture(card.protected, f"{card.image}, protected", card.status.replace("_", " "))
    shown = first
    if recovered:
        otherwise = "nothing to recover" if card.protected is None else "refused: not recovered"
        shown = tag("div", first, _picture(card.recovered, f"{card.image}, recovered", otherwise), css="pair")
    named = (("cos", card.cos), ("SSIM_e", card.ssim_e), ("SSIM_d", card.ssim_d))
    figures = " \N{MIDDLE DOT} ".join(
        f"{name} {similarity(value)}" for name, value in named if value is not None
    )
    status = ": ".join(text for text in (card.status.replace("_", " "), card.reason) if text)
    lines = [tag("strong", card.image), status, *([tag("span", figures, css="sub")] if figures else [])]
    return tag("figure", shown, tag("figcaption", *lines), css="card")


def _picture(png: bytes | None, alt: str, otherwise: str) -> Html:
    return tag("div", otherwise, css="empty") if png is None else png_image(png, alt=alt)
