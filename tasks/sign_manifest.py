"""Protect stage, last step: sign which shards make up the version."""

from avih.manifest import write_manifest
from avih.settings import ProtectSettings
from tasks import opened
from tasks.records import Place


def sign_manifest(*, place: Place, key_id: str, shards: list[int], settings: ProtectSettings) -> int:
    """Read the version back, sign its manifest, and return how many shards it holds."""
    root = place.folder.root
    manifest = write_manifest(
        store=place.folder,
        gallery=place.gallery,
        version=place.version,
        key_id=key_id,
        numbers=shards,
        recogniser=opened.recogniser(place.recogniser, root).fingerprint,
        method=settings.method,
        recovery=settings.recovery,
        settings=settings,
        mac_key=opened.vault(root).mac_key(),
    )
    return len(manifest.shards)
