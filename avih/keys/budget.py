"""The leak budget: how many pictures a key may protect, counted in the store before each shard is protected.

Every protected picture is a pair that may leak. The file ``<key_id>.budget.json`` says which shard took how
many, and a shard that would pass the limit is refused: rotation is due. A shard is counted before it is made
and once only, so a run that is killed and begun again counts nothing twice, and what was counted is never
given back: pictures that were erased may have been copied before.

Two writers cannot pass the limit together: reading, adding and writing happen under the key folder's lock.

What the file's signature (HMAC-SHA256 under a key derived from the vault) is worth: whoever may write to the
folder but does not know the passphrase cannot lower a count or raise a limit that was set. It does not show
that an older file was put back. A file that was removed is begun anew from the shards that are in the store,
so removing it hides only pictures that are gone from the store too.
"""

import hashlib
import hmac
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from avih.atomic import json_bytes
from avih.errors import IntegrityError, KeyRefused, UsageError
from avih.json_text import read_json
from avih.keys.passphrase import PassphraseSource
from avih.keys.sealing import DEFAULT_COST, RESTORE, ScryptCost, locked, write_private
from avih.keys.states import check_actor, is_key_id
from avih.keys.store import KeyStore
from avih.keys.vault import Vault
from avih.naming import Store

# keyed and sealed: the attack found no number of pairs that helps, so this is a policy, not a measurement.
# unmixed: a network trained on 8 leaked pairs already beats a blank guess (SSIM 0.42 against 0.31).
# veil: what matters is counted veil by veil (avih/veils/store.py). inverse: one pair gives the key away.
DEFAULT_LIMITS: Final = {
    "keyed": 1_000_000,
    "sealed": 1_000_000,
    "unmixed": 8,
    "veil": 1_000_000,
    "inverse": 1,
}

