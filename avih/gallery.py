"""The life of a gallery's versions: which one is current, which were before, and how two of them differ.

``current.json`` is the list of all promotions, the last one being current; one small file, replaced whole, so a
reader sees the old version or the new one and nothing between. It is signed, and names each version's manifest by
its digest: an older version put back in place of the current one is found out.
"""

import hashlib
import hmac
from datetime import UTC, datetime
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from avih.atomic import folder_lock, json_bytes, write_bytes
from avih.errors import IntegrityError, UsageError
from avih.index_file import count_index, iter_index
from avih.json_text import read_json
from avih.manifest import MANIFEST_FILE
from avih.mirror.seam import changing
from avih.naming import Store
from avih.photo_tables import KINDS, photo_tables, rows_of

_LABEL: Final = b"avih current v1\0"


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Promotion(_Strict):
    """One time that a version became current.

    Attributes:
        manifest_sha256: digest of the version's manifest; it stands for every stored byte.
        time: UTC, ISO 8601.
    """

    version: str
    key_id: str
    manifest_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    time: str
    actor: str
    reason: str


class History(_Strict):
    """All promotions of a gallery, oldest first."""

    format_version: Literal[1] = 1
    gallery: str
    promotions: tuple[Promotion, ...] = ()

    @property
    def current(self) -> Promotion | None:
        """The promotion that counts now."""
        return self.promotions[-1] if self.promotions else None

    def signature(self, mac_key: bytes) -> str:
        """HMAC-SHA256 in hex."""
        return hmac.new(
            mac_key, _LABEL + json_bytes(self.model_dump(mode="json")), hashlib.sha256
        ).hexdigest()


class VersionState(_Strict):
    """One version as people see it in a list."""

    version: str
    state: Literal["begun", "protected", "current", "earlier"]
    key_id: str | None
    photos: int
    promoted: str | None


def read_history(*, store: Store, gallery: str, mac_key: bytes | None) -> History:
    """Read which versions of a gallery were promoted; an empty history if none was.

    Args:
        store: where.
        gallery: its name.
        mac_key: checks the signature; without it nothing proves who wrote the file.

    Raises:
        IntegrityError: the file is damaged, of another gallery, or has a wrong signature.
    """
    path = store.current(gallery)
    try:
        content = read_json(path.read_bytes())
        history, signature = History.model_validate(content["history"]), str(content["hmac_sha256"])
    except FileNotFoundError:
        return History(gallery=gallery)
    except (ValueError, KeyError, TypeError, ValidationError) as error:
        raise IntegrityError(
            f"Expected the promotions of {gallery} in {path}, got a damaged file ({type(error).__name__}). "
            "Restore it from a backup, or promote the version that is right."
        ) from None
    genuine = mac_key is None or hmac.compare_digest(signature.encode(), history.signature(mac_key).encode())
    if history.gallery != gallery or not genuine:
        raise IntegrityError(
            f"Expected {path} signed for gallery {gallery} with this store's key, got another signature or "
            "gallery: it was altered or comes from elsewhere. Restore it from a backup."
        )
    return history


def promote(
    *,
    store: Store,
    gallery: str,
    version: str,
    key_id: str,
    manifest_sha256: str,
    actor: str,
    reason: str,
    mac_key: bytes,
    expected: str | None,
) -> History:
    """Make a version current, at once and whole; promoting the current version again changes nothing.

    Args:
        store: where.
        gallery: its name.
        version: version to promote.
        key_id: its key.
        manifest_sha256: digest of its manifest, read and verified just before.
        actor: who asks.
        reason: why.
        mac_key: 32 secret bytes.
        expected: the version that is current as the caller knows it (None: none is).

    Raises:
        UsageError: another version has become current meanwhile.
    """
    path = store.current(gallery)
    path.parent.mkdir(parents=True, exist_ok=True)
    with folder_lock(path.parent), changing(path):
        history = read_history(store=store, gallery=gallery, mac_key=mac_key)
        now = history.current
        if now and (now.version, now.manifest_sha256) == (version, manifest_sha256):
            return history
        if (now.version if now else None) != expected:
            raise UsageError(
                f"Expected {expected or 'no version'} of {gallery} to be current, got "
                f"{now.version if now else 'none'}: somebody else promoted. Look at avih gallery show."
            )
        moment = datetime.now(UTC).isoformat(timespec="seconds")
        entry = Promotion(version=version, key_id=key_id, manifest_sha256=manifest_sha256, time=moment,
                          actor=actor, reason=reason)  # fmt: skip
        history = history.model_copy(update={"promotions": (*history.promotions, entry)})
        write_history(store=store, history=history, mac_key=mac_key)
    return history


def write_history(*, store: Store, history: History, mac_key: bytes) -> None:
    """Sign the promotions and put them in place."""
    content = {"history": history.model_dump(mode="json"), "hmac_sha256": history.signature(mac_key)}
    write_bytes(store.current(history.gallery), json_bytes(content))


def version_before(history: History) -> Promotion:
    """Return the promotion to roll back to: the latest one of another version.

    Raises:
        UsageError: there was none.
    """
    current = history.current
    for promotion in reversed(history.promotions[:-1]):
        if current is not None and promotion.version != current.version:
            return promotion
    raise UsageError(
        f"Expected an earlier version of {history.gallery} to roll back to, got none. Nothing changes."
    )


def is_signed(*, store: Store, gallery: str, version: str) -> bool:
    """Tell whether a version has a manifest, so that it must not change any more."""
    keys = store.keys_of(gallery, version)
    folders = (store.folder("protected", gallery=gallery, version=version, key_id=key) for key in keys)
    return any((folder / MANIFEST_FILE).exists() for folder in folders)


def list_versions(*, store: Store, gallery: str, history: History) -> list[VersionState]:
    """Name every version with its state, oldest first."""
    promoted = {entry.version: entry for entry in history.promotions}
    current = history.current
    states = []
    for version in store.versions(gallery):
        keys = store.keys_of(gallery, version)
        entry = promoted.get(version)
        if current and version == current.version:
            state: Literal["begun", "protected", "current", "earlier"] = "current"
        elif entry:
            state = "earlier"
        else:
            state = "protected" if is_signed(store=store, gallery=gallery, version=version) else "begun"
        photos = count_index(store=store, gallery=gallery, version=version)
        states.append(
            VersionState(
                version=version,
                state=state,
                key_id=keys[0] if keys else None,
                photos=photos,
                promoted=entry.time if entry else None,
            )
        )
    return states


def difference(*, store: Store, gallery: str, before: str, after: str) -> dict[str, list[str]]:
    """Name the photos that two versions share, and those that were added, changed and removed."""
    for version in (before, after):
        count_index(store=store, gallery=gallery, version=version)  # before anything is written
    with photo_tables(store=store, gallery=gallery) as tables:
        tables.load("before", rows_of(iter_index(store=store, gallery=gallery, version=before)))
        tables.load("after", rows_of(iter_index(store=store, gallery=gallery, version=after)))
        return {kind: list(tables.names(kind)) for kind in KINDS}
