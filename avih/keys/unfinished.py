"""A change of the passphrase that did not end: the file that says so, and the error of who meets it.

``3_keys/passphrase-change.json`` is there while sealed files are sealed anew (:mod:`avih.keys.resealing`), and
stays if that is cut short. It holds a time and who began, nothing of either passphrase.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from avih.errors import KeyRefused
from avih.json_text import read_json

CHANGE_FILE: Final = "passphrase-change.json"


def unfinished_change(folder: Path) -> str | None:
    """Say since when a change of the passphrase is under way or cut short; None where there is none."""
    try:
        return str(read_json((folder / CHANGE_FILE).read_bytes())["began"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        return "at an unknown time"


@contextmanager
def change_explained(folder: Path, name: str) -> Iterator[None]:
    """Let whoever cannot open a sealed file know that a change of the passphrase did not end.

    Raises:
        KeyRefused: the block was refused; the text says what to do.
    """
    try:
        yield
    except KeyRefused:
        if (since := unfinished_change(folder)) is None:
            raise
        raise KeyRefused(
            f"Expected {name} to open, got a refusal: a change of the passphrase began {since} and has not "
            "ended, so some files open with the old one and some with the new. If nobody is at it, finish it "
            "with both: avih keys passphrase"
        ) from None
