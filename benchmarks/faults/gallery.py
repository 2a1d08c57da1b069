"""One gallery in a folder of its own: what must be true of it, however it was treated."""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq

from avih.gallery import History, read_history
from avih.index_file import read_index
from avih.keys import KeyStore, Passphrase, Vault
from avih.naming import ShardAddress, Store
from avih.shards import read_done, verify_shard
from benchmarks.faults.fault import require
from benchmarks.faults.works import GALLERY
from tasks.verify_store import Verification, verify_store

PASSPHRASE = "a benchmark keeps no secret"
TEMPORARY = (".part", ".tmp")
NOT_OURS = ("mlflow", "prefect")
SAME = ("*.tar", "*.parquet", "*.done.json", "manifest.json")  # what every run must write in the same bytes


class Appearing:
    """Counts the files that have appeared so far in a folder, temporary ones too."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._seen = folder, set[str]()

    def __call__(self) -> int:
        """Look, and return the count."""
        if self.folder.is_dir():
            self._seen.update(path.name for path in self.folder.iterdir())
        return len(self._seen)


@dataclass(frozen=True)
class Gallery:
    """A store with one gallery and the photos it is made from."""

    root: Path

    @property
    def store(self) -> Store:
        """The store."""
        return Store.find(self.root / "store")

    @property
    def address(self) -> str:
        """Its address, for commands."""
        return str(self.root / "store")

    @property
    def photos(self) -> str:
        """The source."""
        return str(self.root / "photos")

    def command(self, name: str, *more: str) -> tuple[str, ...]:
        """Return the words of an ``avih`` command on this gallery."""
        return (name, "--gallery", GALLERY, "--store", self.address, *more)

    def protected(self) -> dict[str, bytes]:
        """Return all protected files that every run writes alike, by their paths."""
        root = self.store.gallery_root("protected", GALLERY)
        found = [path for pattern in SAME for path in root.rglob(pattern)]
        return {str(path.relative_to(root)): path.read_bytes() for path in sorted(found)}

    def appearing(self) -> "Appearing":
        """Return a counter of the files that appear among the first version's protected ones."""
        return Appearing(
            self.store.folder("protected", gallery=GALLERY, version="v0001", key_id=self.key_ids()[0])
        )

    def key_ids(self) -> list[str]:
        """Return the ids of all keys of the store."""
        return [record.key_id for record in KeyStore(self.store.keys).list()]

    def contents(self) -> dict[str, bytes]:
        """Return all files of the store, by their paths."""
        root = self.root / "store"
        return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}

    def images(self, *, without_shard: int | None = None) -> list[str]:
        """Return the ids of all photos of the first version but those of one shard."""
        index = read_index(store=self.store, gallery=GALLERY, version="v0001")
        return sorted(index.image_id[index["shard"] != without_shard])

    def shards(self, stage: str, version: str, key_id: str | None = None) -> list[ShardAddress]:
        """Return the shards of a version that have a done file."""
        folder = self.store.root / ShardAddress(stage, GALLERY, version, 0, key_id).folder
        numbers = sorted(int(path.name.partition(".")[0]) for path in folder.glob("[0-9]*.done.json"))
        return [ShardAddress(stage, GALLERY, version, number, key_id) for number in numbers]

    def all_shards(self) -> list[ShardAddress]:
        """Return every shard with pictures that can be seen, of all versions."""
        found = []
        for version in self.store.versions(GALLERY):
            found += self.shards("aligned", version)
            for key_id in self.store.keys_of(GALLERY, version):
                found += self.shards("protected", version, key_id)
        return found

    def measurements(self) -> list[ShardAddress]:
        """Return every measured shard that can be seen; its done file is of another kind."""
        store = self.store
        at = [(v, key_id) for v in store.versions(GALLERY) for key_id in store.keys_of(GALLERY, v)]
        return [address for version, key_id in at for address in self.shards("evaluated", version, key_id)]

    def nothing_half(self) -> None:
        """Check that every shard that can be seen is whole; what was cut short must not be seen at all."""
        for address in self.all_shards():
            problems = verify_shard(self.store, address)
            require(not problems, f"a half-made shard is visible: {problems[:1]}")
        for address in self.measurements():
            done = json.loads(self.store.shard(address, "done.json").read_bytes())
            rows = pq.read_metadata(self.store.shard(address, "parquet")).num_rows
            require(rows == done["rows"], f"half-made measurements are visible: {address}")

    def nothing_left(self) -> None:
        """Check that no temporary file is left."""
        root = self.root / "store"
        left = [
            str(path.relative_to(root))
            for path in root.rglob("*")
            if path.name.endswith(TEMPORARY) and path.relative_to(root).parts[0] not in NOT_OURS
        ]
        require(not left, f"temporary files are left: {left[:3]}")

    def accounted(self, version: str = "v0001", key_id: str | None = None) -> None:
        """Check that every photo of the index has exactly one result, and that the sums say the same."""
        keys = [key_id] if key_id else self.store.keys_of(GALLERY, version)
        require(len(keys) == 1, f"expected {version} under one key, got {keys}")
        addresses = self.shards("protected", version, keys[0])
        tables = [pd.read_parquet(self.store.shard(address, "parquet")) for address in addresses]
        require(tables, f"{version} has no protected shard")
        rows = Counter(pd.concat(tables).image_id)
        index = Counter(read_index(store=self.store, gallery=GALLERY, version=version).image_id)
        require(rows == index, f"rows {rows - index} too many, {index - rows} missing")
        done = [read_done(self.store, address) for address in addresses]
        counted = sum(sum(record.counts.values()) for record in done if record)
        require(counted == sum(index.values()), f"the done files count {counted} of {sum(index.values())}")

    def same_bytes(self, undisturbed: "Gallery") -> None:
        """Check that what is protected has the bytes that it has where nothing was broken."""
        ours, theirs = self.protected(), undisturbed.protected()
        differ = sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name))
        require(not differ and ours, f"other bytes than in an undisturbed run: {differ[:3]}")

    def verified(self) -> Verification:
        """Verify the whole store, every byte."""
        return verify_store(store=self.store, passphrase=Passphrase(PASSPHRASE.encode()))

    def whole(self) -> None:
        """Check that nothing is half, nothing is left, and that ``avih verify`` has nothing to say."""
        self.nothing_half()
        self.nothing_left()
        found = self.verified()
        require(found.ok, f"verify: {[(one.where, one.says) for one in found.problems[:2]]}")

    def history(self) -> History:
        """Return which versions are and were current, their signature checked."""
        return read_history(store=self.store, gallery=GALLERY, mac_key=Vault(self.store.keys).mac_key())

    def serves(self) -> str:
        """Check that the current version is whole and accounts for every photo; return its name."""
        current = self.history().current
        require(current is not None, "no version is current")
        assert current is not None
        self.accounted(current.version, current.key_id)
        return current.version

    def rotations(self) -> int:
        """Count the rotations that came to their end: a key was retired and no plan is left."""
        if self.store.rotation(GALLERY).exists():
            return 0
        return sum(record.state == "deactivated" for record in KeyStore(self.store.keys).list())

    def rotated(self, times: int = 1) -> None:
        """Check the end of rotations: the current key alone is active, no plan, the version before stays."""
        current = self.history().current
        require(current is not None, "no version is current")
        assert current is not None
        states = {record.key_id: str(record.state) for record in KeyStore(self.store.keys).list()}
        active = [key_id for key_id, state in states.items() if state == "active"]
        require(active == [current.key_id], f"keys {states}, current is {current.key_id}")
        require(not self.store.rotation(GALLERY).exists(), "the rotation's plan is still there")
        versions = self.store.versions(GALLERY)
        require(len(versions) == 2 and versions[-1] == current.version, f"versions {versions}")
        require(len(states) == 1 + times, f"expected {1 + times} keys, got {states}")
