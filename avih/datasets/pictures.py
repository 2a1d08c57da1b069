"""Public training pictures for generators: scikit-image's photographs and made-up faces, no download."""

from collections.abc import Callable
from contextlib import suppress
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from skimage import data

from avih.datasets.registry import open_source
from avih.datasets.synthetic import SyntheticFaces
from avih.errors import ImageRefused, UsageError
from avih.images import decode_photo

# Photographs inside the scikit-image package; its other pictures would be downloaded.
PHOTOGRAPHS: tuple[str, ...] = (
    "astronaut",
    "brick",
    "camera",
    "chelsea",
    "coffee",
    "coins",
    "grass",
    "gravel",
    "hubble_deep_field",
    "immunohistochemistry",
    "moon",
    "page",
    "retina",
    "rocket",
)
# Persons from here on are neither in the default gallery nor in its recogniser's training set.
FIRST_PERSON = 5000
LONGEST_SIDE = 640  # pixels


def public_pictures(*, faces: int = 48) -> list[NDArray[np.uint8]]:
    """Return scikit-image's photographs and ``faces`` made-up faces, as uint8 ``(h, w, 3)`` arrays."""
    pictures = []
    for name in PHOTOGRAPHS:
        reader: Callable[[], NDArray[np.uint8]] = getattr(data, name)
        picture = np.asarray(reader())
        pictures.append(np.repeat(picture[..., None], 3, axis=2) if picture.ndim == 2 else picture[..., :3])
    made_up = SyntheticFaces(persons=faces, first_person=FIRST_PERSON)
    return pictures + [made_up.photo(FIRST_PERSON + person, 0) for person in range(faces)]


def pictures_of_folder(folder: Path, *, most: int = 2000) -> list[NDArray[np.uint8]]:
    """Return the readable pictures of a folder (a COCO or CelebA download, say), at most ``most``.

    Longer ones than COCO's are shrunk, because all are held at once and crops are drawn from them.

    Raises:
        UsageError: the folder holds none.
    """
    source = open_source(source=str(folder))
    pictures = []
    for photo in islice(source.photos(), most):
        with suppress(ImageRefused):  # a damaged training picture is no loss
            picture = Image.fromarray(decode_photo(source.read(photo), name=photo.path).pixels)
            picture.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
            pictures.append(np.asarray(picture))
    if not pictures:
        raise UsageError(
            f"Expected readable pictures in {folder}, got none. Give another folder with --pictures."
        )
    return pictures
