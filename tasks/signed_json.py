"""JSON files that carry a signature by the vault's key: whoever may write to a store cannot make one up."""

import hashlib
import hmac
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from avih.atomic import json_bytes, write_json
from avih.errors import IntegrityError
from avih.json_text import read_json

SIGNATURE: Final = "hmac_sha256"
AUDIT_LABEL: Final = "avih audit v1"
ATTACK_LABEL: Final = "avih attack check v1"
MEASURED_LABEL: Final = "avih measurements v1"
POLICY_LABEL: Final = "avih promotion policy v1"
ERASED_LABEL: Final = "avih erased persons v1"
ERASING_LABEL: Final = "avih erasure under way v1"
REPLACED_LABEL: Final = "avih replaced shard v1"
ROTATION_LABEL: Final = "avih rotation plan v1"


def write_signed(
    path: Path, content: Mapping[str, Any], *, mac_key: bytes, label: str, mode: int = 0o644
) -> None:
    """Write plain values with their signature beside them, whole or not at all.

    Args:
        path: the file.
        content: plain values.
        mac_key: 32 secret bytes.
        label: what kind of file it is; one kind cannot stand in for another.
        mode: of the file.
    """
    write_json(path, {**content, SIGNATURE: _signature(content, mac_key, label)}, mode=mode)


def read_signed(
    path: Path, *, mac_key: bytes | None, label: str, unsigned: bool = False
) -> dict[str, Any] | None:
    """Read what :func:`write_signed` wrote; None where there is no such file.

    Args:
        path: the file.
        mac_key: compares the signature; without it nothing proves who wrote the file.
        label: what kind of file it is.
        unsigned: accept a file without a signature, as earlier releases wrote this kind. The caller must refuse
            fields it does not know: a signature whose name was damaged is one.

    Raises:
        IntegrityError: it is damaged, or its signature is another one.
    """
    try:
        content = read_json(path.read_bytes())
        if unsigned and SIGNATURE not in content:
            return dict(content)
        signature = str(content.pop(SIGNATURE))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise IntegrityError(
            f"Expected a signed file at {path}, got a damaged one ({type(error).__name__}). Remove it and make "
            "it again."
        ) from None
    if mac_key is None:
        return dict(content)
    if not hmac.compare_digest(signature.encode(), _signature(content, mac_key, label).encode()):
        raise IntegrityError(
            f"Expected {path} signed with this store's key, got another signature: it was altered or comes "
            "from elsewhere. Remove it and make it again."
        )
    return dict(content)


def _signature(content: Mapping[str, Any], mac_key: bytes, label: str) -> str:
    return hmac.new(mac_key, label.encode() + b"\0" + json_bytes(dict(content)), hashlib.sha256).hexdigest()
