"""Names in the store, without a store: photos, galleries, versions and shards."""

import hashlib
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
DATASET_PREFIX = "dataset:"
SOURCES_FOLDER, KEYS_FOLDER = "0_sources", "3_keys"

_GALLERY = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_VERSION = re.compile(r"v([0-9]{4,18})")
KEY_ID = re.compile(r"[0-9a-f]{16}")
_SHARD = re.compile(r"[0-9]{5,18}")
_UNSAFE = re.compile(r"[^A-Za-z0-9_-]+")


def image_id(path: str) -> str:
    """Name one source photo: letters, digits, ``_`` and ``-`` only, because a dot ends a WebDataset key.

    A path that loses nothing but its folder separators and extension keeps its readable name; whenever
    something else had to be replaced, eight hex digits of the path's SHA-256 keep the name unique.

    Args:
        path: path of the photo relative to its source, with forward slashes.

    Raises:
        UsageError: there is no name in it, or it is not valid UTF-8.
    """
    whole = PurePosixPath(path)
    if not whole.name or path != path.encode("utf-8", "replace").decode():
        raise UsageError(f"Expected the path of a photo, got {path!r}. Rename it.")
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
    """Derive a gallery name from a source's name (``LFW_gray/`` becomes ``lfw-gray``, ``dataset:lfw`` lfw)."""
    if source.startswith(DATASET_PREFIX):
        source = source.removeprefix(DATASET_PREFIX).removesuffix(".toml")
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


def is_version(name: str) -> bool:
    """Tell whether a text names a version."""
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
        if self.key_id is not None and not KEY_ID.fullmatch(self.key_id):
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
