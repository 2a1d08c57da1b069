"""Destroy a key for good: only one that is out of use, only after a waiting period, and knowing what is lost.

NIST SP 800-57 Part 1 Rev. 5, section 8.3.4: a key is destroyed when nothing needs it any more. Nobody can say
that of yesterday's key, so the default is to wait 30 days after its last change of state.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from avih.errors import KeyRefused, UsageError
from avih.key_use import VersionUse, versions_of_key
from avih.keys.log import verify_log
from avih.keys.records import KeyRecord
from avih.keys.states import State, check_transition
from avih.keys.store import KeyStore
from avih.naming import Store

WAITING_DAYS = 30


@dataclass(frozen=True)
class Destruction:
    """What destroying a key would mean.

    Attributes:
        since: when the key came into its present state.
        lost: the gallery versions whose originals no key brings back then.
    """

    key_id: str
    state: State
    since: datetime
    waiting_days: int
    lost: tuple[VersionUse, ...]

    @property
    def images(self) -> int:
        """How many protected images become unrecoverable."""
        return sum(use.images for use in self.lost)


def plan_destruction(
    store: Store, keys: KeyStore, key_id: str, *, waiting_days: int = WAITING_DAYS
) -> Destruction:
    """Check that a key may be destroyed now, and count what would be lost; changes nothing.

    Raises:
        UsageError: no such key, or a waiting period below 0.
        KeyRefused: the key is in use or destroyed already, or has to wait.
        IntegrityError: a shard is damaged, so that what is lost cannot be counted.
    """
    if waiting_days < 0:
        raise UsageError(f"Expected a waiting period of 0 days or more, got {waiting_days}.")
    record = keys.show(key_id)
    check_transition(record.key_id, record.state, State.DESTROYED)
    since = [entry.time for entry in verify_log(keys.log.path) if entry.key_id == record.key_id][-1]
    ready = since + timedelta(days=waiting_days)
    if keys.log.clock() < ready:
        raise KeyRefused(
            f"Expected key {record.key_id} to be {record.state} for {waiting_days} days before it is destroyed, "
            f"got {record.state} since {since:%Y-%m-%d}. Wait until {ready:%Y-%m-%d %H:%M} UTC, or ask for a "
            "shorter wait with --waiting-days; the log will say so."
        )
    lost = versions_of_key(store, record.key_id)
    return Destruction(record.key_id, record.state, since, waiting_days, lost)


def destroy_key(
    keys: KeyStore, planned: Destruction, *, confirmed: str, actor: str, reason: str
) -> KeyRecord:
    """Destroy a key whose id was typed again; its sealed file and its veils go, its record and its log stay.

    Raises:
        UsageError: another id was typed; nothing changes.
        KeyRefused: the key's state changed meanwhile.
    """
    if confirmed.strip().lower() != planned.key_id:
        raise UsageError(
            f"Expected the key id {planned.key_id} typed again to destroy the key, got {confirmed.strip()!r}. "
            "Nothing was changed."
        )
    said = f"{reason}; {planned.images} protected images become unrecoverable"
    if planned.waiting_days < WAITING_DAYS:
        said += f"; asked for after {planned.waiting_days} days instead of {WAITING_DAYS}"
    return keys.transition(planned.key_id, State.DESTROYED, actor=actor, reason=said)
