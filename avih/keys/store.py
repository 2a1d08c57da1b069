"""The key store: sealed key files, their public records, and the log that says what each key may do.

``<key_id>.key`` is the sealed key, ``<key_id>.json`` its public record, ``log.jsonl`` the states. A key is
added in this order: sealed file, record, log entry. The log entry makes it a key of the store: a crash before
it leaves files that nobody lists or uses, and adding the same key again completes them. A key is destroyed in
the opposite order, log entry first, then its sealed file; after a crash between the two, the next change in
the store removes the file.
"""

import logging
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal

from avih.atomic import remove, remove_tree
from avih.errors import IntegrityError, KeyRefused, UsageError
from avih.keys.canonical import read_generator_facts
from avih.keys.key import Key, compute_key_id, pack_key, unpack_key
from avih.keys.log import KeyLog
from avih.keys.passphrase import PassphraseSource, resolve_passphrase
from avih.keys.records import REBUILD, KeyRecord, find_key, missing, read_record, write_record
from avih.keys.sealing import DEFAULT_COST, RESTORE, ScryptCost, locked, open_sealed, write_sealed
from avih.keys.states import State, check_actor, may_protect, may_recover, parse_state, utc_now
from avih.keys.unfinished import change_explained
from avih.keys.vault import require_passphrase
from avih.naming import veils_folder

logger = logging.getLogger(__name__)

Purpose = Literal["protect", "recover", "inspect"]
RECOVERY_MODES: Final = ("keyed", "unmixed", "sealed", "veil", "inverse")
KEY_CONTEXT: Final = "avih key"

_ALLOWED: Final[dict[str, Callable[[State], bool]]] = {
    "protect": may_protect,
    "recover": may_recover,
    "inspect": lambda state: state is not State.DESTROYED,
}


