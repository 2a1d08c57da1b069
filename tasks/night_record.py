"""What the last night of a gallery found: the word of nights that changed nothing, which leave no version."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from avih.errors import IntegrityError
from avih.keys import Vault
from avih.naming import Store
from tasks.records import Record
from tasks.signed_json import read_signed, write_signed

LABEL: Final = "avih night v1"


class NightRecord(Record):
    """How a night ended that came to its end.

    Attributes:
        time: UTC, ISO 8601.
        version: the live version afterwards.
        changed_anything: whether the night made that version.
        added: photos that came to the source; so ``changed`` and ``removed``.
    """

    gallery: str
    version: str
    time: str
    changed_anything: bool
    added: int
    changed: int
    removed: int


def night_path(store: Store, gallery: str) -> Path:
    """File of the last night."""
    return store.gallery_root("index", gallery) / "night.json"


def save_night(*, store: Store, gallery: str, version: str, changed_anything: bool, **counts: int) -> None:
    """Write how a night ended, signed, in place of the night before."""
    record = NightRecord(
        gallery=gallery, version=version, time=datetime.now(UTC).isoformat(timespec="seconds"),
        changed_anything=changed_anything, **counts,
    )  # fmt: skip
    content: dict[str, Any] = record.model_dump(mode="json")
    mac_key = Vault(store.keys).mac_key()
    write_signed(night_path(store, gallery), content, mac_key=mac_key, label=LABEL, mode=0o600)


def read_night(*, store: Store, gallery: str, mac_key: bytes | None) -> NightRecord | None:
    """Read how the last night ended; None where none came to its end.

    Raises:
        IntegrityError: the file is damaged, was altered or is another gallery's.
    """
    path = night_path(store, gallery)
    content = read_signed(path, mac_key=mac_key, label=LABEL)
    if content is None:
        return None
    try:
        record = NightRecord.model_validate(content)
    except ValidationError:
        record = None
    if record is None or record.gallery != gallery:
        raise IntegrityError(
            f"Expected the record of a night of {gallery} in {path}, got something else. Remove it; the next "
            "night writes it again."
        )
    return record
