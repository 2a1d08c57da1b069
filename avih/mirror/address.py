"""Addresses of stores elsewhere: which are taken, which are refused, and where the working copy lies."""

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from avih.errors import UsageError

CONDITIONAL: Final = "s3"
COMPARED: Final = ("file", "memory")  # no conditional writes: compared just before writing
ENDPOINTS: Final = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.:-]*://.*", re.DOTALL)
_SLUG = re.compile(r"[^A-Za-z0-9]+")


def is_address(text: str) -> bool:
    """Tell whether a text names a store elsewhere rather than a folder."""
    return _ADDRESS.fullmatch(text) is not None


@dataclass(frozen=True)
class Address:
    """Where a store lies that is no folder of this machine: ``s3://BUCKET/PREFIX``."""

    protocol: str
    path: str

    def __str__(self) -> str:
        return f"{self.protocol}://{self.path}"

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Read an address.

        Raises:
            UsageError: it holds a name or a password, or is of a kind that avih cannot keep its promises on.
        """
        # Never the text itself in a message: it may hold what must not be shown.
        protocol, _, rest = text.partition("://")
        if "@" in rest or "?" in rest or "#" in rest:
            raise UsageError(
                f"Expected {protocol}://BUCKET/PREFIX and nothing else, got an address with @, ? or # in it, "
                "which may carry credentials. Put those into the environment or the configuration of AWS, "
                "not into the address."
            )
        protocol = protocol.lower()
        if protocol != CONDITIONAL and protocol not in COMPARED:
            raise UsageError(
                f"Expected a store in a folder or at s3://BUCKET/PREFIX, got the protocol {protocol}://, "
                "which avih does not write to: it was never tried there whether two writers see each other."
            )
        path = rest.strip("/") if protocol == CONDITIONAL else rest.rstrip("/")
        parts = path.strip("/").split("/")
        if not all(parts) or any(part in (".", "..") for part in parts):
            raise UsageError(
                f"Expected {protocol}://BUCKET/PREFIX with no empty or dotted part, got another path."
            )
        return cls(protocol, path)

    @property
    def working_copy(self) -> Path:
        """Folder of this machine's copy: ``AVIH_CACHE``, else the user's cache folder, one folder per address.

        The same address on another server is another store, so the endpoint belongs to the name.
        """
        cache = os.environ.get("AVIH_CACHE") or os.environ.get("XDG_CACHE_HOME") or "~/.cache"
        base = Path(cache).expanduser().absolute()
        base = base if os.environ.get("AVIH_CACHE") else base / "avih"
        whole = f"{self}\0{endpoint() if self.protocol == CONDITIONAL else ''}"
        slug = _SLUG.sub("-", self.path).strip("-")[:48]
        return base / f"{slug}-{hashlib.sha256(whole.encode()).hexdigest()[:12]}"


def endpoint() -> str:
    """Return the server of the environment, without what may be secret in it; empty for Amazon's own."""
    for name in ENDPOINTS:
        if given := os.environ.get(name):
            parts = urlsplit(given)
            return f"{parts.scheme}://{parts.hostname}:{parts.port}{parts.path}"
    return ""
