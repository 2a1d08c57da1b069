"""Pictures inside a page."""

import base64

from avih.html.markup import Html, tag


def png_image(png: bytes, *, alt: str) -> Html:
    """Return an element that holds a PNG file, in the picture's own size or less.

    Args:
        png: the whole file; its header says how large the picture is.
        alt: what it shows, for those who do not see it.
    """
    width, height = (str(int.from_bytes(png[place : place + 4], "big")) for place in (16, 20))
    source = "data:image/png;base64," + base64.b64encode(png).decode()
    return tag("img", src=source, alt=alt, width=width, height=height)
