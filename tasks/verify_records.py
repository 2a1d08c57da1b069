"""Verifying the records beside the shards: who was erased, a policy, a version's signed lists and its audits."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from avih.errors import IntegrityError, UsageError
from avih.index_file import INDEX_FILE, count_index
from avih.json_text import read_json
from avih.naming import ShardAddress, Store
from avih.verifying import Findings
from avih.verifying_keys import NO_SIGNATURE
from avih.verifying_versions import NOT_READ, Reading, as_stored
from tasks.drill_record import DRILL_FILE
from tasks.drill_record import LABEL as DRILL_LABEL
from tasks.erased import read_erased
from tasks.erasing_journal import journal_path
from tasks.night_record import LABEL as NIGHT_LABEL
from tasks.night_record import night_path
from tasks.run_record import RECORD_FILE, read_run
from tasks.signed_json import (
    ATTACK_LABEL,
    AUDIT_LABEL,
    ERASING_LABEL,
    POLICY_LABEL,
    ROTATION_LABEL,
    SIGNATURE,
    read_signed,
)
from tasks.signed_list import changes, lists_of, read_list

UNSIGNED: Final = "written by an earlier release without a signature: only its form was checked"
UNLISTED: Final = "written by an earlier release: no signed list names what it should hold"
LISTS: Final = {"index": "index", "evaluated": "measurement", "attacked": "attack check", "audited": "audit"}


def verify_records(findings: Findings, store: Store, gallery: str, reading: Reading) -> None:
    """Check the records of a gallery that belong to no version."""
    look = _Look(findings, reading)
    look.signed("policy", store.policy(gallery), POLICY_LABEL, expected={"gallery": gallery})
    look.signed("erased persons", store.erased(gallery), unsigned=True, read=lambda: read_erased(
        store=store, gallery=gallery, mac_key=reading.mac_key))  # fmt: skip
    plan = store.rotation(gallery)
    look.signed("rotation plan", plan, expected={"gallery": gallery},
                read=lambda: _read_plan(plan, reading))  # fmt: skip
    look.signed("night", night_path(store, gallery), NIGHT_LABEL, expected={"gallery": gallery})
    erasing = journal_path(store, gallery)
    look.signed("erasure", erasing, ERASING_LABEL, expected={"gallery": gallery})
    if erasing.exists():
        text = "an erasure is under way or was cut short: the same avih erase goes on with it"
        findings.skip("erasure", erasing, text)


def verify_version_records(
    findings: Findings, store: Store, gallery: str, version: str, reading: Reading
) -> None:
    """Check the lists, the index, the audit and the drill of one version."""
    look, folder = _Look(findings, reading), store.folder("index", gallery=gallery, version=version)
    index = folder / INDEX_FILE
    with findings.looking("index", index):
        count_index(store=store, gallery=gallery, version=version)
    if (run := folder / RECORD_FILE).exists():
        with findings.looking("run record", run):
            as_stored(run)
            read_run(run)
    audited = store.folder("audited", gallery=gallery, version=version)
    for verdict in (audited / "verdict.json", audited / "chosen" / "verdict.json"):
        look.signed("audit", verdict, AUDIT_LABEL)
    about = {"gallery": gallery, "version": version}
    check = store.attacked(gallery=gallery, version=version) / "attack.json"  # its module brings torch along
    look.signed("attack check", check, ATTACK_LABEL, expected=about, unsigned=True)
    look.signed("drill", audited / DRILL_FILE, DRILL_LABEL, expected=about)
    for path in lists_of(store, gallery, version):
        look.list(store, path)
    for file in (index, run):
        if file.exists() and not look.is_listed(file):
            findings.skip("index", file, UNLISTED)


def _read_plan(path: Path, reading: Reading) -> dict[str, Any]:
    from tasks.rotation_plan import (
        RotationPlan,  # it brings torch along, and most of the time there is no plan
    )

    content = read_signed(path, mac_key=reading.mac_key, label=ROTATION_LABEL) or {}
    try:
        RotationPlan.model_validate(content)
    except ValidationError:
        raise IntegrityError(
            f"Expected the plan of a rotation in {path.name}, got a damaged file. Remove it and rotate again."
        ) from None
    return content


class _Look:
    """One look at records; remembers which files a list named."""

    def __init__(self, findings: Findings, reading: Reading) -> None:
        self.findings, self.reading = findings, reading
        self._listed: set[Path] = set()

    def is_listed(self, path: Path) -> bool:
        """Tell whether a list that was read names a file."""
        return path in self._listed

    def signed(
        self,
        what: str,
        path: Path,
        label: str = "",
        *,
        expected: dict[str, str] | None = None,
        unsigned: bool = False,
        read: Callable[[], Any] | None = None,
    ) -> None:
        """Check one signed file; that of another place is none."""
        if not path.exists():
            return
        with self.findings.looking(what, path):
            as_stored(path)
            content = read() if read else self._read(path, label, unsigned)
            wrong = [name for name, value in (expected or {}).items() if content.get(name) != value]
            if wrong:
                raise IntegrityError(f"Expected {path.name} of this place, got that of another {wrong[0]}.")
            if unsigned and SIGNATURE not in read_json(path.read_bytes()):
                self.findings.skip(what, path, UNSIGNED)
            elif self.reading.mac_key is None:
                self.findings.skip(what, path, NO_SIGNATURE)

    def list(self, store: Store, path: Path) -> None:
        """Check a list, and the files that it names."""
        what = LISTS.get(path.stem.partition("-")[0], path.stem)
        files: dict[str, Any] = {}
        with self.findings.looking("signed list", path):
            as_stored(path)
            files = read_list(store, path, mac_key=self.reading.mac_key)
            if self.reading.mac_key is None:
                self.findings.skip("signed list", path, NO_SIGNATURE)
        reads = self._reads(store)
        for name in files:
            self._listed.add(store.root / name)
            self.findings.count(what, store.root / name)
            if not reads(store.root / name):
                self.findings.skip(what, store.root / name, NOT_READ)
        for found in changes(store, files, reads=reads):
            self.findings.problem(what, store.root / found.where, found.says)

    def _read(self, path: Path, label: str, unsigned: bool) -> dict[str, Any]:
        return read_signed(path, mac_key=self.reading.mac_key, label=label, unsigned=unsigned) or {}

    def _reads(self, store: Store) -> Callable[[Path], bool]:
        """Tell which files are read whole: measurements of a shard as the shard's tar, all others always."""

        def reads(path: Path) -> bool:
            if path.suffix != ".parquet":
                return True
            try:
                return self.reading.reads(ShardAddress.parse(str(path.relative_to(store.root))))
            except UsageError:  # no shard's
                return True

        return reads
