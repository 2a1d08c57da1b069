"""Reconstructions beside the truth, for data sets whose persons agreed to be shown."""

import io
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from avih.html.markup import Html, joined, tag
from avih.html.pictures import png_image
from avih.lab.runner import Shown

NOT_SHOWN: Final = (
    "Pictures are shown only for consenting data sets, whose persons agreed to it. Here are none to show."
)
PARTS: Final = ("truth", "what the attacker saw", "guess without it", "reconstruction")


def picture_strips(shown: Sequence[Shown], titles: dict[str, str]) -> Html:
    """Show for each attack the truth, what the attacker saw, the guess without it, and the reconstruction.

    Args:
        shown: a few pictures of each attack; empty: a sentence says why there are none.
        titles: of the attacks, by name.
    """
    if not shown:
        return tag("p", NOT_SHOWN)
    text = "In each row: the truth, what the attacker saw, the guess without it, and the best reconstruction."
    return joined(tag("p", text), *(_strip(one, titles.get(one.attack, one.attack)) for one in shown))


def _strip(one: Shown, title: str) -> Html:
    rows = (
        _row(pictures, row)
        for row, pictures in enumerate(zip(one.truth, one.seen, one.prior, one.guess, strict=True), 1)
    )
    return joined(
        tag("h3", title, " ", tag("span", one.label, css="ci")),
        tag("div", *rows, css="strip"),
    )


def _row(pictures: Sequence[NDArray[np.uint8]], row: int) -> Html:
    cells = (
        tag("figure", _image(pixels, alt=f"Picture {row}: {part}"), tag("figcaption", part))
        for part, pixels in zip(PARTS, pictures, strict=True)
    )
    return tag("div", *cells, css="four")


def _image(pixels: NDArray[np.uint8], *, alt: str) -> Html:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG", optimize=True)
    return png_image(file.getvalue(), alt=alt)