_LABEL: Final = b"avih leak budget v1\0"
_Count = Annotated[int, Field(ge=0, strict=True)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class LimitChange(_Strict):
    """One change of the limit by a person: dated, with actor and reason."""

    time: str
    images: _Count
    actor: str
    reason: str


class _Content(_Strict):
    format: Literal[1] = 1
    key_id: str
    limits: list[LimitChange] = []
    shards: dict[str, _Count] = {}

    @property
    def used(self) -> int:
        return sum(self.shards.values())


class LeakBudget:
    """The count of one key, and the limit it must keep to.

    Args:
        folder: the store's ``3_keys`` folder.
        key_id: the key's whole id.
        passphrase: needed to change the count; without one it comes from the environment or a prompt.
        cost: scrypt parameters if the vault has to be made.
    """

    def __init__(
        self,
        folder: Path,
        key_id: str,
        passphrase: PassphraseSource = None,
        *,
        cost: ScryptCost = DEFAULT_COST,
    ) -> None:
        if not is_key_id(key_id):  # it becomes a file name
            raise UsageError(f"Expected a key id of 16 hex digits, got {key_id!r}.")
        self.folder, self.key_id = Path(folder), key_id
        self.path = self.folder / f"{key_id}.budget.json"
        self._vault = Vault(self.folder, passphrase, cost=cost)

    def __repr__(self) -> str:
        return f"LeakBudget({self.key_id})"

    def used(self) -> int:
        """Return how many images are counted; needs no passphrase, so the signature is not looked at.

        Raises:
            IntegrityError: the file is damaged.
        """
        return self._read()[0].used

    def limit(self) -> int:
        """Return the most images: as last set, else of the key's recipe, else the recovery's default.

        Raises:
            UsageError: there is no such key.
            IntegrityError: the budget's file, or the key's record, is damaged.
        """
        return self._limit(self._read()[0])

    def verify(self) -> None:
        """Check the file's signature.

        Raises:
            IntegrityError: the file is damaged or its signature is wrong.
            KeyRefused: the passphrase is missing or wrong.
        """
        self._checked()

    def reserve(self, *, shard: str, images: int) -> int:
        """Count a shard's images before they are protected, and return how many more the key may protect.

        Args:
            shard: its name, ``GALLERY/VERSION/NUMBER``; the same name again counts only what is more.
            images: how many of its images will be protected.

        Raises:
            KeyRefused: the limit would be passed (nothing is counted then), or the passphrase is wrong.
            UsageError: there is no such key, no shard is named, or the number is below 0.
            IntegrityError: the file is damaged or its signature is wrong.
        """
        if not shard.strip() or images < 0:
            raise UsageError(f"Expected a shard's name and 0 or more images, got {shard!r} and {images}.")
        name = _plain(shard)
        with locked(self.folder):
            content = self._checked()
            limit, more = self._limit(content), max(0, images - content.shards.get(name, 0))
            if more and content.used + more > limit:
                raise KeyRefused(
                    f"Expected at most {limit} images protected under key {self.key_id} (its leak budget), got "
                    f"{content.used} counted and {more} more in shard {name}: rotation is due. Rotate the "
                    "gallery's key with: avih rotate --gallery NAME"
                )
            if more or not self.path.exists():
                shards = content.shards | {name: max(images, content.shards.get(name, 0))}
                content = content.model_copy(update={"shards": shards})
                self._write(content)
            return limit - content.used

    def set_limit(self, images: int, *, actor: str, reason: str) -> None:
        """Set the most images this key may protect; below what is counted already, it protects no more.

        Raises:
            UsageError: the number is below 0, actor or reason is empty, or there is no such key.
            KeyRefused: the passphrase is missing or wrong.
            IntegrityError: the file is damaged or its signature is wrong.
        """
        check_actor(actor=actor, reason=reason)
        if images < 0:
            raise UsageError(f"Expected a limit of 0 or more images, got {images}.")
        KeyStore(self.folder).show(self.key_id)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        change = LimitChange(time=now, images=images, actor=actor.strip(), reason=reason.strip())
        with locked(self.folder):
            content = self._checked()
            self._write(content.model_copy(update={"limits": [*content.limits, change]}))

    def _limit(self, content: _Content) -> int:
        if content.limits:
            return content.limits[-1].images
        record = KeyStore(self.folder).show(self.key_id)
        asked = record.recipe.get("leak_budget")
        return asked if isinstance(asked, int) else DEFAULT_LIMITS[record.recovery]

    def _checked(self) -> _Content:
        """Read the content before it is changed: the signature must be right."""
        content, signature = self._read()
        if signature is None:
            return content
        # Not with a new vault: one that was lost must not be replaced by looking for it.
        expected = self._signature(content, create=False)
        if not hmac.compare_digest(signature.encode(), expected.encode()):
            raise IntegrityError(
                f"Expected {self.path.name} to be signed with this store's vault, got another signature: it was "
                f"altered, or the vault is another. {RESTORE}"
            )
        return content

    def _read(self) -> tuple[_Content, str | None]:
        try:
            fields = read_json(self.path.read_bytes())
            signature = str(fields.pop("hmac_sha256"))
            content = _Content.model_validate(fields)
            if content.key_id != self.key_id:
                raise ValueError("another key")
        except FileNotFoundError:
            return self._counted_in_store(), None
        except (ValidationError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise IntegrityError(
                f"Expected the leak budget of key {self.key_id} in {self.path.name}, got something "
                f"else. {RESTORE}"
            ) from error
        return content, signature

    def _counted_in_store(self) -> _Content:
        """Begin with what is protected already: by a version without budgets, or before the file was lost."""
        from avih.key_use import shards_of_key  # listing keys must not wait for pandas

        store = Store(self.folder.parent)
        found = shards_of_key(store, self.key_id) if store.keys == self.folder else []
        shards = {_plain(f"{use.gallery}/{use.version}/{use.number}"): use.images for use in found}
        return _Content(key_id=self.key_id, shards=shards)

    def _write(self, content: _Content) -> None:
        for leftover in self.folder.glob(
            f".{self.path.name}.*.part"
        ):  # of a killed process; we hold the lock
            leftover.unlink(missing_ok=True)
        fields = content.model_dump() | {"hmac_sha256": self._signature(content, create=True)}
        write_private(self.path, json_bytes(fields), replace=True)

    def _signature(self, content: _Content, *, create: bool) -> str:
        mac_key = self._vault.subkey("leak budget v1", create=create)
        return hmac.new(mac_key, _LABEL + json_bytes(content.model_dump()), hashlib.sha256).hexdigest()


def _plain(shard: str) -> str:
    """Write a shard's number in one way: ``people/v0001/00003`` and ``people/v0001/3`` are one shard."""
    head, slash, number = shard.strip().rpartition("/")
    return f"{head}{slash}{int(number) if number.isdecimal() else number}"
