"""Where a key is used: which versions hold pictures protected under it, and whether it is time to replace it."""

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from avih.errors import UsageError
from avih.evaluation.summary import COUNTED
from avih.gallery import read_history
from avih.keys.budget import LeakBudget
from avih.keys.log import LogEntry
from avih.keys.records import KeyRecord
from avih.keys.states import State, is_key_id
from avih.naming import STAGE_FOLDERS, ShardAddress, Store
from avih.shards import read_done

MAXIMUM_AGE_DAYS = 90
BUDGET_SHARE = 0.9


@dataclass(frozen=True, order=True)
class ShardUse:
    """One protected shard of a key and how many of its images have a protected picture."""

    gallery: str
    version: str
    number: int
    images: int


@dataclass(frozen=True, order=True)
class VersionUse:
    """One gallery version under a key; ``current`` if it is the one that serves."""

    gallery: str
    version: str
    images: int
    current: bool


@dataclass(frozen=True)
class KeyStatus:
    """How worn a key is.

    Attributes:
        age_days: whole days since its first activation, or since it was made if there was none.
        images: counted against the leak budget.
        due: why it should be replaced; empty if there is no reason.
    """

    key_id: str
    state: State
    recovery: str
    age_days: int
    images: int
    budget: int
    used_by: tuple[VersionUse, ...]
    due: tuple[str, ...]

    def public(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {**asdict(self), "state": str(self.state), "rotation_due": bool(self.due)}


def shards_of_key(store: Store, key_id: str) -> list[ShardUse]:
    """Find every finished shard that a key protected, by gallery, version and number.

    The counts come from the done files, which name the rows by their digest; no row is read, so that the
    question is cheap for a large store.

    Raises:
        IntegrityError: a done file is damaged, so nobody can say what depends on the key.
        UsageError: the key id is none.
    """
    if not is_key_id(key_id):  # it becomes part of a pattern
        raise UsageError(f"Expected a key id of 16 hex digits, got {key_id!r}.")
    found = []
    for path in (store.root / STAGE_FOLDERS["protected"]).glob(f"*/{key_id}/*/*.done.json"):
        try:
            address = ShardAddress.parse(str(path.relative_to(store.root)))
        except UsageError:
            continue  # a file of somebody else's
        done = read_done(store, address)
        if done is not None:
            images = sum(done.counts.get(status, 0) for status in COUNTED)
            found.append(ShardUse(address.gallery, address.version, address.number, images))
    return sorted(found)


def versions_of_key(store: Store, key_id: str) -> tuple[VersionUse, ...]:
    """Find every gallery version that a key protected, with its number of protected images.

    Which version is current is read without checking the signature, which would need the passphrase.

    Raises:
        IntegrityError: a done file or a gallery's list of promotions is damaged.
    """
    total: dict[tuple[str, str], int] = {}
    for shard in shards_of_key(store, key_id):
        place = (shard.gallery, shard.version)
        total[place] = total.get(place, 0) + shard.images
    current = {
        gallery: history.current.version
        for gallery in {gallery for gallery, _ in total}
        if (history := read_history(store=store, gallery=gallery, mac_key=None)).current
    }
    return tuple(
        VersionUse(gallery, version, images, current.get(gallery) == version)
        for (gallery, version), images in sorted(total.items())
    )


def key_age(record: KeyRecord, *, entries: list[LogEntry], now: datetime) -> int:
    """Count whole days since a key was first put to use: a prepared key does not wear out while it waits."""
    of_key = [entry for entry in entries if entry.key_id == record.key_id]
    began = next((entry.time for entry in of_key if entry.to_state is State.ACTIVE), record.created)
    return max(0, (now - began).days)


def key_status(
    store: Store,
    record: KeyRecord,
    *,
    entries: list[LogEntry],
    now: datetime,
    maximum_age_days: int = MAXIMUM_AGE_DAYS,
    budget_share: float = BUDGET_SHARE,
) -> KeyStatus:
    """Say how worn a key is and whether rotation is due; needs no passphrase.

    Args:
        store: where the galleries are.
        record: the key.
        entries: the whole key log.
        now: UTC.
        maximum_age_days: age at which rotation is due.
        budget_share: used share of the leak budget at which it is due.

    Raises:
        IntegrityError: a file that was counted is damaged.
    """
    budget = LeakBudget(store.keys, record.key_id)
    age, used, limit = key_age(record, entries=entries, now=now), budget.used(), budget.limit()
    uses = versions_of_key(store, record.key_id)
    serving = ", ".join(f"{use.gallery} {use.version}" for use in uses if use.current)
    due = []
    if record.state is State.ACTIVE:
        if age >= maximum_age_days:
            due.append(f"in use for {age} days (limit {maximum_age_days})")
        if used >= budget_share * limit:
            due.append(f"{used} images protected of a budget of {limit}")
    elif serving:
        due.append(f"{record.state}, so it may not protect, but {serving} is current under it")
    return KeyStatus(
        key_id=record.key_id, state=record.state, recovery=record.recovery, age_days=age, images=used,
        budget=limit, used_by=uses, due=tuple(due),
    )  # fmt: skip
