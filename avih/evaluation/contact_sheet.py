"""Contact sheets: originals, protected and recovered images side by side, for the key's owner alone.

A sheet holds originals: it belongs into a private folder, never into a report, a log or a tracking server.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from avih.errors import UsageError
from avih.evaluation.metrics import Pixels, checked_picture
from avih.keys.sealing import write_private

PAPER: Final = (255, 255, 255)
INK: Final = (34, 34, 34)
GREY: Final = (150, 150, 150)
GAP: Final = 8  # pixels between pictures
MARGIN: Final = 16
TEXT_SIZES: Final = (13, 22)  # smallest and largest type, in pixels
LARGEST: Final = 120_000_000  # pixels of a whole sheet

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@dataclass(frozen=True)
class _Layout:
    """Where everything on a sheet goes, in the sheet's pixels."""

    cell_height: int
    cell_width: int
    labels: list[list[str]]
    captions: list[list[str]]
    label_font: Font
    caption_font: Font

    @property
    def width(self) -> int:
        return 2 * MARGIN + len(self.labels) * (self.cell_width + GAP) - GAP

    @property
    def first_row(self) -> int:
        return MARGIN + max(len(lines) for lines in self.labels) * _line_height(self.label_font) + GAP // 2

    @property
    def row_height(self) -> int:
        """A row with its caption and the space below it; captions are spaced so that each is near its row."""
        most = max(len(lines) for lines in self.captions)
        return self.cell_height + (most * _line_height(self.caption_font) + 2 * GAP if most else GAP)

    @property
    def height(self) -> int:
        return self.first_row + len(self.captions) * self.row_height + MARGIN - GAP

    def left(self, column: int) -> int:
        return MARGIN + column * (self.cell_width + GAP)


