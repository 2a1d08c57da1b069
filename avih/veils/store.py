"""The veils of a gallery's persons under one key: sealed, never overwritten, and counted.

``3_keys/<key_id>/veils/<name>.veil`` holds a veil, ``<name>.count.json`` the photos that were let under it. The
name is a MAC of gallery and person under the key: nobody else can tell whose veil a file is. A veil is as secret
as the photos under it, and its state is that of its key: whoever opens the key for a purpose opens its veils.

A sealed veil, byte by byte:

======  ======  ===============================================================
offset  length  meaning
======  ======  ===============================================================
0       4       the letters ``AVIV``
4       1       format version, 1
5       12      AES-GCM: nonce, random
17      L       ciphertext of 32 bytes that name how it was crafted, then the veil
17 + L  16      AES-GCM: tag
======  ======  ===============================================================

The AES-256 key is an HKDF of the gallery key's secret (``veil store v1``), so that opening a veil costs no
scrypt. Associated data: bytes 0 to 4, key id, gallery and person: a file opens in its own place alone. Of one key
there are far fewer than 2**32 veils, the limit of NIST SP 800-38D for random nonces.

The count is signed (HMAC-SHA256 under a key of its own); it does not show that an older file was put back.
"""

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from avih.atomic import json_bytes, remove
from avih.errors import IntegrityError, SettingsMismatch, UsageError
from avih.json_text import read_json
from avih.keys.key import Key
from avih.keys.sealing import RESTORE, locked, private_folder, write_private
from avih.naming import veils_folder
from avih.veils.veil import Veil, read_veil, veil_bytes

MAGIC: Final = b"AVIV\x01"
NONCE_BYTES: Final = 12
TAG_BYTES: Final = 16
RECIPE_BYTES: Final = 32
COUNT_FORMAT: Final = 1
REMEMBERED: Final = 16  # veils in memory: a person's photos are neighbours in a shard


