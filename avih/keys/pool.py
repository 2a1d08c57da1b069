"""Keys that were made before they are needed."""

from collections.abc import Collection

from avih.keys.records import KeyRecord
from avih.keys.states import State
from avih.keys.store import KeyStore


def prepared_key(keys: KeyStore, recovery: str, *, taken: Collection[str | None] = ()) -> KeyRecord | None:
    """Return the key that waits longest in pre_activation for this recovery, or None: the pool for rotation.

    Args:
        keys: the store.
        recovery: what the key must serve.
        taken: ids of keys that somebody has chosen already.
    """
    waiting = (r for r in keys.list() if r.state is State.PRE_ACTIVATION and r.recovery == recovery)
    return next((record for record in waiting if record.key_id not in taken), None)
