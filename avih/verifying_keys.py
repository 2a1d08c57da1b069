"""Verifying the folder of keys: vault, sealed keys, their public records, the log and the leak budgets.

Every sealed file is opened by itself, so that a broken log or one broken key hides nothing of the others.
"""

import hashlib
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from avih.errors import IntegrityError, KeyRefused
from avih.keys import Key, LeakBudget, Passphrase, State, Vault, open_sealed, verify_log
from avih.keys.key import unpack_key
from avih.keys.records import REBUILD, missing, read_record, record_bytes
from avih.keys.sealing import RESTORE
from avih.keys.states import is_key_id
from avih.keys.store import KEY_CONTEXT
from avih.keys.unfinished import change_explained, unfinished_change
from avih.keys.vault import VAULT_CONTEXT, VAULT_FILE
from avih.naming import Store
from avih.verifying import Findings

LOG: Final = "log.jsonl"
NO_PASSPHRASE: Final = "sealed; without the passphrase it cannot be opened"
NO_BUDGET: Final = "no such file: the next shard begins it anew from what the store holds"
NO_SIGNATURE: Final = "without the vault's key its signature cannot be compared"


@dataclass(frozen=True, repr=False)
class Unlocked:
    """What the passphrase opened: the key that signs (none where the vault does not open), and keys by id."""

    mac_key: bytes | None = None
    keys: dict[str, Key] = field(default_factory=dict)


def verify_keys(
    findings: Findings,
    store: Store,
    *,
    passphrase: Passphrase | None,
    used: Collection[str],
    only_used: bool = False,
) -> Unlocked:
    """Check the keys of a store, and return what later checks need.

    Args:
        findings: where the result goes.
        store: where the keys are.
        passphrase: opens sealed files; without it they stay shut.
        used: keys under which there are protected shards.
        only_used: whether other keys are left out.

    Raises:
        KeyRefused: the passphrase opens nothing at all, so it is a wrong one.
    """
    check = _Keys(findings, store.keys, passphrase)
    states = check.log(used)
    if used or check.vault_path.exists():
        check.vault()
    ids = {path.stem for path in store.keys.glob("*.key") if is_key_id(path.stem)} | set(used)
    for key_id in sorted(set(used) if only_used else ids | set(states or {})):
        if states is not None and key_id not in states and key_id not in used:
            text = "no line of the key log names it: an addition that was cut short, or the log lost its end"
            files = [store.keys / f"{key_id}.{ending}" for ending in ("key", "json")]
            findings.skip("key", files[0], text, *files)
            continue
        check.key(key_id, states.get(key_id) if states else None, is_used=key_id in used)
    check.torn_lines()
    check.tell_refused()
    return Unlocked(check.mac_key, check.keys)


