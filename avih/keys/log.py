"""The log of key states: the state of a key is what the log says.

The log is a file of JSON lines, each holding the SHA-256 of the line before it, so an edited, removed or
reordered line is found and named. The chain has no key: whoever may write the file can write it anew, or cut
whole lines off its end. To find that too, keep the last line's ``sha256`` somewhere else (:meth:`KeyLog.head`).
"""

import hashlib
import json
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from avih.atomic import sync_folder
from avih.errors import IntegrityError, KeyRefused, UsageError
from avih.json_text import read_json
from avih.keys.sealing import RESTORE, locked, write_private
from avih.keys.states import State, check_actor, check_transition, is_key_id, utc_now
from avih.mirror.seam import sending

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LogEntry:
    """One line of the log; ``from_state`` is None where a key enters the store."""

    sequence: int
    time: datetime
    key_id: str
    from_state: State | None
    to_state: State
    actor: str
    reason: str
    previous_sha256: str
    sha256: str


def _encode(fields: Mapping[str, Any]) -> bytes:
    return json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()


def _decode(line: bytes) -> LogEntry:
    """Read one line on its own.

    Raises:
        ValueError: what is wrong with the line.
    """
    try:
        fields = read_json(line)
        stated = fields.pop("sha256")
        entry = LogEntry(
            sequence=fields["sequence"],
            time=datetime.fromisoformat(fields["time"]),
            key_id=str(fields["key_id"]),
            from_state=None if fields["from"] is None else State(fields["from"]),
            to_state=State(fields["to"]),
            actor=str(fields["actor"]),
            reason=str(fields["reason"]),
            previous_sha256=fields["previous_sha256"],
            sha256=stated,
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ValueError("it is no complete entry") from None
    # Encoding again also finds edits that reading JSON does not see: spaces, repeated fields.
    if hashlib.sha256(_encode(fields)).hexdigest() != stated or _encode(fields | {"sha256": stated}) != line:
        raise ValueError("it was edited, its content does not match its sha256")
    if not is_key_id(entry.key_id):  # it becomes a file name
        raise ValueError("it names no key")
    return entry


@dataclass
class _Chain:
    """The entries read so far, and the state each key has reached."""

    entries: list[LogEntry] = field(default_factory=list)
    states: dict[str, State] = field(default_factory=dict)  # in the order the keys were added

    @property
    def head(self) -> str:
        return self.entries[-1].sha256 if self.entries else "0" * 64

    def accept(self, line: bytes) -> LogEntry:
        """Check one more line against the chain and take it in.

        Raises:
            ValueError: what is wrong with the line.
        """
        entry = _decode(line)
        if (entry.sequence, entry.previous_sha256) != (len(self.entries) + 1, self.head):
            raise ValueError(f"it is entry {entry.sequence} and does not follow: lines are missing or moved")
        if entry.from_state is not self.states.get(entry.key_id):
            raise ValueError(f"it starts from {entry.from_state}, not from where the key was")
        try:
            check_transition(entry.key_id, entry.from_state, entry.to_state)
        except KeyRefused as error:
            raise ValueError(str(error)) from None
        self.entries.append(entry)
        self.states[entry.key_id] = entry.to_state
        return entry

    def next_line(self, *, time: datetime, key_id: str, to: State, actor: str, reason: str) -> bytes:
        fields: dict[str, Any] = {
            "sequence": len(self.entries) + 1,
            "time": time.astimezone(UTC).isoformat(timespec="seconds"),
            "key_id": key_id,
            "from": self.states.get(key_id),
            "to": to,
            "actor": actor,
            "reason": reason,
            "previous_sha256": self.head,
        }
        return _encode(fields | {"sha256": hashlib.sha256(_encode(fields)).hexdigest()})


def _read(data: bytes, *, name: str) -> tuple[_Chain, bytes]:
    """Read a log into its chain and the torn end of the last line, if a crash left one.

    A last line without a newline was never reported as written. If it is whole all the same, it counts; if it
    is JSON but no valid entry, no crash did that: a torn line is never JSON.
    """
    chain, lines = _Chain(), data.split(b"\n")
    last = lines.pop()
    for number, line in enumerate(lines, start=1):
        try:
            chain.accept(line)
        except ValueError as error:
            raise _broken(name, number, error) from None
    if last:
        try:
            chain.accept(last)
        except ValueError as error:
            if _is_json(last):
                raise _broken(name, len(lines) + 1, error) from None
            return chain, last
    return chain, b""


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except RecursionError:  # no crash wrote that
        return True
    except ValueError:
        return False
    return True


def _broken(name: str, number: int, error: ValueError) -> IntegrityError:
    return IntegrityError(
        f"Expected a whole chain in {name}, got a bad line {number}: {error}. No key is used "
        f"until it is mended. {RESTORE}"
    )


def _verify(path: Path) -> _Chain:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return _Chain()
    except PermissionError as error:
        raise KeyRefused(f"Expected to own the key folder {path.parent}, got: {error.strerror}.") from error
    chain, torn = _read(data, name=path.name)
    if torn:
        number = len(chain.entries) + 1
        logger.warning(
            "%s: line %d is torn (%d bytes): a write was cut short or is under way. It is left out; the next "
            "change of a key's state repairs the file.", path.name, number, len(torn),
        )  # fmt: skip
    return chain


def verify_log(path: Path) -> list[LogEntry]:
    """Check a whole log and return its entries; a torn last line is named in a warning and left out.

    Raises:
        IntegrityError: a line was edited, removed, moved or cut; the line is named.
    """
    return _verify(path).entries


@dataclass(frozen=True)
class KeyLog:
    """The append-only log of one key store; safe with several processes at once."""

    path: Path
    clock: Callable[[], datetime] = utc_now

    def states(self) -> dict[str, State]:
        """Return the state of every key, in the order the keys were added."""
        return _verify(self.path).states

    def head(self) -> str:
        """Return the last entry's ``sha256``; kept elsewhere, it shows later whether lines were cut off."""
        return _verify(self.path).head

    def append(self, *, key_id: str, to: State, actor: str, reason: str) -> LogEntry:
        """Record one change of state, on the disk when this returns.

        Raises:
            KeyRefused: the key's present state does not allow it.
            UsageError: actor or reason is empty, or the key id is none.
            IntegrityError: the log is damaged.
        """
        check_actor(actor=actor, reason=reason)
        if not is_key_id(key_id):
            raise UsageError(f"Expected a key id of 16 hex digits, got {key_id!r}.")
        with locked(self.path.parent), sending(self.path):
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "r+b", buffering=0) as file:
                os.fchmod(descriptor, 0o600)
                data = file.read()
                chain, torn = _read(data, name=self.path.name)
                check_transition(key_id, chain.states.get(key_id), to)
                line = chain.next_line(
                    time=self.clock(), key_id=key_id, to=to, actor=actor.strip(), reason=reason.strip()
                )
                entry = chain.accept(line)  # what is written has passed the reader
                if torn:
                    data = data[: -len(torn)]
                    _set_aside(self.path, torn)
                    file.truncate(len(data))
                _write_line(descriptor, after=data, line=line)
            sync_folder(self.path.parent)
        logger.info("key %s: %s -> %s", key_id, entry.from_state, entry.to_state)
        return entry


def _set_aside(path: Path, torn: bytes) -> None:
    """Keep the bytes of a torn line beside the log, named by their hash; nothing is thrown away unseen."""
    aside = path.with_name(f"{path.name}.torn-{hashlib.sha256(torn).hexdigest()[:8]}")
    write_private(aside, torn, replace=True)
    logger.warning("%s: the torn last line was moved to %s", path.name, aside.name)


def _write_line(descriptor: int, *, after: bytes, line: bytes) -> None:
    missing_newline = b"\n" if after and not after.endswith(b"\n") else b""
    data = missing_newline + line + b"\n"
    try:
        if os.write(descriptor, data) != len(data):
            raise OSError("the disk took only part of a line of the key log")
        os.fsync(descriptor)
    except OSError:
        os.ftruncate(descriptor, len(after))  # a full disk must not leave half a line
        raise
