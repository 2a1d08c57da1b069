"""The traces that nights and rotations of a gallery leave: promotions, alerts, a plan, the lock's last holder."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Final, Literal

from pydantic import ValidationError

from avih.errors import IntegrityError, UsageError
from avih.gallery import Promotion
from avih.naming import Store
from tasks.night_record import NightRecord
from tasks.records import Record
from tasks.signed_json import ROTATION_LABEL, read_signed
from tasks.status_parts import Lock, Signature, days_since, signature

# As the flows have them, which this layer does not import.
NIGHT: Final = "nightly re-protection"  # reason of a promotion, and purpose of a lock
ROTATION: Final = "rotation: "  # how the reason of a promotion begins
NIGHT_FLOW, ROTATION_FLOW = "nightly-reprotect", "rotate-keys"
NO_WORD: Final = "it never came to its end: killed, or of an earlier release that kept no word of nights"

Outcome = Literal["unknown", "running", "changed nothing", "went live", "failed"]
SAYING: Final[tuple[Outcome, ...]] = ("unknown", "running", "changed nothing", "went live", "failed")


class Failure(Record):
    """A flow run that failed, as its alert tells."""

    time: str
    flow: str
    gallery: str
    error: str


class Event(Record):
    """The last of a kind of job; ``unknown``: it began then, and left no word of how it ended."""

    time: str
    age_days: int | None
    outcome: Outcome
    about: str


class UnderWay(Record):
    """A rotation that has begun; ``waits`` if all that is missing is a person's yes."""

    began: str
    old_version: str
    version: str
    old_key: str
    new_key: str | None
    approve: str
    signature: Signature
    waits: bool = False


def last_night(
    promotions: Sequence[Promotion],
    failures: Sequence[Failure],
    record: NightRecord | None,
    lock: Lock | None,
    now: datetime,
) -> Event | None:
    """Return the newest trace of a night, its own record and the lock's last holder included."""
    events = _traces(promotions, failures, NIGHT_FLOW, lambda one: one.reason == NIGHT, now)
    if record is not None and not record.changed_anything:
        events.append(_event(record.time, "changed nothing", record.version, now))
    if lock and lock.purpose == NIGHT and lock.since:
        running = lock.state == "held"
        about = "" if running else NO_WORD
        events.append(_event(lock.since, "running" if running else "unknown", about, now))
    return _newest(events)


def last_rotation(
    promotions: Sequence[Promotion], failures: Sequence[Failure], now: datetime
) -> Event | None:
    """Return the newest trace of a rotation that ended."""
    return _newest(
        _traces(promotions, failures, ROTATION_FLOW, lambda one: one.reason.startswith(ROTATION), now)
    )


def rotation_under_way(
    *, store: Store, gallery: str, mac_key: bytes | None, live: str | None, lock: Lock | None
) -> UnderWay | None:
    """Read the plan of a rotation; None where none is under way.

    Args:
        store: where.
        gallery: its name.
        mac_key: of the store's signatures; without it the plan is not checked.
        live: its current version; a rotation of an older one does not go live any more.
        lock: of the gallery; whoever holds it may be working on the rotation.

    Raises:
        IntegrityError: the file is damaged or was altered.
    """
    path = store.rotation(gallery)
    plan = read_signed(path, mac_key=mac_key, label=ROTATION_LABEL)
    if plan is None:
        return None
    names = [name for name in UnderWay.model_fields if name not in ("waits", "signature")]
    try:
        found = UnderWay(signature=signature(mac_key), **{name: plan[name] for name in names})
    except (KeyError, ValidationError):
        raise IntegrityError(
            f"Expected the plan of a rotation in {path}, got something else. Remove it and rotate again."
        ) from None
    idle = lock is not None and lock.state == "free" and live == found.old_version
    waits = found.approve == "ask" and idle and _attacked(store, gallery, found.version)
    return found.model_copy(update={"waits": waits})


def _attacked(store: Store, gallery: str, version: str) -> bool:
    """Tell whether a version has had its attack check, after which only the yes is missing."""
    with suppress(UsageError):  # no name of a version
        return (store.attacked(gallery=gallery, version=version) / "attack.json").exists()
    return False


def _traces(
    promotions: Sequence[Promotion], failures: Sequence[Failure], flow: str,
    mine: Callable[[Promotion], bool], now: datetime,
) -> list[Event]:  # fmt: skip
    live = [_event(one.time, "went live", one.version, now) for one in promotions if mine(one)]
    return live + [_event(one.time, "failed", one.error, now) for one in failures if one.flow == flow]


def _event(time: str, outcome: Outcome, about: str, now: datetime) -> Event:
    return Event(time=time, age_days=days_since(time, now), outcome=outcome, about=about)


def _newest(events: list[Event]) -> Event | None:
    """Return the newest event; of several in one second, the one that says most, and the worst of those."""
    return max(events, key=lambda one: (one.time, SAYING.index(one.outcome)), default=None)
