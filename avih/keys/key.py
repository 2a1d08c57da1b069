"""A key: a 32-byte secret and a generator network, named together by ``key_id``."""

import hashlib
import json
import math
import secrets
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from avih.errors import IntegrityError, UsageError
from avih.json_text import read_json
from avih.keys.canonical import read_generator_facts
from avih.keys.passphrase import HiddenBytes

SECRET_BYTES: Final = 32
SMALLEST_TRAINING_SEED: Final = 2**32
KEY_ID_LABEL: Final = b"avih key id v1"
RecipeValue = str | int | float

_SECRET_WORDS: Final = frozenset({"seed", "secret", "passphrase", "password"})
_PAYLOAD_VERSION: Final = 1
_LENGTH: Final = struct.Struct(">I")


class Secret(HiddenBytes):
    """The 32 secret bytes of a key; the mixing of every image is drawn from them."""

    __slots__ = ()

    def __init__(self, value: bytes) -> None:
        if len(value) != SECRET_BYTES:
            raise UsageError(
                f"Expected a secret of {SECRET_BYTES} bytes, got {len(value)}. Use Secret.new(), not a seed."
            )
        super().__init__(value)

    @classmethod
    def new(cls) -> "Secret":
        """Draw a secret from the operating system's entropy."""
        return cls(secrets.token_bytes(SECRET_BYTES))


def compute_key_id(*, secret: Secret, generator_bytes: bytes) -> str:
    """Name a key: 16 hex digits of SHA-256(HKDF(secret, "avih key id v1") || SHA-256(generator)).

    The derivation (RFC 5869) is one-way, so the name may be shown; it tells nothing of the secret.
    """
    label = _hkdf(secret.reveal(), info=KEY_ID_LABEL, length=32)
    return hashlib.sha256(label + hashlib.sha256(generator_bytes).digest()).hexdigest()[:16]


def _hkdf(secret: bytes, *, info: bytes, length: int) -> bytes:
    return HKDF(algorithm=SHA256(), length=length, salt=b"", info=info).derive(secret)


@dataclass(frozen=True, repr=False)
class Key:
    """A key in memory: the only public parts are ``key_id``, ``created`` and ``recipe``."""

    key_id: str
    secret: Secret
    generator_bytes: bytes
    created: datetime
    recipe: dict[str, RecipeValue]
    training_seed: int | None = None

    @classmethod
    def create(
        cls,
        *,
        generator_bytes: bytes,
        recipe: Mapping[str, RecipeValue],
        training_seed: int | None,
        created: datetime | None = None,
    ) -> "Key":
        """Make a key with a new secret for a trained generator.

        Args:
            generator_bytes: canonical safetensors bytes.
            recipe: public facts of how the generator was made; shown to everybody who may list keys.
            training_seed: the generator's seed if one was drawn; whoever has it can train the same generator,
                so it must come from OS entropy and is kept in the sealed file only.
            created: time of making, UTC; now if not given.

        Raises:
            UsageError: the bytes are not canonical, the recipe holds a secret, or the seed is guessable.
        """
        read_generator_facts(generator_bytes)
        _check_seed(training_seed)
        _check_recipe(recipe, training_seed=training_seed)
        secret = Secret.new()
        return cls(
            key_id=compute_key_id(secret=secret, generator_bytes=generator_bytes),
            secret=secret,
            generator_bytes=generator_bytes,
            created=(created or datetime.now(UTC)).astimezone(UTC).replace(microsecond=0),
            recipe=dict(recipe),
            training_seed=training_seed,
        )

    def subkey(self, label: str, length: int = 32) -> bytes:
        """Derive ``length`` bytes for one purpose from the secret (HKDF-SHA256, info ``avih/`` + label)."""
        return _hkdf(self.secret.reveal(), info=b"avih/" + label.encode(), length=length)

    def __repr__(self) -> str:
        return f"Key({self.key_id})"


def new_secret(key: Key) -> Key:
    """Make a key with the same generator and a new secret: a rotation that needs no training."""
    return Key.create(generator_bytes=key.generator_bytes, recipe=key.recipe, training_seed=key.training_seed)


def _check_seed(seed: int | None) -> None:
    if seed is not None and seed < SMALLEST_TRAINING_SEED:
        raise UsageError(
            "Expected a training seed of at least 2**32, got a smaller one, which can be guessed. "
            "Draw it with secrets.randbits(63)."
        )


def _check_recipe(recipe: Mapping[str, RecipeValue], *, training_seed: int | None) -> None:
    for name, value in recipe.items():
        if not isinstance(name, str) or not isinstance(value, str | int | float):
            raise UsageError(f"Expected recipe entries of text or numbers, got {name!r}. Leave it out.")
        if isinstance(value, float) and not math.isfinite(value):
            raise UsageError(
                f"Expected finite numbers in the recipe, got {value} for {name!r}. Leave it out."
            )
        secret_name = not _SECRET_WORDS.isdisjoint(name.lower().replace("-", "_").split("_"))
        if secret_name or (training_seed is not None and str(training_seed) in str(value)):
            raise UsageError(
                f"Expected only public facts in the recipe, got {name!r}, which is or may hold a secret. "
                "Leave it out; a training seed has its own argument."
            )


def pack_key(key: Key, *, record: Mapping[str, Any]) -> bytes:
    """Put a key and its public record into the bytes that are sealed: length, JSON, generator.

    The record holds ``created`` (ISO text) and ``recipe``; sealed with the key, it shows later whether the
    public copy was altered.
    """
    facts = {
        "version": _PAYLOAD_VERSION,
        "secret": key.secret.reveal().hex(),
        "training_seed": key.training_seed,
        "record": dict(record),
    }
    text = json.dumps(facts, sort_keys=True).encode()
    return _LENGTH.pack(len(text)) + text + key.generator_bytes


def unpack_key(payload: bytes) -> tuple[Key, dict[str, Any]]:
    """Read what :func:`pack_key` made; ``key_id`` is computed from the content, never read.

    Raises:
        IntegrityError: the bytes were made by a newer version, or by something else.
    """
    try:
        (length,) = _LENGTH.unpack_from(payload)
        facts = read_json(payload[_LENGTH.size : _LENGTH.size + length])
        if facts["version"] != _PAYLOAD_VERSION:
            raise ValueError("version")
        secret, generator_bytes = Secret(bytes.fromhex(facts["secret"])), payload[_LENGTH.size + length :]
        key = Key(
            key_id=compute_key_id(secret=secret, generator_bytes=generator_bytes),
            secret=secret,
            generator_bytes=generator_bytes,
            created=datetime.fromisoformat(facts["record"]["created"]),
            recipe=facts["record"]["recipe"],
            training_seed=facts["training_seed"],
        )
        return key, facts["record"]
    except (ValueError, KeyError, TypeError, AttributeError, UsageError, struct.error):
        # "from None": the cause could quote what was inside.
        raise IntegrityError(
            f"Expected a key of payload version {_PAYLOAD_VERSION} in the sealed file, got something else. "
            "If a newer avih wrote it, use that one; if not, bring it back from a backup."
        ) from None
