"""What the sample of a protected picture holds: ``png``, ``json`` and, in a sealed gallery, ``sealed``."""

import json
from collections.abc import Mapping

from avih.errors import IntegrityError
from avih.images import decode_png
from avih.recovery import Stored


def stored_of(image: str, files: Mapping[str, bytes]) -> Stored:
    """Read a protected picture with its nonce, its person and its sealed copy from the files of its sample.

    Raises:
        IntegrityError: the picture or the label is missing or no such file.
    """
    try:
        pixels, label = decode_png(files["png"]), json.loads(files["json"])
        nonce, person = str(label["nonce"]), str(label.get("person") or "")
    except (KeyError, ValueError, TypeError) as error:
        raise IntegrityError(
            f"Expected a picture and a label with its nonce in the sample of image {image}, got something else "
            f"({type(error).__name__}). Run avih verify and bring the shard back from a backup."
        ) from None
    return Stored(image, pixels, nonce, files.get("sealed"), person)
