"""The signed manifest of a protected gallery version: which shards belong to it, and that nobody slipped one in.

A protected image is a login credential, so a gallery counts only with a manifest whose HMAC-SHA256 (RFC 2104)
is right. It names every shard by the SHA-256 of its done file, which in turn names tar and parquet by theirs.

What it cannot tell: an older gallery put back whole, together with the manifest of that time. The promotions
(``avih.gallery``) name the manifests of what went live by ``Manifest.digest()``; ``avih verify`` compares.
"""

from avih.manifest.record import MANIFEST_FILE, Manifest, SignedShard, read_manifest
from avih.manifest.signing import write_manifest
from avih.manifest.verifying import verify_gallery, version_problems

__all__ = [
    "MANIFEST_FILE",
    "Manifest",
    "SignedShard",
    "read_manifest",
    "verify_gallery",
    "version_problems",
    "write_manifest",
]
