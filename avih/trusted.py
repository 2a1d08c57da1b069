"""Which shards this store made itself: what is taken over or signed must come from somebody with the passphrase.

A done file agrees with its shard whoever wrote both. So it carries a signature by the vault's key. Earlier
releases wrote none: such a shard counts where the signed manifest of its version speaks for it, and is made again
elsewhere.
"""

import logging
from typing import Any, Literal

from avih.errors import IntegrityError
from avih.manifest import read_manifest
from avih.naming import ShardAddress, Store
from avih.shards import DoneRecord, read_done, shard_state

logger = logging.getLogger(__name__)


def read_trusted(store: Store, address: ShardAddress, *, mac_key: bytes) -> DoneRecord | None:
    """Read a shard's done file; None where there is no such shard, or nothing proves that this store made it.

    Raises:
        IntegrityError: the done file is damaged, of another format, or of another shard.
    """
    record = read_done(store, address)
    if record is None or record.is_signed_by(mac_key):
        return record
    if record.hmac_sha256 is None and _in_manifest(store, address, record, mac_key):
        return record
    logger.warning(
        "Shard %s is not taken for ours: nothing that this store signed speaks for it.", record.shard
    )
    return None


def trusted_state(
    store: Store, address: ShardAddress, *, mac_key: bytes, **made_with: Any
) -> Literal["missing", "done"]:
    """Say whether a shard is there, made by this store in this way (:func:`avih.shards.shard_state`).

    Raises:
        SettingsMismatch: it is there, made otherwise.
        IntegrityError: the done file is damaged.
    """
    if read_trusted(store, address, mac_key=mac_key) is None:
        return "missing"
    return shard_state(store, address, **made_with)


def _in_manifest(store: Store, address: ShardAddress, record: DoneRecord, mac_key: bytes) -> bool:
    """Tell whether a signed manifest names a protected shard, or one that was made from these originals."""
    if address.stage == "protected":
        return record.file_sha256() == _signed(store, address, mac_key)
    for key_id in store.keys_of(address.gallery, address.version):
        made_of_it = ShardAddress("protected", address.gallery, address.version, address.number, key_id)
        try:
            hidden = read_done(store, made_of_it)
        except IntegrityError:
            continue
        if (
            hidden
            and hidden.inputs_sha256 == record.digest()
            and hidden.file_sha256() == _signed(store, made_of_it, mac_key)
        ):
            return True
    return False


def _signed(store: Store, address: ShardAddress, mac_key: bytes) -> str | None:
    """Return the digest by which the signed manifest of a protected shard's version names it."""
    at: dict[str, Any] = {"gallery": address.gallery, "version": address.version, "key_id": address.key_id}
    try:
        manifest = read_manifest(store=store, **at, mac_key=mac_key)
    except IntegrityError:
        return None
    return next((shard.done_sha256 for shard in manifest.shards if shard.number == address.number), None)
