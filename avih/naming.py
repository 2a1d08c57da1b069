"""Build and parse every name in the store: folders, shards, versions and image ids.

The store is one folder per stage, in the data's way: from sources to attacked and audited.
No other module joins a path inside the store.
"""

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from avih.errors import UsageError

Stage = Literal["index", "aligned", "protected", "evaluated", "attacked", "audited"]
STAGE_FOLDERS: dict[str, str] = {
    "index": "1_index",
    "aligned": "2_aligned",
    "protected": "4_protected",
    "evaluated": "5_evaluated",
    "attacked": "6_attacked",
    "audited": "7_audited",
}
KEYED_STAGES = ("protected", "evaluated")
SOURCES_FOLDER, KEYS_FOLDER = "0_sources", "3_keys"

_GALLERY = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_VERSION = re.compile(r"v([0-9]{4,})")
_KEY_ID = re.compile(r"[0-9a-f]{16}")
_SHARD = re.compile(r"[0-9]{5,}")
_UNSAFE = re.compile(r"[^A-Za-z0-9_-]+")


def image_id(path: str) -> str:
    """Name one source photo: letters, digits, ``_`` and ``-`` only, because a dot ends a WebDataset key.

    A path that loses nothing but its folder separators and extension keeps its readable name; whenever
    something else had to be replaced, eight hex digits of the path's SHA-256 keep the name unique.

    Args:
        path: path of the photo relative to its source, with forward slashes.
    """
    whole = PurePosixPath(path)
    parts = whole.with_suffix("").parts
    readable = "__".join(parts[-2:])
    safe = _UNSAFE.sub("-", readable)[:96]
    # Two underscores join folder and name, so a part with underscores of its own at that seam is ambiguous.
    seams_clear = all("__" not in part and part.strip("_") == part for part in parts)
    if safe == readable and len(parts) <= 2 and whole.suffix == ".jpg" and seams_clear:
        return safe
    return f"{safe}-{hashlib.sha256(path.encode()).hexdigest()[:8]}"


def gallery_name(text: str) -> str:
    """Return ``text`` if it can name a gallery, or say what a name may hold.

    Raises:
        UsageError: the name has other characters than lowercase letters, digits and dashes.
    """
    if not _GALLERY.fullmatch(text):
        raise UsageError(
            f"Expected a gallery name of lowercase letters, digits and dashes (at most 63), got {text!r}. "
            "Give another with --gallery."
        )
    return text


def suggest_gallery_name(source: str) -> str:
    """Derive a gallery name from a source folder's name (``LFW_gray/`` becomes ``lfw-gray``)."""
    stem = re.sub(r"[^a-z0-9]+", "-", PurePosixPath(source.rstrip("/")).name.lower()).strip("-")
    return gallery_name(stem[:63] or "gallery")


def version_name(number: int) -> str:
    """Name version ``number`` of a gallery: 1 becomes ``v0001``."""
    if number < 1:
        raise UsageError(f"Expected a version number of at least 1, got {number}.")
    return f"v{number:04d}"


def version_number(name: str) -> int:
    """Return the number in a version's name: ``v0012`` gives 12.

    Raises:
        UsageError: the text is no version name.
    """
    match = _VERSION.fullmatch(name)
    if match is None or version_name(max(int(match[1]), 1)) != name:
        raise UsageError(f"Expected a version like v0001, got {name!r}.")
    return int(match[1])


def _is_version(name: str) -> bool:
    try:
        version_number(name)
    except UsageError:
        return False
    return True


def _is_shard_name(name: str) -> bool:
    return _SHARD.fullmatch(name) is not None and f"{int(name):05d}" == name


def nonce_text(*, version: str, image: str, tag: str) -> str:
    """Join the three parts of a nonce: gallery version, image id and the keyed tag of the picture."""
    return f"{version}/{image}/{tag}"


def veils_folder(keys: Path, key_id: str) -> Path:
    """Folder of the veils under a key, in the store's folder of keys."""
    return keys / key_id / "veils"


@dataclass(frozen=True, order=True)
class ShardAddress:
    """Where one shard of one stage lives; ``key_id`` is set for protected and evaluated shards only."""

    stage: str
    gallery: str
    version: str
    number: int
    key_id: str | None = None

    def __post_init__(self) -> None:
        if self.stage not in STAGE_FOLDERS:
            raise UsageError(f"Expected a stage of {sorted(STAGE_FOLDERS)}, got {self.stage!r}.")
        if (self.key_id is not None) != (self.stage in KEYED_STAGES):
            raise UsageError(f"Stage {self.stage!r} and key id {self.key_id!r} do not go together.")
        if self.key_id is not None and not _KEY_ID.fullmatch(self.key_id):
            raise UsageError(f"Expected a key id of 16 hex digits, got {self.key_id!r}.")
        if self.number < 0:
            raise UsageError(f"Expected a shard number of at least 0, got {self.number}.")
        gallery_name(self.gallery)
        version_number(self.version)

    @property
    def folder(self) -> PurePosixPath:
        """The shard's folder relative to the store's root."""
        keyed = (self.key_id,) if self.key_id else ()
        return PurePosixPath(STAGE_FOLDERS[self.stage], self.gallery, *keyed, self.version)

    @property
    def name(self) -> str:
        """The shard's name without an ending: ``00007``."""
        return f"{self.number:05d}"

    @classmethod
    def parse(cls, path: str | PurePosixPath) -> "ShardAddress":
        """Parse a path (relative to the store) of any file of a shard back into its address.

        Raises:
            UsageError: the path names no shard.
        """
        parts = PurePosixPath(path).parts
        stage = next((name for name, folder in STAGE_FOLDERS.items() if parts and folder == parts[0]), None)
        middle = parts[1:-1]
        name = parts[-1].split(".")[0] if parts else ""
        expected = 3 if stage in KEYED_STAGES else 2
        if stage is None or len(middle) != expected or not _is_shard_name(name):
            raise UsageError(f"Expected a shard like 4_protected/GALLERY/KEY_ID/v0001/00000.tar, got {path}.")
        gallery, *keyed, version = middle
        return cls(stage, gallery, version, int(name), keyed[0] if keyed else None)


@dataclass(frozen=True)
class Store:
    """The folder that holds everything; DESIGN: ``data/`` unless ``AVIH_STORE`` or ``--store`` says otherwise."""

    root: Path

    @classmethod
    def find(cls, given: str | Path | None = None) -> "Store":
        """Choose the store: the argument, else ``AVIH_STORE``, else ``./data``."""
        return cls(Path(given or os.environ.get("AVIH_STORE") or "data").expanduser().absolute())

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
        return sorted(name for name in names if _KEY_ID.fullmatch(name))

    def versions(self, gallery: str) -> list[str]:
        """Versions of a gallery that were indexed, oldest first."""
        root = self.gallery_root("index", gallery)
        names = [p.name for p in root.iterdir()] if root.is_dir() else []
        return sorted((n for n in names if _is_version(n)), key=version_number)

    def galleries(self) -> list[str]:
        """Names of all galleries that were indexed."""
        root = self.root / STAGE_FOLDERS["index"]
        return sorted(p.name for p in root.iterdir() if p.is_dir()) if root.is_dir() else []