class _Keys:
    """One look at a folder of keys."""

    def __init__(self, findings: Findings, folder: Path, passphrase: Passphrase | None) -> None:
        self.findings, self.folder, self.passphrase = findings, folder, passphrase
        self.vault_path = folder / VAULT_FILE
        self.mac_key: bytes | None = None
        self.keys: dict[str, Key] = {}
        self.refused: list[tuple[str, Path, KeyRefused]] = []
        self.opened = False

    def log(self, used: Collection[str]) -> dict[str, State] | None:
        """Return the states of all keys; None where the log does not say them."""
        path, states = self.folder / LOG, None
        if not path.exists() and not used:
            return {}
        with self.findings.looking("key log", path):
            if not path.exists():
                raise missing(path, RESTORE)
            states = {entry.key_id: entry.to_state for entry in verify_log(path)}
            if not path.read_bytes().endswith(b"\n"):
                raise IntegrityError(
                    f"Expected a newline at the end of {LOG}, got a torn last line: a write was cut short, or "
                    "the line was altered. See with avih keys list whether the last change of a key's state is "
                    f"there; if it is not, make it again. {RESTORE}"
                )
            if unknown := sorted(set(used) - set(states)):
                raise IntegrityError(
                    "Expected a line for each key that protects pictures here, got none for "
                    f"{', '.join(unknown)}: lines are missing at the end. {RESTORE}"
                )
        return states

    def vault(self) -> None:
        """Open the vault and keep the key that signs."""
        if self._open("vault", self.vault_path, VAULT_CONTEXT) is not None:
            self.mac_key = Vault(self.folder, self.passphrase).mac_key(create=False)

    def key(self, key_id: str, state: State | None, *, is_used: bool) -> None:
        """Check one key with its record and its budget."""
        path, sealed = self.folder / f"{key_id}.key", None
        if state is not State.DESTROYED:
            sealed = self._key(path)
        elif path.exists():
            text = "Expected no sealed file of a destroyed key, got one: it came back. Remove it."
            self.findings.count("key", path)
            self.findings.problem("key", path, text)
        self._record(key_id, sealed, state)
        self._budget(key_id, is_used=is_used)

    def torn_lines(self) -> None:
        """Check what crashes left of the log: each file's name holds the beginning of its digest."""
        for path in sorted(self.folder.glob(f"{LOG}.torn-*")):
            with self.findings.looking("torn line", path):
                if hashlib.sha256(path.read_bytes()).hexdigest()[:8] != path.name.rpartition("-")[2]:
                    raise IntegrityError(
                        f"Expected the bytes that {path.name} names, got others. No key depends on it."
                    )

    def tell_refused(self) -> None:
        """Name what did not open, or raise if nothing did: then the passphrase is the wrong one."""
        if self.refused and not self.opened:
            raise self.refused[0][2]
        right = (
            "" if unfinished_change(self.folder) else " The passphrase is right: it opens other files here."
        )
        for what, path, error in self.refused:
            self.findings.problem(what, path, f"{error}{right}")

    def _open(self, what: str, path: Path, context: str) -> bytes | None:
        if self.passphrase is None and path.exists():
            self.findings.skip(what, path, NO_PASSPHRASE)
            return None
        with self.findings.looking(what, path):
            try:
                blob = path.read_bytes()
            except FileNotFoundError:
                raise missing(path, RESTORE) from None
            assert self.passphrase is not None
            try:
                with change_explained(self.folder, path.name):
                    data = open_sealed(blob, passphrase=self.passphrase, context=context, name=path.name)
            except KeyRefused as error:  # the passphrase or the file: other files tell which
                self.refused.append((what, path, error))
                return None
            self.opened = True
            return data
        return None

    def _key(self, path: Path) -> bytes | None:
        """Open a sealed key; return the bytes that its public record must have."""
        data = self._open("key", path, KEY_CONTEXT)
        if data is None:
            return None
        try:
            key, record = unpack_key(data)
        except IntegrityError as error:
            self.findings.problem("key", path, str(error))
            return None
        if key.key_id != path.stem:
            text = f"Expected key {path.stem} in {path.name}, got key {key.key_id}: the files were swapped. "
            self.findings.problem("key", path, f"{text}Give each file its own name again. {RESTORE}")
            return None
        self.keys[key.key_id] = key
        return record_bytes(record)

    def _record(self, key_id: str, sealed: bytes | None, state: State | None) -> None:
        path = self.folder / f"{key_id}.json"
        with self.findings.looking("key record", path):
            read_record(self.folder, key_id, state or State.PRE_ACTIVATION)
            if sealed is not None and path.read_bytes() != sealed:
                raise IntegrityError(
                    f"Expected {path.name} to say what was sealed with the key, got something else: it was "
                    f"altered; find out by whom. {REBUILD}"
                )
        if sealed is None:
            text = "only its form was checked: the copy that is sealed with the key "
            text += "went with the key" if state is State.DESTROYED else "could not be opened"
            self.findings.skip("key record", path, text)

    def _budget(self, key_id: str, *, is_used: bool) -> None:
        budget = LeakBudget(self.folder, key_id, self.passphrase)
        if not budget.path.exists():
            if is_used:
                self.findings.skip("leak budget", budget.path, NO_BUDGET)
            return
        with self.findings.looking("leak budget", budget.path):
            budget.verify() if self.mac_key else budget.used()
        if not self.mac_key:
            self.findings.skip("leak budget", budget.path, NO_SIGNATURE)
