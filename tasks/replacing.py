"""Replace a shard so that nothing is lost whichever point a kill hits.

The new files are written whole beside the old ones, then a signed note that says which they are; only then do
they take the old names, the done file last. Without the note the old shard is untouched and the new one is begun
again; with it the moving is gone on with. The note stays until ``forget``: it says that what stands there now was
put there on purpose, and by whom. A shard in the middle of it is none: its done file does not fit its files.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from avih.atomic import folder_lock, remove, remove_tree, sync_folder
from avih.mirror.seam import local, sending
from avih.naming import ShardAddress, Store
from tasks.signed_json import REPLACED_LABEL, read_signed, write_signed

ENDINGS = ("tar", "parquet", "done.json")
NOTE = "replaced.json"


@dataclass(frozen=True, repr=False)
class Replacing:
    """Replaces shards for one purpose; notes of another purpose count as none."""

    store: Store
    purpose: str
    mac_key: bytes

    def replace(self, address: ShardAddress, write: Callable[[Store], object]) -> None:
        """Replace a shard by what ``write`` puts at its address in the store that it is given."""
        aside = self.store.aside()
        # The done file first: what a killed writer left must never look like the one that the note means.
        for ending in (NOTE, "done.json", "tar", "parquet"):
            remove(aside.shard(address, ending))
        write(aside)
        content = {"purpose": self.purpose, "done_sha256": done_digest(aside, address)}
        write_signed(
            aside.shard(address, NOTE),
            content,
            mac_key=self.mac_key,
            label=self._label(address),
            mode=0o600,
        )
        self.go_on(address)

    def go_on(self, address: ShardAddress) -> bool:
        """Finish a replacement that was begun; tell whether its shard stands at the address now.

        Raises:
            IntegrityError: the note is damaged or was altered.
        """
        note = read_signed(
            self.store.aside().shard(address, NOTE), mac_key=self.mac_key, label=self._label(address)
        )
        if note is None or note.get("purpose") != self.purpose:
            return False
        if done_digest(self.store.aside(), address) == note["done_sha256"]:
            self._move(address)
        return done_digest(self.store, address) == note["done_sha256"]

    def forget(self, folder_of: ShardAddress) -> None:
        """Remove the notes beside the shards of one folder, once nobody will go on with any of it."""
        folder = self.store.aside().shard(folder_of, NOTE).parent
        if folder.is_dir():
            remove_tree(folder)

    def _move(self, address: ShardAddress) -> None:
        aside = self.store.aside()
        old = {ending: self.store.shard(address, ending) for ending in ENDINGS}
        new = {ending: aside.shard(address, ending) for ending in ENDINGS}
        for path in new.values():
            local(path)  # on another machine than began it, a tar may only stand for its bytes
        with folder_lock(old["tar"].parent), sending(*old.values(), *new.values()):
            for ending in ENDINGS:
                if new[ending].exists():
                    new[ending].replace(old[ending])
                    sync_folder(old[ending].parent)
            sync_folder(new["tar"].parent)

    def _label(self, address: ShardAddress) -> str:
        return f"{REPLACED_LABEL} {address.folder / address.name}"


def done_digest(store: Store, address: ShardAddress) -> str | None:
    """SHA-256 of a shard's done file, as manifests have it; None where there is none."""
    try:
        return hashlib.sha256(store.shard(address, "done.json").read_bytes()).hexdigest()
    except FileNotFoundError:
        return None
