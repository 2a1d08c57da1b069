"""The parts of a gallery's status: what each says, and how it is read without asking anybody for a passphrase.

What is signed is checked where the passphrase is at hand, and called unchecked where it is not. What was altered
is not believed: an error says so, and nothing of it is told.
"""

import fcntl
import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final, Literal

from avih.atomic import runs_here
from avih.errors import AvihError, IntegrityError
from avih.json_text import read_json
from avih.key_use import key_age
from avih.keys import KeyStore, LeakBudget, Vault, verify_log
from avih.keys.passphrase import KEY_FILE_VARIABLE, PASSPHRASE_VARIABLE, passphrase_given
from avih.mirror import seam
from avih.naming import Store
from tasks.drill_record import LABEL as DRILL_LABEL
from tasks.drill_record import drill_path, parse_drill
from tasks.records import Record
from tasks.signed_json import AUDIT_LABEL, read_signed

Signature = Literal["checked", "unchecked"]
AUDIT_FILE: Final = "verdict.json"  # of tasks/audit_record.py, which takes seconds to import


class Drilled(Record):
    """A version's last drill; ``failed`` counts the pictures that did."""

    version: str
    signature: Signature
    time: str
    age_days: int | None
    passed: bool
    sample: int
    mean_ssim_d: float | None
    lowest_ssim_d: float | None
    failed: int
    damaged: int


class Audited(Record):
    """A version's last audit by all attacks."""

    version: str
    signature: Signature
    time: str
    age_days: int | None
    verdict: str
    profile: str


class KeyFacts(Record):
    """A key, and how worn it is; ``signature`` is that of the count of its leak budget."""

    key_id: str
    state: str
    recovery: str
    age_days: int
    budget_used: int
    budget_limit: int
    signature: Signature


class Lock(Record):
    """Whether somebody works on a gallery, and who did so last.

    Attributes:
        state: ``unknown`` where the file system has no locks.
        stale: it is held, but the process that took it is not running: a child of it may still be.
    """

    state: Literal["free", "held", "unknown"]
    stale: bool = False
    purpose: str | None = None
    host: str | None = None
    pid: int | None = None
    since: str | None = None


def days_since(time: str | None, now: datetime) -> int | None:
    """Return whole days since an ISO time; None where it is none."""
    try:
        moment = datetime.fromisoformat(time or "")
    except ValueError:
        return None
    return max(0, (now - (moment if moment.tzinfo else moment.replace(tzinfo=UTC))).days)


def signing_key(store: Store) -> tuple[bytes | None, str]:
    """Derive the key of the store's signatures, or say why not; no prompt, and no vault is made."""
    if not Vault(store.keys).path.exists():
        return None, "there is no vault, so nothing of this store can be checked"
    if not passphrase_given():
        return None, f"no passphrase in {PASSPHRASE_VARIABLE} or {KEY_FILE_VARIABLE}"
    try:
        return Vault(store.keys).mac_key(create=False), ""
    except AvihError as error:
        return None, str(error)


def signature(mac_key: bytes | None) -> Signature:
    """Say whether what was read with this key, or without one, is checked."""
    return "unchecked" if mac_key is None else "checked"


def read_drilled(
    *, store: Store, gallery: str, version: str, mac_key: bytes | None, now: datetime
) -> Drilled | None:
    """Read a version's last drill; None if there was none.

    Raises:
        IntegrityError: the file is damaged or was altered.
    """
    found = read_signed(
        drill_path(store, gallery=gallery, version=version), mac_key=mac_key, label=DRILL_LABEL
    )
    if found is None:
        return None
    record = parse_drill(found, gallery=gallery, version=version)
    return Drilled(
        version=version, signature=signature(mac_key), time=record.time, age_days=days_since(record.time, now),
        passed=record.passed, sample=record.sample, mean_ssim_d=record.mean_ssim_d,
        lowest_ssim_d=record.lowest_ssim_d, failed=len(record.failing), damaged=len(record.damaged),
    )  # fmt: skip


def read_audited(
    *, store: Store, gallery: str, version: str, mac_key: bytes | None, now: datetime
) -> Audited | None:
    """Read the verdict of a version's last audit by all attacks; None if there was none.

    Raises:
        IntegrityError: the file is damaged or was altered.
    """
    path = store.folder("audited", gallery=gallery, version=version) / AUDIT_FILE
    found = read_signed(path, mac_key=mac_key, label=AUDIT_LABEL)
    if found is None:
        return None
    try:
        time, verdict, profile = str(found["audit"]["time"]), str(found["verdict"]), str(found["profile"])
        if (found["gallery"], found["version"]) != (gallery, version):
            raise KeyError
    except (KeyError, TypeError):
        raise IntegrityError(
            f"Expected the audit of {gallery} {version} in {path}, got something else. Audit it again."
        ) from None
    return Audited(version=version, signature=signature(mac_key), time=time,
                   age_days=days_since(time, now), verdict=verdict, profile=profile)  # fmt: skip


def read_key(store: Store, key_id: str, *, mac_key: bytes | None, now: datetime) -> KeyFacts:
    """Say how worn a key is.

    Raises:
        UsageError: there is no such key.
        KeyRefused: the key folder belongs to somebody else.
        IntegrityError: its record, its budget or the log is damaged or was altered.
    """
    keys, budget = KeyStore(store.keys), LeakBudget(store.keys, key_id)
    if mac_key is not None:
        budget.verify()
    record = keys.show(key_id)
    return KeyFacts(
        key_id=key_id, state=str(record.state), recovery=record.recovery,
        age_days=key_age(record, entries=verify_log(keys.log.path), now=now),
        budget_used=budget.used(), budget_limit=budget.limit(), signature=signature(mac_key),
    )  # fmt: skip


def read_lock(store: Store, gallery: str) -> Lock:
    """Ask the kernel whether a gallery's lock is held: what the file says stays there after its writer ended."""
    path = store.gallery_root("index", gallery) / ".lock"
    if (elsewhere := seam.holder(path.parent)) is not None:
        said = {name: elsewhere[name] for name in ("purpose", "host", "since", "pid") if name in elsewhere}
        stale = bool(elsewhere) and elsewhere["idle"] > elsewhere["stale"]
        return Lock.model_validate({"state": "held" if elsewhere else "free", "stale": stale} | said)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return Lock(state="free")
    try:
        state = _asked(descriptor)
        facts: dict[str, Any] = {}
        with suppress(ValueError, KeyError, TypeError):
            held: Mapping[str, Any] = read_json(os.pread(descriptor, 4096, 0))
            texts = {name: str(held[name]) for name in ("purpose", "host", "since")}
            facts = {**texts, "pid": int(held["pid"])}
    finally:
        os.close(descriptor)
    here = state == "held" and facts.get("host") == socket.gethostname()
    return Lock(state=state, stale=here and not runs_here(facts["pid"]), **facts)


def _asked(descriptor: int) -> Literal["free", "held", "unknown"]:
    """Try for a shared lock and give it back at once: only the kernel knows, on every machine alike."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return "held"
    except OSError:
        return "unknown"
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return "free"
