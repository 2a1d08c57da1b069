"""What the sample of a protected picture holds: ``png``, ``json`` and, in a sealed gallery, ``sealed``."""

from collections.abc import Mapping

from avih.errors import IntegrityError
from avih.images import decode_png
from avih.json_text import read_json
from avih.recovery import Stored
from avih.shards import Sample, file_sha256


def stored_of(image: str, files: Mapping[str, bytes]) -> Stored:
    """Read a protected picture with its nonce, its person and its sealed copy from the files of its sample.

    Raises:
        IntegrityError: the picture or the label is missing or no such file.
    """
    try:
        pixels, label = decode_png(files["png"]), read_json(files["json"])
        nonce, person = str(label["nonce"]), str(label.get("person") or "")
    except (KeyError, ValueError, TypeError) as error:
        raise IntegrityError(
            f"Expected a picture and a label with its nonce in the sample of image {image}, got something else "
            f"({type(error).__name__}). Run avih verify and bring the shard back from a backup."
        ) from None
    return Stored(image, pixels, nonce, files.get("sealed"), person)


def genuine(sample: Sample, *, expected: str | None) -> Stored:
    """Read the sample of a protected picture, if its picture is the one that its row names.

    Args:
        sample: of a protected shard.
        expected: the row's ``file_sha256``; None where there is no row.

    Raises:
        IntegrityError: it is another picture, or no sample of a protected picture.
    """
    if "png" in sample.files and file_sha256(sample.files) != expected:
        raise IntegrityError("the stored picture is not the one of its row")
    return stored_of(sample.key, sample.files)
