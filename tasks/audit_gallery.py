"""Audit of a stored version by the security lab: attack it, judge, and keep the figures and the report.

Pictures stay in memory unless the data set consents: then a few reconstructions are in the report.
"""

import hashlib
import json
import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from avih import __version__
from avih.atomic import remove
from avih.attack.second import network_features
from avih.errors import IntegrityError
from avih.evaluation.lpips_metric import Lpips
from avih.lab import registry
from avih.lab.result import LabResult
from avih.lab.runner import Audit, Second, audit
from avih.lab.settings import LabSettings
from avih.mirror.seam import sending
from avih.recognisers import Recogniser
from avih.settings import Recovery
from tasks import opened
from tasks.attack_pairs import shards_digest
from tasks.audit_begun import BegunAudit
from tasks.audit_record import (
    CHOSEN,
    REPORT,
    VERDICT,
    About,
    AuditRecord,
    audit_folder,
    read_audit,
    write_verdict,
)
from tasks.audit_subject import read_subject
from tasks.progress import advance
from tasks.records import Place, RecogniserChoice
from tasks.signed_list import list_files
from tasks.unchanged import unchanged

logger = logging.getLogger(__name__)


def units(names: Sequence[str] = ()) -> int:
    """Return how many steps an audit tells: the controls, and one for each attack."""
    return 1 + len(set(names) or registry.NAMES)


def audit_gallery(
    *,
    place: Place,
    key_id: str,
    recovery: Recovery,
    settings: LabSettings,
    names: tuple[str, ...] = (),
    second: RecogniserChoice | None = None,
    lpips_backbone: str | None = None,
    consenting: bool = False,
    data: str = "",
) -> AuditRecord:
    """Audit a version and write verdict and report, unless exactly that was done already.

    The version is read without its gallery's lock, which only the writing takes: a full audit takes hours, and
    the nights go on. One that was cut off goes on with the first attack that had not ended.

    Args:
        place: the version.
        key_id: its key.
        recovery: how its pictures come back.
        settings: how hard to try, and the limits.
        names: only these attacks; by default all.
        second: the second recogniser; by default a classical one is fitted on the originals.
        lpips_backbone: file with AlexNet's weights.
        consenting: whether the report may show reconstructions; of drawn faces, or where everybody agreed.
        data: which data this is, for the report.

    Raises:
        UsageError: too few persons or pictures, no such attack, or the second recogniser is the service model.
        IntegrityError: a stored file is not the one that was written.
        KeyRefused: the key may not recover.
        VersionChanged: somebody was erased from the version meanwhile.
    """
    whole = set(names) in (set(), set(registry.NAMES))
    about = about_audit(
        place=place, key_id=key_id, settings=settings, names=names, second=second,
        lpips_backbone=lpips_backbone, consenting=consenting, data=data,
    )  # fmt: skip
    folder = audit_folder(place.folder, gallery=place.gallery, version=place.version, whole=whole)
    if kept := kept_audit(folder, place, about):
        advance("audit", units(names))
        return kept
    service = opened.recogniser(place.recogniser, place.folder.root)
    other = _second(second, place, service)
    lpips = Lpips.load(Path(lpips_backbone) if lpips_backbone else None)
    mac_key = opened.vault(place.folder.root).mac_key()
    begun = BegunAudit(folder, inputs=about.inputs_sha256, mac_key=mac_key)
    found = audit(
        subject=read_subject(
            place=place, key_id=key_id, recovery=recovery, most=settings.most_images, consenting=consenting,
            data=data,
        ),
        settings=settings,
        names=() if whole else names,
        second=other,
        lpips=lpips if isinstance(lpips, Lpips) else None,
        tell=logger.info,
        done=lambda: advance("audit"),
        known={} if consenting else begun.known(),
        keep=None if consenting else begun.keep,
    )  # fmt: skip
    with unchanged(place, key_id, stored_sha256=about.stored_sha256, purpose="an audit's verdict"):
        result = _write(folder, found, about, mac_key)
        begun.end()
        list_files(
            store=place.folder, gallery=place.gallery, version=place.version,
            what="audited" if whole else f"audited-{CHOSEN}", files=[folder / VERDICT, folder / REPORT],
            mac_key=mac_key,
        )  # fmt: skip
    return AuditRecord(result=result, about=about, folder=str(folder), made=True)


def kept_audit(folder: Path, place: Place, about: About) -> AuditRecord | None:
    """Return the last audit of this kind, if it is exactly this one; a damaged one is made again."""
    try:
        kept = read_audit(
            place.folder, gallery=place.gallery, version=place.version, whole=folder.name != CHOSEN
        )
    except IntegrityError as error:
        logger.warning("%s", error)
        return None
    same = kept is not None and kept.about.inputs_sha256 == about.inputs_sha256 and kept.report.exists()
    return kept if same else None


def about_audit(
    *, place: Place, key_id: str, settings: LabSettings, names: tuple[str, ...], second: RecogniserChoice | None,
    lpips_backbone: str | None, consenting: bool, data: str,
) -> About:  # fmt: skip
    """Describe an audit by everything that it depends on."""
    about = About(
        key_id=key_id, stored_sha256=shards_digest(place, key_id), inputs_sha256="", code_version=__version__,
        settings=settings.model_dump(mode="json"), pictures=consenting,
        attacks=tuple(name for name in registry.NAMES if name in names or not names),
        time=datetime.now(UTC).isoformat(timespec="seconds"),
    )  # fmt: skip
    parts: list[Any] = [about.model_dump(mode="json", exclude={"time", "inputs_sha256"})]
    parts += [place.gallery, place.version, place.recogniser.model_dump(), data]
    parts += [second and second.model_dump(), lpips_backbone]
    inputs = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
    return about.model_copy(update={"inputs_sha256": inputs})


def _second(choice: RecogniserChoice | None, place: Place, service: Recogniser) -> Second | None:
    if choice is None:
        return None
    recogniser = opened.another_recogniser(choice, place.folder.root, service=service)
    return Second(network_features(recogniser), recogniser.card.name)


def _write(folder: Path, found: Audit, about: About, mac_key: bytes) -> LabResult:
    """Write the report, and the verdict last: with it the audit is done."""
    from avih.lab.report.page import write_report

    folder.mkdir(parents=True, exist_ok=True)
    remove(folder / VERDICT)  # it would speak for a report that is not its own
    with TemporaryDirectory(dir=folder, prefix=".report-") as private:  # nobody else may look in
        path = write_report(found, Path(private))
        path.chmod(0o600 if found.shown else 0o644)
        with sending(folder / REPORT):
            path.replace(folder / REPORT)
    write_verdict(folder, found.result, about, mac_key=mac_key)
    return found.result
