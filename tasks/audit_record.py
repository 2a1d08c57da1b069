"""Verdict of the lab on a stored version, as it lies in the store: written, read and believed."""

import json
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from avih.errors import IntegrityError
from avih.lab.result import LabResult
from avih.naming import Store
from tasks import opened
from tasks.records import Record
from tasks.signed_json import AUDIT_LABEL, read_signed, write_signed

VERDICT, REPORT = "verdict.json", "report.html"
CHOSEN: Final = "chosen"  # folder of audits by some attacks only: they stand in for no whole one
_ABOUT: Final = "audit"  # where verdict.json says how it was come by


class About(Record):
    """How a verdict was come by.

    Attributes:
        settings: of the lab, as plain values.
        stored_sha256: digest of the stored shards that were attacked.
        inputs_sha256: digest of everything that the audit depends on.
        pictures: whether the report shows reconstructions.
        time: UTC, ISO 8601.
    """

    key_id: str
    stored_sha256: str
    inputs_sha256: str
    code_version: str
    settings: dict[str, Any]
    attacks: tuple[str, ...]
    pictures: bool
    time: str


class AuditRecord(Record):
    """What the lab found, how, and where it lies; ``made`` is false where it was there already."""

    result: LabResult
    about: About
    folder: str
    made: bool

    @property
    def report(self) -> Path:
        """The report for people."""
        return Path(self.folder) / REPORT

    @property
    def whole(self) -> bool:
        """Whether all attacks were tried."""
        return Path(self.folder).name != CHOSEN

    @property
    def passed(self) -> bool:
        """Whether the verdict lets a release stand: neither a failure nor an audit that proves nothing."""
        return self.result.verdict in ("pass", "warn")


def audit_folder(store: Store, *, gallery: str, version: str, whole: bool = True) -> Path:
    """Folder of a version's last audit by all attacks, or of the last one by some."""
    folder = store.folder("audited", gallery=gallery, version=version)
    return folder if whole else folder / CHOSEN


def write_verdict(folder: Path, result: LabResult, about: About, *, mac_key: bytes) -> None:
    """Sign a verdict and how it was come by, and write both."""
    content = json.loads(
        result.model_dump_json()
    )  # JSON has no NaN: a figure that could not be computed is null
    signed = content | {_ABOUT: about.model_dump(mode="json")}
    write_signed(folder / VERDICT, signed, mac_key=mac_key, label=AUDIT_LABEL)


def read_audit(store: Store, *, gallery: str, version: str, whole: bool = True) -> AuditRecord | None:
    """Read the last audit of a version, its signature checked; None if there was none.

    Raises:
        IntegrityError: the file is damaged or was altered.
    """
    folder = audit_folder(store, gallery=gallery, version=version, whole=whole)
    path = folder / VERDICT
    content = read_signed(path, mac_key=opened.vault(store.root).mac_key(), label=AUDIT_LABEL)
    if content is None:
        return None
    try:
        about = About.model_validate(content.pop(_ABOUT))
        result = LabResult.model_validate(content)
    except (KeyError, ValidationError) as error:
        raise IntegrityError(
            f"Expected an audit in {path}, got something else ({type(error).__name__}): another release of avih "
            "wrote it. Remove it and audit again."
        ) from None
    return AuditRecord(result=result, about=about, folder=str(folder), made=False)