class KeyStore:
    """The keys in one folder.

    Args:
        folder: the store's ``3_keys`` folder; made (mode 0700) when the first key is added.
        passphrase: the passphrase, or a function that finds it when it is first needed; without one it comes
            from the environment or a prompt.
        cost: scrypt parameters for new files.
        clock: gives the time of log entries, UTC.
    """

    def __init__(
        self,
        folder: Path,
        passphrase: PassphraseSource = None,
        *,
        cost: ScryptCost = DEFAULT_COST,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self.folder = Path(folder)
        self.log = KeyLog(self.folder / "log.jsonl", clock)
        self._passphrase = passphrase
        self._cost = cost

    def __repr__(self) -> str:
        return f"KeyStore({str(self.folder)!r})"

    def add(self, key: Key, *, actor: str, reason: str, recovery: str) -> KeyRecord:
        """Seal a new key into the store, in state pre_activation.

        Args:
            key: the key.
            actor: who adds it.
            reason: why, for the log.
            recovery: one of :data:`RECOVERY_MODES`.

        Raises:
            KeyRefused: the key is in the store already, or the passphrase is missing, too short or not that
                of the store's vault.
            UsageError: the recovery mode is unknown, or actor or reason is empty.
            IntegrityError: the key's id is not that of its content.
        """
        if recovery not in RECOVERY_MODES:
            raise UsageError(f"Expected a recovery mode of {', '.join(RECOVERY_MODES)}, got {recovery!r}.")
        check_actor(actor=actor, reason=reason)
        if compute_key_id(secret=key.secret, generator_bytes=key.generator_bytes) != key.key_id:
            raise IntegrityError(f"Expected the id of the key's content, got {key.key_id}. Use Key.create.")
        self._remove_destroyed()
        if state := self.log.states().get(key.key_id):
            raise KeyRefused(f"Expected a new key, got {key.key_id}, which is in the store ({state}).")
        facts = read_generator_facts(key.generator_bytes)
        record = KeyRecord(
            key_id=key.key_id,
            created=key.created,
            architecture=facts.metadata.get("architecture", "unknown"),
            parameters=facts.parameters,
            recovery=recovery,
            created_by=actor.strip(),
            recipe=key.recipe,
            state=State.PRE_ACTIVATION,
        )
        self._write_key(key, record)
        write_record(self.folder, record.public())
        self.log.append(key_id=key.key_id, to=State.PRE_ACTIVATION, actor=actor, reason=reason)
        return record

    def list(self) -> "list[KeyRecord]":
        """Return the records of all keys, in the order they were added; needs no passphrase.

        Raises:
            IntegrityError: the log or a record is missing or damaged.
        """
        return [read_record(self.folder, key_id, state) for key_id, state in self.log.states().items()]

    def show(self, key_id_or_prefix: str) -> KeyRecord:
        """Return the record of one key, named by its id or the beginning of it; needs no passphrase.

        Raises:
            UsageError: no key, or more than one, begins like this.
            IntegrityError: the log or the record is missing or damaged.
        """
        states = self.log.states()
        key_id = find_key(key_id_or_prefix, states)
        return read_record(self.folder, key_id, states[key_id])

    def active(self) -> KeyRecord | None:
        """Return the record of the active key that was added last, or None."""
        states = self.log.states()
        active = [key_id for key_id, state in states.items() if state is State.ACTIVE]
        return read_record(self.folder, active[-1], State.ACTIVE) if active else None

    def require(self, key_id: str, *, purpose: Purpose) -> KeyRecord:
        """Return a key's record if its state allows the purpose; needs no passphrase.

        Raises:
            UsageError: no key, or more than one, begins like this, or the purpose is unknown.
            KeyRefused: the state does not allow the purpose.
        """
        if purpose not in _ALLOWED:
            raise UsageError(f"Expected a purpose of {', '.join(_ALLOWED)}, got {purpose!r}.")
        record = self.show(key_id)
        if not _ALLOWED[purpose](record.state):
            fitting = ", ".join(state for state in State if _ALLOWED[purpose](state))
            allowed = ", ".join(name for name, test in _ALLOWED.items() if test(record.state)) or "nothing"
            raise KeyRefused(
                f"Expected a key that may {purpose} (state {fitting}), got key {record.key_id} in state "
                f"{record.state}, which allows: {allowed}. Choose another key or change the state."
            )
        return record

    def load(self, key_id: str, *, purpose: Purpose) -> Key:
        """Open a key for a purpose its state allows.

        Raises:
            UsageError: no key, or more than one, begins like this, or the purpose is unknown.
            KeyRefused: the state does not allow the purpose, or the passphrase is missing or wrong.
            IntegrityError: a file is missing, damaged, or holds another key than its name says.
        """
        record = self.require(key_id, purpose=purpose)
        key, sealed_record = self._open_key(record.key_id)
        if sealed_record != record.public():
            raise IntegrityError(
                f"Expected {record.key_id}.json to say what was sealed with the key, got something else: it "
                f"was altered; find out by whom. {REBUILD}"
            )
        return key

    def transition(self, key_id: str, to: State | str, *, actor: str, reason: str) -> KeyRecord:
        """Change the state of a key; ``destroyed`` also removes its sealed file and its veils, for good.

        Raises:
            UsageError: no key, or more than one, begins like this; unknown state; empty actor or reason.
            KeyRefused: the present state does not allow the change.
            IntegrityError: the log or a file of the key is missing or damaged.
        """
        # The record is read last: a damaged one must not keep a key from being marked as compromised.
        target, full_id = parse_state(to), find_key(key_id, self.log.states())
        if target is State.ACTIVE and not self._path(full_id, "key").is_file():
            raise missing(self._path(full_id, "key"), RESTORE)
        self.log.append(key_id=full_id, to=target, actor=actor, reason=reason)
        self._remove_destroyed()
        return self.show(full_id)

    def rebuild_record(self, key_id: str) -> KeyRecord:
        """Write a lost or altered public record anew from the copy sealed with the key.

        Raises:
            KeyRefused: the passphrase is missing or wrong.
            IntegrityError: the sealed file is missing, damaged, or holds another key.
        """
        full_id = find_key(key_id, self.log.states())
        write_record(self.folder, self.sealed_record(full_id))
        return self.show(full_id)

    def sealed_record(self, key_id: str) -> dict[str, Any]:
        """Return the public record that is sealed with a key, named by its whole id.

        Raises:
            KeyRefused, IntegrityError: as for :meth:`rebuild_record`.
        """
        return self._open_key(key_id)[1]

    def _path(self, key_id: str, ending: str) -> Path:
        return self.folder / f"{key_id}.{ending}"

    def _write_key(self, key: Key, record: KeyRecord) -> None:
        path, passphrase = self._path(key.key_id, "key"), resolve_passphrase(self._passphrase, confirm=True)
        payload = pack_key(key, record=record.public())
        # Found here, the passphrase may have been changed before the lock was had; a key under another one than
        # the rest would be found to be lost on the day that it is needed.
        with locked(self.folder):
            require_passphrase(self.folder, passphrase)
            try:
                write_sealed(path, payload, passphrase=passphrase, context=KEY_CONTEXT, cost=self._cost)
            except FileExistsError:
                # Left by an addition that never reached the log. It is used if it opens and says the same.
                if self._open_key(key.key_id) != (key, record.public()):
                    raise KeyRefused(
                        f"Expected no {path.name}, got one with other facts, from an addition cut short. "
                        "Remove that file and add the key again."
                    ) from None

    def _open_key(self, key_id: str) -> tuple[Key, dict[str, Any]]:
        path = self._path(key_id, "key")
        try:
            blob = path.read_bytes()
        except FileNotFoundError:
            raise missing(path, RESTORE) from None
        passphrase = resolve_passphrase(self._passphrase)
        with change_explained(self.folder, path.name):
            data = open_sealed(blob, passphrase=passphrase, context=KEY_CONTEXT, name=path.name)
        key, record = unpack_key(data)
        if key.key_id != key_id:
            raise IntegrityError(
                f"Expected key {key_id} in {path.name}, got key {key.key_id}: the files were swapped. "
                f"Give each file its own name again. {RESTORE}"
            )
        return key, record

    def _remove_destroyed(self) -> None:
        for key_id, state in self.log.states().items():
            if state is State.DESTROYED:
                # Also a second name that a process left when it was killed while it put the file in place.
                for path in [*self.folder.glob(f"{key_id}.key"), *self.folder.glob(f".{key_id}.key.*.part")]:
                    remove(path)
                    logger.info("key %s: sealed file removed", key_id)
                if (veils := veils_folder(self.folder, key_id).parent).is_dir():
                    remove_tree(veils)
                    logger.info("key %s: veils removed", key_id)