class VeilStore:
    """The veils of one gallery under one key.

    Args:
        folder: the store's ``3_keys`` folder.
        key: the gallery's key, opened for the purpose that the veils shall serve.
        gallery: name of the gallery; the same name in another gallery may be another person.
    """

    def __init__(self, folder: Path, key: Key, gallery: str) -> None:
        self.folder, self.key_id, self.gallery = veils_folder(Path(folder), key.key_id), key.key_id, gallery
        self._cipher = AESGCM(key.subkey("veil store v1"))
        self._name_key, self._count_key = key.subkey("veil name v1"), key.subkey("veil count v1")
        self._opened = lru_cache(maxsize=REMEMBERED)(self._open)

    def __repr__(self) -> str:
        return f"VeilStore({self.key_id}, {self.gallery})"

    def of(self, person: str, shape: tuple[int, ...]) -> Veil:
        """Open the veil of a person for pictures ``(H, W, 3)``.

        Raises:
            UsageError: the veil was crafted for pictures of another size.
            IntegrityError: there is no such veil, or its file was altered or belongs to somebody else.
        """
        veil = self._opened(person)[1]
        if veil.pixels.shape != tuple(shape):
            raise UsageError(
                f"Expected pictures {veil.pixels.shape}, for which the veil was crafted, got {tuple(shape)}: use "
                "the template of then, or begin with a new key."
            )
        return veil

    def has(self, person: str, *, recipe: bytes) -> bool:
        """Tell whether the person has a veil, crafted in this way.

        Args:
            person: whose.
            recipe: 32 bytes that name method, settings and recogniser.

        Raises:
            SettingsMismatch: it was crafted otherwise; one key has one veil per person.
            IntegrityError: the file was altered or belongs to somebody else, or its count is gone.
        """
        if not self._path(person).exists():
            return False
        self.admitted(person)
        if self._opened(person)[0] != recipe:
            raise SettingsMismatch(
                f"Expected the veils of {self.gallery} under key {self.key_id} crafted with these settings for "
                "this recogniser, got others. Ask for the settings of then, or give the gallery a new key, and "
                "with it new veils: avih rotate"
            )
        return True

    def add(self, person: str, veil: Veil, *, recipe: bytes) -> None:
        """Seal a new veil; one that is there stays as it is."""
        private_folder(self.folder.parent)
        private_folder(self.folder)
        with locked(self.folder):
            if self._path(person).exists():
                return
            # The count first: a veil without one would be a veil whose count was removed.
            if not self._count_path(person).exists():
                self._write_count(person, ())
            nonce = secrets.token_bytes(NONCE_BYTES)
            sealed = self._cipher.encrypt(nonce, recipe + veil_bytes(veil), self._place(person))
            write_private(self._path(person), MAGIC + nonce + sealed)

    def admit(self, person: str, photos: Sequence[str], *, most: int) -> tuple[str, ...]:
        """Let photos under a person's veil, in their order, until there are ``most``; return all that ever were.

        What was let under it once stays counted: copies of its picture may be anywhere.

        Args:
            person: whose veil.
            photos: keyed hashes of the photos' bytes; one that was let in before is not counted again.
            most: how many photos may share the veil.

        Raises:
            IntegrityError: the count is gone or was altered.
        """
        with locked(self.folder):
            before = self.admitted(person)
            new = [photo for photo in dict.fromkeys(photos) if photo not in before]
            counted = before + tuple(new[: max(0, most - len(before))])
            if counted != before:
                self._write_count(person, counted)
        return counted

    def admitted(self, person: str) -> tuple[str, ...]:
        """Return the keyed hashes of the photos that were let under a person's veil, in their order.

        Raises:
            IntegrityError: the count is gone or was altered.
        """
        path = self._count_path(person)
        try:
            content = read_json(path.read_bytes())
            photos = tuple(str(photo) for photo in content["photos"])
            if content["format"] != COUNT_FORMAT:
                raise ValueError("format")
            if not hmac.compare_digest(str(content["hmac_sha256"]), self._signature(person, photos)):
                raise ValueError("signature")
        except (OSError, ValueError, KeyError, TypeError):
            raise IntegrityError(
                f"Expected the count of photos of a veil in {path}, got none or an altered one. {RESTORE} "
                "Without it nobody knows how many photos share the veil; a new key begins anew: avih rotate"
            ) from None
        return photos

    def files(self, person: str) -> tuple[Path, Path]:
        """Name a person's veil and its count, whether they are there or not."""
        return self._path(person), self._count_path(person)

    def verify(self, person: str) -> None:
        """Open a person's veil from the disk, whatever is in memory.

        Raises:
            IntegrityError: it is gone, was altered, or belongs to somebody else.
        """
        self._open(person)

    def forget(self, person: str) -> bool:
        """Destroy a person's veil and its count; tell whether there was one."""
        name = self._name(person)
        found = [path for path in self.folder.glob(f"*{name}.*")] if self.folder.is_dir() else []
        # The veil first: what is left of a killed removal is no veil without a count.
        for path in sorted(found, key=lambda path: not path.name.endswith(".veil")):
            remove(path)
        if found:
            self._opened.cache_clear()
        return bool(found)

    def _name(self, person: str) -> str:
        if not person:
            raise UsageError("Expected the name of a person, got an empty one: a veil belongs to somebody.")
        text = f"{self.gallery}\0{person}".encode()
        return hmac.new(self._name_key, text, hashlib.sha256).hexdigest()[:32]

    def _path(self, person: str) -> Path:
        return self.folder / f"{self._name(person)}.veil"

    def _count_path(self, person: str) -> Path:
        return self.folder / f"{self._name(person)}.count.json"

    def _place(self, person: str) -> bytes:
        return MAGIC + f"{self.key_id}\0{self.gallery}\0{person}".encode()

    def _open(self, person: str) -> tuple[bytes, Veil]:
        """Return how a veil was crafted, and the veil."""
        path = self._path(person)
        try:
            blob = path.read_bytes()
            if blob[: len(MAGIC)] != MAGIC:
                raise ValueError("format")
            nonce, sealed = blob[len(MAGIC) :][:NONCE_BYTES], blob[len(MAGIC) + NONCE_BYTES :]
            plain = self._cipher.decrypt(nonce, sealed, self._place(person))
            return plain[:RECIPE_BYTES], read_veil(plain[RECIPE_BYTES:])
        except (OSError, ValueError, InvalidTag, UsageError):
            raise IntegrityError(
                f"Expected the veil of this person of {self.gallery} in {path}, got none, an altered one or that "
                f"of somebody else. {RESTORE} Without it the person's pictures do not come back."
            ) from None

    def _write_count(self, person: str, photos: tuple[str, ...]) -> None:
        content = {
            "format": COUNT_FORMAT,
            "photos": list(photos),
            "hmac_sha256": self._signature(person, photos),
        }
        write_private(self._count_path(person), json_bytes(content), replace=True)

    def _signature(self, person: str, photos: tuple[str, ...]) -> str:
        text = "\0".join((self.gallery, person, *photos)).encode()
        return hmac.new(self._count_key, text, hashlib.sha256).hexdigest()