def contact_sheet(
    columns: Sequence[tuple[str, Sequence[NDArray[np.uint8]]]],
    captions: Sequence[str] = (),
    scale: int = 2,
) -> Pixels:
    """Draw pictures in a labelled grid: one row per image, one column per kind of picture.

    Args:
        columns: label and pictures of each column, for instance original, protected, recovered, wrong key.
        captions: a text per row, drawn below its pictures; none for a sheet without.
        scale: how many pixels of the sheet make one pixel of a picture, in each direction; never smoothed.

    Shape: pictures uint8 (H, W, 3), sizes may differ; returns uint8 (height, width, 3).

    Raises:
        UsageError: no pictures, columns or captions of different lengths, or a sheet beyond all size.
    """
    layout = _lay_out(columns, captions=captions, scale=scale)
    sheet = Image.new("RGB", (layout.width, layout.height), PAPER)
    pen = ImageDraw.Draw(sheet)
    for column, ((_, pictures), lines) in enumerate(zip(columns, layout.labels, strict=True)):
        left = layout.left(column)
        # Short labels stand on the pictures, not at the top of the sheet.
        top = layout.first_row - GAP // 2 - len(lines) * _line_height(layout.label_font)
        _write(pen, lines, at=(left + layout.cell_width // 2, top), font=layout.label_font, anchor="ma")
        for row, picture in enumerate(pictures):
            enlarged = np.repeat(np.repeat(picture, scale, axis=0), scale, axis=1)
            down = layout.first_row + row * layout.row_height + (layout.cell_height - enlarged.shape[0]) // 2
            right = left + (layout.cell_width - enlarged.shape[1]) // 2
            sheet.paste(Image.fromarray(enlarged), (right, down))
    for row, lines in enumerate(layout.captions):
        top = layout.first_row + row * layout.row_height + layout.cell_height + GAP // 2
        _write(pen, lines, at=(MARGIN, top), font=layout.caption_font, anchor="la")
    return np.array(sheet, dtype=np.uint8)


def tile(text: str, *, like: NDArray[np.uint8]) -> Pixels:
    """Draw an even grey picture with a word on it, for the place of a picture that there is not.

    Shape: like uint8 (H, W, 3); returns the same shape.
    """
    height, width = like.shape[:2]
    drawn = Image.new("RGB", (width, height), GREY)
    font = ImageFont.load_default(TEXT_SIZES[0])
    ImageDraw.Draw(drawn).text((width // 2, height // 2), text, font=font, fill=INK, anchor="mm")
    return np.array(drawn, dtype=np.uint8)


def _lay_out(
    columns: Sequence[tuple[str, Sequence[NDArray[np.uint8]]]], *, captions: Sequence[str], scale: int
) -> _Layout:
    rows = _checked(columns, captions=captions, scale=scale)
    pictures = [picture for _, column in columns for picture in column]
    cell_height = scale * max(picture.shape[0] for picture in pictures)
    cell_width = scale * max(picture.shape[1] for picture in pictures)
    size = int(np.clip(cell_width // 12, *TEXT_SIZES))
    label_font, caption_font = ImageFont.load_default(size), ImageFont.load_default(max(size - 2, 12))
    text_width = len(columns) * (cell_width + GAP) - GAP
    layout = _Layout(
        cell_height=cell_height,
        cell_width=cell_width,
        labels=[_wrapped(label, font=label_font, width=cell_width) for label, _ in columns],
        captions=[_wrapped(text, font=caption_font, width=text_width) for text in captions or [""] * rows],
        label_font=label_font,
        caption_font=caption_font,
    )
    if layout.height * layout.width > LARGEST:
        raise UsageError(
            f"Expected a sheet of at most {LARGEST} pixels, got {layout.height} x {layout.width}: give fewer "
            "pictures or a smaller scale."
        )
    return layout


def _checked(
    columns: Sequence[tuple[str, Sequence[NDArray[Any]]]], *, captions: Sequence[str], scale: int
) -> int:
    """Return the number of rows after checking that everything fits together."""
    lengths = [len(pictures) for _, pictures in columns]
    rows = max(lengths, default=0)
    if rows == 0 or set(lengths) != {rows}:
        raise UsageError(
            f"Expected columns of equally many pictures, at least one, got {lengths or 'no columns'}."
        )
    if captions and len(captions) != rows:
        raise UsageError(f"Expected one caption per row or none, got {len(captions)} for {rows} rows.")
    if scale < 1:
        raise UsageError(f"Expected a scale of at least 1, got {scale}.")
    for label, pictures in columns:
        for place, picture in enumerate(pictures):
            checked_picture(picture, name=f"picture {place} of column {label!r}")
    return rows


def _line_height(font: Font) -> int:
    return int(np.ceil(font.getbbox("Ag|")[3])) + 3


def _wrapped(text: str, *, font: Font, width: int) -> list[str]:
    """Break text into lines that fit, keeping double spaces; a word that does not fit is broken too."""
    lines: list[str] = []
    for word in text.strip().split(" ") if text.strip() else ():
        if lines and font.getlength(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
            continue
        lines.append("")
        for letter in word:
            if lines[-1] and font.getlength(lines[-1] + letter) > width:
                lines.append("")
            lines[-1] += letter
    return [line.strip() for line in lines]


def _write(
    pen: ImageDraw.ImageDraw, lines: Sequence[str], *, at: tuple[int, int], font: Font, anchor: str
) -> None:
    for number, line in enumerate(lines):
        pen.text((at[0], at[1] + number * _line_height(font)), line, font=font, fill=INK, anchor=anchor)


def write_private_png(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Write a picture that only its owner may read: file mode 0600 from its creation, folder mode 0700.

    A missing or empty folder is made private. One that has other files in it and is open to others is left as
    it is, and refused: it may be a shared folder, or the one the program was started in.

    Shape: uint8 (H, W, 3).

    Raises:
        UsageError: no picture, another ending than ``.png``, or a folder that others may enter.
    """
    checked_picture(pixels)
    if path.suffix.lower() != ".png":
        raise UsageError(
            f"Expected a file name that ends in .png, got {path.name}: a sheet must stay lossless."
        )
    folder = path.absolute().parent
    if folder.is_dir() and folder.stat().st_mode & 0o077 and any(folder.iterdir()):
        raise UsageError(
            f"Expected a private folder (mode 700) for pictures of people, got {folder}, which others may "
            f"enter: name a new folder, or run: chmod 700 {folder}"
        )
    encoded = io.BytesIO()
    Image.fromarray(pixels).save(encoded, format="PNG")
    write_private(folder / path.name, encoded.getvalue(), replace=True)
