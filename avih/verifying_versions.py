"""Verifying a gallery's versions: which one is current, the protected shards, and the sealed originals.

A protected shard's done file names the aligned shard it was made from by digest, so the signed manifest vouches
for the sealed originals too.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from avih.atomic import json_bytes
from avih.errors import IntegrityError, UsageError
from avih.gallery import History, read_history
from avih.json_text import read_json
from avih.manifest import MANIFEST_FILE, read_manifest, version_problems
from avih.naming import ShardAddress, Store, version_number
from avih.shards import read_done, shard_problems
from avih.verifying import Findings, Problem
from avih.verifying_keys import NO_SIGNATURE

ENDINGS: Final = ("tar", "parquet", "done.json")
RESTORE: Final = "Bring the file back from a backup; the other shards can be used as they are."
BEGUN: Final = "begun, not signed yet: nothing but its own done files says what its shards hold"
NOT_PROMOTED: Final = (
    "Its signature is right: an older state of the version was put back, or a newer one was never promoted. "
    "Restore the version; if the protect stage made it again, let avih run evaluate and promote it."
)
NEVER_LIVE: Final = "no such file: no version ever went live, or somebody removed it"
NO_ORIGINALS: Final = "no sealed originals are kept of this version"
NOT_READ: Final = "its size was compared, its bytes were not read"


@dataclass(frozen=True, repr=False)
class Reading:
    """What a verification reads with.

    Attributes:
        mac_key: compares signatures; without it they are left out.
        reads: which shards' tars are read whole; of the others the size is looked at.
    """

    mac_key: bytes | None
    reads: Callable[[ShardAddress], bool]


def stored_versions(store: Store, gallery: str) -> list[str]:
    """Name every version of which anything is stored, indexed or not, oldest first."""
    roots = [store.gallery_root("index", gallery), store.gallery_root("aligned", gallery)]
    protected = store.gallery_root("protected", gallery)
    roots += [path for path in protected.iterdir() if path.is_dir()] if protected.is_dir() else []
    names = {path.name for root in roots if root.is_dir() for path in root.iterdir() if path.is_dir()}
    return sorted(filter(_is_version, names), key=version_number)


def as_stored(path: Path) -> None:
    """Check that a JSON file has the one form in which we write it, so that no bit of it goes unseen.

    Raises:
        IntegrityError: it has another form.
    """
    try:
        data = path.read_bytes()
        if json_bytes(read_json(data)) == data:
            return
    except (ValueError, UsageError, RecursionError):
        pass
    raise IntegrityError(
        f"Expected {path.name} as it was written, got other bytes: it was damaged or edited. Bring it back from "
        "a backup."
    )


def verify_current(findings: Findings, store: Store, gallery: str, reading: Reading) -> History | None:
    """Check which versions are and were current; None where the file does not say it."""
    path = store.current(gallery)
    if not path.exists():
        findings.skip("current version", path, NEVER_LIVE)
        return History(gallery=gallery)
    history = None
    with findings.looking("current version", path):
        as_stored(path)
        history = read_history(store=store, gallery=gallery, mac_key=reading.mac_key)
        now = history.current
        if now and not store.keys_of(gallery, now.version):
            raise IntegrityError(
                f"Expected {now.version} of {gallery}, which is current, to be stored, got no folder of it. "
                "Restore the version, or go back to an earlier one: avih gallery rollback."
            )
    if reading.mac_key is None:
        findings.skip("current version", path, NO_SIGNATURE)
    return history


def verify_version(
    findings: Findings, store: Store, gallery: str, version: str, reading: Reading, history: History | None
) -> None:
    """Check the shards of one version, protected and aligned.

    Args:
        findings: where the result goes.
        store: where.
        gallery: its name.
        version: the version's name.
        reading: with what, and how much.
        history: the promotions, which name manifests by digest; None where they cannot be read.
    """
    look = _Version(findings, store, gallery, version, reading)
    for key_id in store.keys_of(gallery, version):
        look.protected(key_id, history)
    look.originals()


class _Version:
    """One look at the shards of a version."""

    def __init__(
        self, findings: Findings, store: Store, gallery: str, version: str, reading: Reading
    ) -> None:
        self.findings, self.store, self.reading = findings, store, reading
        self.gallery, self.version = gallery, version
        self.signed: set[int] = set()  # numbers of shards that a manifest names
        self.made_from: dict[int, str] = {}  # digests of the originals of whole protected shards, by number

    def protected(self, key_id: str, history: History | None) -> None:
        """Check what is protected under one key."""
        first = ShardAddress("protected", self.gallery, self.version, 0, key_id)
        path = self.store.root / first.folder / MANIFEST_FILE
        numbers = set(self._numbers(first))
        if path.exists() or self._was_signed(key_id, history):
            problems = self._by_manifest(path, key_id, history)
            numbers |= self.signed
        else:
            self.findings.skip("protected shard", path.parent, BEGUN)
            addresses = [replace(first, number=number) for number in sorted(numbers)]
            problems = [found for address in addresses for found in self._shard_problems(address)]
        self._tell(problems)
        damaged = {found.where for found in problems}
        for number in sorted(numbers):
            address = replace(first, number=number)
            self._count(address)
            if not any(self._place(address, ending) in damaged for ending in ENDINGS):
                record = read_done(self.store, address)
                self.made_from |= {number: record.inputs_sha256} if record else {}

    def originals(self) -> None:
        """Check the sealed originals, where the version keeps them."""
        first = ShardAddress("aligned", self.gallery, self.version, 0)
        there = set(self._numbers(first))
        if not there:
            if self.signed:
                self.findings.skip("aligned shard", self.store.root / first.folder, NO_ORIGINALS)
            return
        for number in sorted(there | self.signed):
            address = replace(first, number=number)
            problems = self._shard_problems(address)
            record = None if problems else read_done(self.store, address)
            if record and self.made_from.get(number, record.digest()) != record.digest():
                text = "not the sealed originals that the protected shard was made from (altered or older)"
                problems = [Problem("aligned shard", self._place(address, "done.json"), text)]
            self._count(address)
            self._tell(problems)

    def _by_manifest(self, path: Path, key_id: str, history: History | None) -> list[Problem]:
        at: dict[str, Any] = {"store": self.store, "gallery": self.gallery, "version": self.version}
        at |= {"key_id": key_id, "mac_key": self.reading.mac_key}
        self.findings.count("manifest", path)
        if self.reading.mac_key is None:
            self.findings.skip("manifest", path, NO_SIGNATURE)
        problems = version_problems(**at, reads=self.reading.reads)
        with suppress(IntegrityError):  # named among the problems
            manifest = read_manifest(**at)
            self.signed |= {shard.number for shard in manifest.shards}
            promotions = history.promotions if history else ()
            named = [p for p in promotions if (p.version, p.key_id) == (self.version, key_id)]
            if named and named[-1].manifest_sha256 != manifest.digest():
                text = f"Expected the manifest that was promoted at {named[-1].time}, got another. {NOT_PROMOTED}"
                problems.append(Problem("manifest", str(path.relative_to(self.store.root)), text))
        return problems

    def _was_signed(self, key_id: str, history: History | None) -> bool:
        """Tell whether a version without a manifest must have had one: it was promoted or measured."""
        promotions = history.promotions if history else ()
        measured = self.store.folder("evaluated", gallery=self.gallery, version=self.version, key_id=key_id)
        return (self.version, key_id) in {(p.version, p.key_id) for p in promotions} or (
            measured / "summary.json"
        ).exists()

    def _shard_problems(self, address: ShardAddress) -> list[Problem]:
        """Check a shard that no manifest names; earlier releases signed none, a signature must be ours."""
        problems = shard_problems(self.store, address, read_tar=self.reading.reads(address))
        record, key = None if problems else read_done(self.store, address), self.reading.mac_key
        if record and record.hmac_sha256 and key and not record.is_signed_by(key):
            text = "its signature is not one of this store's (altered, or made elsewhere)"
            problems = [Problem(f"{address.stage} shard", self._place(address, "done.json"), text)]
        return problems

    def _numbers(self, first: ShardAddress) -> Iterator[int]:
        for path in (self.store.root / first.folder).glob("*.done.json"):
            with suppress(UsageError):  # a name that no shard of ours has
                yield ShardAddress.parse(str(path.relative_to(self.store.root))).number

    def _count(self, address: ShardAddress) -> None:
        paths = [self.store.shard(address, ending) for ending in ENDINGS]
        self.findings.count(f"{address.stage} shard", *paths)
        if self.reading.reads(address):
            self.findings.count(f"{address.stage} tar read")
        else:
            self.findings.skip(f"{address.stage} tar", paths[0], NOT_READ)

    def _place(self, address: ShardAddress, ending: str) -> str:
        return str(self.store.shard(address, ending).relative_to(self.store.root))

    def _tell(self, problems: list[Problem]) -> None:
        for found in problems:
            advice = "" if found.what == "manifest" else f". {RESTORE}"
            self.findings.problem(found.what, self.store.root / found.where, f"{found.says}{advice}")


def _is_version(name: str) -> bool:
    try:
        return bool(version_number(name))
    except UsageError:
        return False
