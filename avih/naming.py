"""Build and parse every name in the store: folders, shards, versions and image ids.

The store is one folder per stage, in the data's way: from sources to attacked and audited.
No other module joins a path inside the store.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from avih.mirror import seam
from avih.mirror.address import is_address
from avih.names import (
    KEY_ID,
    KEYED_STAGES,
    KEYS_FOLDER,
    SOURCES_FOLDER,
    STAGE_FOLDERS,
    ShardAddress,
    Stage,
    gallery_name,
    image_id,
    is_version,
    nonce_text,
    suggest_gallery_name,
    veils_folder,
    version_name,
    version_number,
)

__all__ = [
    "KEYED_STAGES",
    "KEYS_FOLDER",
    "SOURCES_FOLDER",
    "STAGE_FOLDERS",
    "ShardAddress",
    "Stage",
    "Store",
    "gallery_name",
    "image_id",
    "nonce_text",
    "suggest_gallery_name",
    "veils_folder",
    "version_name",
    "version_number",
]

ASIDE: Final = "replacing"  # folder beside shards for what is to take their place


@dataclass(frozen=True)
class Store:
    """The folder that holds everything; DESIGN: ``data/`` unless ``AVIH_STORE`` or ``--store`` says otherwise.

    A store elsewhere (``s3://BUCKET/PREFIX``) is seen through a working copy: ``root`` is that folder of this
    machine, and ``address`` is what finds the store again from any other.
    """

    root: Path

    @classmethod
    def find(cls, given: str | Path | None = None) -> "Store":
        """Choose the store: the argument, else ``AVIH_STORE``, else ``./data``; nothing is fetched yet.

        Raises:
            UsageError: an address that cannot be used.
        """
        chosen = given or os.environ.get("AVIH_STORE") or "data"
        if isinstance(chosen, str) and is_address(chosen):
            return cls(seam.register(chosen))
        root = Path(chosen).expanduser().absolute()
        seam.recognise(root)
        return cls(root)

    @classmethod
    def open(cls, given: str | Path | None = None) -> "Store":
        """Choose the store and bring its working copy up to date, where it has one.

        Raises:
            UsageError: an address that cannot be used.
            StoreUnreachable: no answer from there.
            IntegrityError: the address leads to another store than before.
        """
        return cls.find(given).refreshed()

    def refreshed(self, gallery: str | None = None) -> "Store":
        """Bring the working copy of a store elsewhere up to date: all of it, or the keys and one gallery."""
        if gallery is None:
            seam.refreshed(self.root)
        else:
            seam.refreshed(self.root, f"{KEYS_FOLDER}/", *self.prefixes(gallery))
        return self

    @staticmethod
    def prefixes(gallery: str) -> tuple[str, ...]:
        """Beginnings of the paths of all files of a gallery, relative to the store."""
        return tuple(f"{folder}/{gallery_name(gallery)}/" for folder in STAGE_FOLDERS.values())

    @property
    def address(self) -> str:
        """What finds this store again, on this machine or another."""
        return seam.address_of(self.root) or str(self.root)

    @property
    def keys(self) -> Path:
        """Folder of the sealed keys and their log."""
        return self.root / KEYS_FOLDER

    @property
    def sources(self) -> Path:
        """Folder of downloaded data sets and recogniser weights."""
        return self.root / SOURCES_FOLDER

    @property
    def mlflow(self) -> Path:
        """Folder of the MLflow database and artifacts."""
        return self.root / "mlflow"

    @property
    def alerts(self) -> Path:
        """Folder of what failed, one small file each."""
        return self.root / "alerts"

    @property
    def reproduction(self) -> Path:
        """Folder of the papers' tables: one folder per profile."""
        return self.root / "reproduction"

    @property
    def prefect(self) -> Path:
        """Prefect's home: its database when no server is running, and task results."""
        return self.root / "prefect"

    def gallery_root(self, stage: Stage, gallery: str) -> Path:
        """Folder of all versions (and keys) of a gallery in one stage."""
        return self.root / STAGE_FOLDERS[stage] / gallery_name(gallery)

    def folder(self, stage: Stage, *, gallery: str, version: str, key_id: str | None = None) -> Path:
        """Folder of one version's shards in one stage."""
        return self.root / ShardAddress(stage, gallery, version, 0, key_id).folder

    def shard(self, address: ShardAddress, ending: str) -> Path:
        """File of a shard: ``ending`` is ``tar``, ``parquet`` or ``done.json``."""
        return self.root / address.folder / f"{address.name}.{ending}"

    def aside(self) -> "Store":
        """Return the same store with a shard's files in a folder beside it: what is to replace it waits there."""
        return _Aside(self.root)

    def attacked_root(self, gallery: str) -> Path:
        """Folder of all attack checks of a gallery."""
        return self.gallery_root("attacked", gallery)

    def attacked(self, *, gallery: str, version: str) -> Path:
        """Folder of the attack check's curves and numbers of one version."""
        return self.folder("attacked", gallery=gallery, version=version)

    def policy(self, gallery: str) -> Path:
        """File that says what a version of a gallery needs before it goes live."""
        return self.gallery_root("audited", gallery) / "policy.json"

    def current(self, gallery: str) -> Path:
        """File that says which version of a gallery is current, and which were before."""
        return self.gallery_root("protected", gallery) / "current.json"

    def rotation(self, gallery: str) -> Path:
        """File that says how far a gallery's rotation has come; there while one is under way."""
        return self.gallery_root("protected", gallery) / "rotation.json"

    def erased(self, gallery: str) -> Path:
        """File that names, by keyed hashes, the persons who must never come back into a gallery."""
        return self.gallery_root("index", gallery) / "erased.json"

    def signed_list(self, *, gallery: str, version: str, what: str) -> Path:
        """File that names, with their digests, files of a version that no manifest speaks for."""
        return self.folder("index", gallery=gallery, version=version) / "signed" / f"{what}.json"

    def plans(self, gallery: str) -> Path:
        """File of what ``avih plan`` expected of a gallery, one line each; it may be older than any version."""
        return self.gallery_root("index", gallery) / "plans.jsonl"

    def keys_of(self, gallery: str, version: str) -> list[str]:
        """Ids of the keys under which a version has protected shards."""
        root = self.gallery_root("protected", gallery)
        names = [p.name for p in root.iterdir() if (p / version).is_dir()] if root.is_dir() else []
        return sorted(name for name in names if KEY_ID.fullmatch(name))

    def versions(self, gallery: str) -> list[str]:
        """Versions of a gallery that were indexed, oldest first."""
        root = self.gallery_root("index", gallery)
        names = [p.name for p in root.iterdir()] if root.is_dir() else []
        return sorted((n for n in names if is_version(n)), key=version_number)

    def galleries(self) -> list[str]:
        """Names of all galleries that were indexed."""
        root = self.root / STAGE_FOLDERS["index"]
        return sorted(p.name for p in root.iterdir() if p.is_dir()) if root.is_dir() else []


class _Aside(Store):
    """A store whose shards lie in a folder beside the real ones, on the same disk, so that they can be moved."""

    def shard(self, address: ShardAddress, ending: str) -> Path:
        path = super().shard(address, ending)
        return path.parent / ASIDE / path.name
