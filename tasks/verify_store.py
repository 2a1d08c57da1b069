"""Verify what a store holds against its signatures and digests: every problem is named, none stops the check."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from avih.errors import UsageError
from avih.keys import Passphrase
from avih.mirror.seam import reread
from avih.naming import KEYS_FOLDER, STAGE_FOLDERS, ShardAddress, Store, veils_folder
from avih.verifying import Findings, Part
from avih.verifying_keys import NO_PASSPHRASE, Unlocked, verify_keys
from avih.verifying_versions import Reading, stored_versions, verify_current, verify_version
from tasks.records import Record
from tasks.verify_records import verify_records, verify_version_records

# Nothing depends on these: locks, temporary files, estimates of the past, and what people put beside.
DERIVED: Final = (".lock", "plans.jsonl", "README.md")
UNKNOWN: Final = "no signed list names it: of an earlier release, of work that did not end, or not of avih"


class Finding(Record):
    """A problem, or what could not be checked: kind of file, place in the store, and a sentence."""

    what: str
    where: str
    says: str


class Verification(Record):
    """What a verification came to.

    Attributes:
        checked: how many files or things were looked at, by kind.
        unchecked: what could not be checked, or was left out on request, and why.
    """

    ok: bool
    checked: dict[str, int]
    problems: tuple[Finding, ...]
    unchecked: tuple[Finding, ...]


def verify_store(
    *,
    store: Store,
    passphrase: Passphrase | None,
    gallery: str | None = None,
    version: str | None = None,
    read_data: bool = True,
    part: Part | None = None,
) -> Verification:
    """Check a store, one gallery, or one version, with the keys that belong to it.

    Args:
        store: where.
        passphrase: opens keys and the vault, whose key compares signatures; without it, what can be checked is.
        gallery: only this one.
        version: only this one of that gallery.
        read_data: read every stored byte; else the sizes of tars and measurements are compared.
        part: read this part of the shards only.

    Raises:
        UsageError: there is nothing of that name, or nothing at all.
        KeyRefused: the passphrase is wrong.
    """
    if read_data:
        # What lies elsewhere is verified, not what was fetched of it before.
        reread(store.root, *((f"{KEYS_FOLDER}/", *store.prefixes(gallery)) if gallery else ()))
    chosen = _chosen(store, gallery, version)
    reads: Callable[[ShardAddress], bool] = part.holds if part else lambda _: read_data
    findings = Findings(store.root)
    used: dict[str, set[str]] = {}
    for name, versions in chosen.items():
        for key_id in {key for one in versions for key in store.keys_of(name, one)}:
            used.setdefault(key_id, set()).add(name)
    unlocked = verify_keys(findings, store, passphrase=passphrase, used=used, only_used=gallery is not None)
    reading = Reading(unlocked.mac_key, reads)
    for name, versions in chosen.items():
        history = verify_current(findings, store, name, reading)
        verify_records(findings, store, name, reading)
        for one in versions:
            verify_version(findings, store, name, one, reading, history)
            verify_version_records(findings, store, name, one, reading)
    _veils(findings, store, unlocked, used, whole=gallery is None)
    for path in _strange(findings, store, chosen, gallery, version):
        findings.skip("other file", path, UNKNOWN)
    problems, unchecked = (
        tuple(Finding(what=one.what, where=one.where, says=one.says) for one in found)
        for found in (findings.problems, findings.unchecked)
    )
    checked = dict(sorted(findings.checked.items()))
    return Verification(ok=not problems, checked=checked, problems=problems, unchecked=unchecked)


def _veils(
    findings: Findings, store: Store, unlocked: Unlocked, used: dict[str, set[str]], *, whole: bool
) -> None:
    """Open the veils of the persons under the keys that are used."""
    for key_id, galleries in sorted(used.items()):
        folder, key = veils_folder(store.keys, key_id), unlocked.keys.get(key_id)
        if key is None:
            for path in sorted(folder.glob("[!.]*")):
                findings.skip("veil", path, NO_PASSPHRASE)
        elif folder.is_dir():
            from avih.verifying_veils import verify_veils

            verify_veils(findings, store, galleries=sorted(galleries), key=key, name_others=whole)


def _chosen(store: Store, gallery: str | None, version: str | None) -> dict[str, list[str]]:
    """Return the versions to look at, by gallery."""
    roots = [store.root / folder for folder in STAGE_FOLDERS.values()]
    names = {path.name for root in roots if root.is_dir() for path in root.iterdir() if path.is_dir()}
    if gallery is None:
        if version is not None:
            raise UsageError("Expected the gallery that the version belongs to, got none. Add --gallery.")
        if not names and not store.keys.is_dir():
            raise UsageError(
                f"Expected a store at {store.address}, got nothing to verify there. Name it with --store."
            )
        return {name: stored_versions(store, name) for name in sorted(names)}
    if gallery not in names:
        known = ", ".join(sorted(names)) or "none"
        raise UsageError(f"Expected a gallery in {store.address}, got {gallery!r}; there are: {known}.")
    versions = stored_versions(store, gallery)
    if version is not None and version not in versions:
        raise UsageError(f"Expected a version of {gallery} among {', '.join(versions)}, got {version!r}.")
    return {gallery: [version] if version else versions}


def _strange(
    findings: Findings, store: Store, chosen: dict[str, list[str]], gallery: str | None, version: str | None
) -> list[Path]:
    """Return the files that no check accounts for."""
    roots = [store.root / folder / name for folder in STAGE_FOLDERS.values() for name in chosen]
    roots += [] if gallery else [store.root / KEYS_FOLDER]
    return [
        path
        for root in roots
        for path in sorted(root.rglob("*"))
        if path.is_file() and not findings.is_known(path) and not _is_derived(path)
        and (version is None or version in path.parts)
    ]  # fmt: skip


def _is_derived(path: Path) -> bool:
    return path.name in DERIVED or (path.name.startswith(".") and path.name.endswith(".part"))
