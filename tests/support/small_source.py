"""The photos of the tests' small gallery: good ones, bad files of many kinds, and faces in odd formats."""

import os
import re
from pathlib import Path

import numpy as np
from PIL import Image

from avih.datasets.synthetic import SyntheticFaces
from benchmarks.bad_inputs.pictures import REFUSED, encoded, odd_formats

GOOD = SyntheticFaces(persons=5, photos_per_person=3, first_person=40)
TWO_FACES = "unusual/two_faces.png"  # person 40 in the middle, person 41 beside
TWO_FACES_NOTE = "2 faces found, the most central one taken"

# Both folders sort after the persons, so that the first shard holds photos alone.
_BAD_KINDS = (
    "no bytes", "JPEG cut in the middle", "PNG cut in the middle", "PNG without its end", "WebP cut",
    "GIF cut", "text", "web page", "PDF", "pickle", "SVG", "HEIC", "PostScript", "32-bit whole numbers",
    "bomb: PNG header of 100000x100000", "bomb: TIFF with one huge tile", "1x1", "PNG, bad CRC in the data",
    "NaN",
)  # fmt: skip
_ODD_KINDS = (
    "CMYK JPEG", "16-bit gray PNG", "16-bit RGB PNG", "RGBA", "palette", "gray JPEG", "float TIFF",
    "EXIF-rotated", "animated GIF", "animated PNG", "PNG named jpg",
)  # fmt: skip
_TOO_SMALL = {"1x1"}  # sound pictures without room for a face are skipped; the others cannot be read


def _path(folder: str, kind: str, ending: str) -> str:
    return f"{folder}/{re.sub(r'[^A-Za-z0-9]+', '_', kind)}{ending}"


_BAD = {
    _path("refused", kind, ".jpg"): (REFUSED[kind][0], "skipped" if kind in _TOO_SMALL else "failed", kind)
    for kind in _BAD_KINDS
}
_NO_FACE = {
    "refused/wall.png": (np.full((120, 120, 3), 90, np.uint8), "no_face"),
    "refused/thumbnail.png": (GOOD.photo(40, 0)[::5, ::5], "photo_too_small"),
}
_NO_FILES = {
    "refused/link_out.png": "outside_source",
    "refused/link_to_nothing.png": "missing",
    "refused/folder.png": "not_a_file",
    "refused/caf\\udce9.png": "name_not_utf8",
}

REFUSALS: dict[str, tuple[str, str]] = (
    {path: (status, REFUSED[kind][1]) for path, (_, status, kind) in _BAD.items()}
    | {path: ("skipped", reason) for path, (_, reason) in _NO_FACE.items()}
    | {path: ("skipped", reason) for path, reason in _NO_FILES.items()}
)  # path in the source -> status and reason that its row must have
_ODD = {
    _path("unusual", kind, Path(odd.name).suffix): odd
    for kind, odd in odd_formats(Image.fromarray(GOOD.photo(42, 3))).items()
    if kind in _ODD_KINDS
}
NOTES: dict[str, set[str]] = {path: set(odd.notes) for path, odd in _ODD.items()} | {
    TWO_FACES: {TWO_FACES_NOTE}
}  # path in the source -> the notes of a face that must be protected all the same
ROWS = GOOD.persons * GOOD.photos_per_person + len(REFUSALS) + len(NOTES)


def write_source(folder: Path) -> None:
    """Write the good photos, the refused files and the faces in odd formats below ``folder``."""
    GOOD.write(folder)
    for name in ("refused", "unusual"):
        (folder / name).mkdir()
    for path, (data, _, _) in _BAD.items():
        (folder / path).write_bytes(data)
    for path, (pixels, _) in _NO_FACE.items():
        (folder / path).write_bytes(encoded("PNG", Image.fromarray(pixels)))
    (folder / "refused/link_out.png").symlink_to("/etc/hostname")
    (folder / "refused/link_to_nothing.png").symlink_to("nothing.png")
    (folder / "refused/folder.png").mkdir()
    (folder / "refused" / os.fsdecode(b"caf\xe9.png")).write_bytes(b"")
    for path, odd in _ODD.items():
        (folder / path).write_bytes(odd.data)
    middle, beside = GOOD.photo(40, 0), GOOD.photo(41, 0)
    both = np.concatenate([beside, middle, np.full_like(middle, 128)], axis=1)
    (folder / TWO_FACES).write_bytes(encoded("PNG", Image.fromarray(both)))
