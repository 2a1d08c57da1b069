"""HTML that cannot be forgotten to be escaped: every text becomes safe where it enters an element."""

from html import escape
from typing import Final

VOID: Final = ("img", "br")


class Html(str):
    """A piece of HTML that is safe as it is."""

    __slots__ = ()


def safe(content: str) -> Html:
    """Escape a text, and leave HTML as it is."""
    return content if isinstance(content, Html) else Html(escape(content))


def joined(*pieces: str) -> Html:
    """Put pieces one after the other."""
    return Html("".join(safe(piece) for piece in pieces))


def tag(name: str, *content: str, css: str = "", **attributes: str) -> Html:
    """Return an element.

    Args:
        name: of the element.
        content: what is in it; texts are escaped.
        css: its class.
        attributes: an underscore stands for a hyphen.
    """
    given = {"class": css} if css else {}
    given |= {key.replace("_", "-"): value for key, value in attributes.items()}
    head = " ".join([name, *(f'{key}="{escape(value)}"' for key, value in given.items())])
    return Html(f"<{head}>" if name in VOID else f"<{head}>{joined(*content)}</{name}>")
