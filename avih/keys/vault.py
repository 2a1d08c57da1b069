"""Sealed originals: every original at rest is AES-256-GCM ciphertext under a key of its gallery.

The vault has one random master key, sealed under the passphrase in ``vault.key``; it does not change when a
gallery's key is rotated. A sealed original, byte by byte:

======  ======  ===============================================================
offset  length  meaning
======  ======  ===============================================================
0       4       the letters ``AVIO``
4       1       format version, 1
5       8       which vault: a label of its master key, tells nothing of it
13      12      AES-GCM: nonce
25      L       ciphertext, as long as the original
25 + L  16      AES-GCM: tag
======  ======  ===============================================================

Associated data: bytes 0 to 12, then gallery + ``/`` + name in UTF-8. A gallery's name has no slash, so the
two cannot run into each other, and a blob opens only in its own place.

The nonce is synthetic, because shards must come out byte for byte the same each time: the first 12 bytes of
HMAC-SHA256(nonce key of the gallery, name || 0x00 || SHA-256(data)). GCM is broken by two different messages
under one nonce. Here a nonce repeats only for the same name and the same data, which gives the same
ciphertext again, and for a chance collision of 96 bits: below 2^-32 for 2^32 originals in one gallery, the
limit of NIST SP 800-38D, section 8.3. It tells an onlooker one thing: that the original under a name did not
change. The idea is that of RFC 5297; the GCM tag still authenticates.
"""

import contextlib
import hashlib
import hmac
import secrets
import struct
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from avih.errors import IntegrityError, KeyRefused, UsageError
from avih.keys.passphrase import HiddenBytes, Passphrase, PassphraseSource, resolve_passphrase
from avih.keys.sealing import DEFAULT_COST, RESTORE, ScryptCost, open_sealed, write_sealed
from avih.keys.unfinished import change_explained
from avih.naming import gallery_name

VAULT_FILE: Final = "vault.key"
VAULT_CONTEXT: Final = "avih vault"
MAGIC: Final = b"AVIO"
FORMAT_VERSION: Final = 1
_HEADER: Final = struct.Struct(">4sB8s12s")
_TAG_BYTES: Final = 16
_NONCE_BYTES: Final = 12


class Vault:
    """The master key of a store's sealed originals.

    Args:
        folder: the store's ``3_keys`` folder.
        passphrase: the passphrase, or a function that finds it when it is first needed; without one it comes
            from the environment or a prompt.
        cost: scrypt parameters for a new vault.
    """

    def __init__(
        self,
        folder: Path,
        passphrase: PassphraseSource = None,
        *,
        cost: ScryptCost = DEFAULT_COST,
    ) -> None:
        self.path = Path(folder) / VAULT_FILE
        self._passphrase = passphrase
        self._cost = cost
        self._master: HiddenBytes | None = None

    def __repr__(self) -> str:
        return f"Vault({str(self.path)!r})"

    def for_gallery(self, gallery: str) -> "GalleryVault":
        """Return what seals and opens the originals of one gallery.

        Raises:
            UsageError: the text cannot name a gallery.
        """
        return GalleryVault(self, gallery_name(gallery))

    def mac_key(self, *, create: bool = True) -> bytes:
        """Derive the 32-byte key that signs manifests (HMAC); ``create=False`` to check an old signature.

        Raises:
            KeyRefused: the passphrase is missing or wrong.
            IntegrityError: there is no vault and none is to be made, or its file is damaged.
        """
        return self.subkey("manifest mac v1", create=create)

    def subkey(self, label: str, *, create: bool, length: int = 32) -> bytes:
        """Derive bytes for one purpose from the master key (HKDF-SHA256, info ``avih/vault/`` + label).

        Args:
            label: the purpose.
            create: make the vault if there is none: to seal, yes; to open, no, a new one would open nothing.
            length: how many bytes.

        Raises:
            KeyRefused: the passphrase is missing or wrong.
            IntegrityError: there is no vault and none is to be made, or its file is damaged.
        """
        if self._master is None:
            self._master = HiddenBytes(self._open(create=create))
        info = b"avih/vault/" + label.encode()
        return HKDF(algorithm=SHA256(), length=length, salt=b"", info=info).derive(self._master.reveal())

    def _open(self, *, create: bool) -> bytes:
        if create and not self.path.exists():
            passphrase = resolve_passphrase(self._passphrase, confirm=True)
            master = secrets.token_bytes(32)
            with contextlib.suppress(FileExistsError):  # another process was faster; its vault is the vault
                write_sealed(self.path, master, passphrase=passphrase, context=VAULT_CONTEXT, cost=self._cost)
        try:
            blob = self.path.read_bytes()
        except FileNotFoundError:
            raise IntegrityError(
                f"Expected the vault's key at {self.path}, got no such file; no original opens without it. "
                f"{RESTORE}"
            ) from None
        # Always what is on the disk, so that every process has the same vault, the one that made it included.
        passphrase = resolve_passphrase(self._passphrase)
        with change_explained(self.path.parent, self.path.name):
            return open_sealed(blob, passphrase=passphrase, context=VAULT_CONTEXT, name=self.path.name)


def require_passphrase(folder: Path, passphrase: Passphrase) -> None:
    """Make sure that a passphrase is the store's before anything is sealed under it; without a vault any is.

    Raises:
        KeyRefused: the vault does not open with it.
        IntegrityError: the vault's file is damaged.
    """
    path = folder / VAULT_FILE
    try:
        blob = path.read_bytes()
    except FileNotFoundError:
        return
    try:
        with change_explained(folder, path.name):
            open_sealed(blob, passphrase=passphrase, context=VAULT_CONTEXT, name=path.name)
    except KeyRefused as error:
        raise KeyRefused(
            f"Expected the passphrase of this store before anything is sealed under it, got another. {error} "
            "Nothing was sealed. If the passphrase was changed meanwhile, give the new one and run again."
        ) from None


class GalleryVault:
    """Seals and opens the originals of one gallery; keeps no key of its own beyond the vault's."""

    def __init__(self, vault: Vault, gallery: str) -> None:
        self.gallery = gallery
        self._vault = vault

    def __repr__(self) -> str:
        return f"GalleryVault({self.gallery!r})"

    def seal(self, data: bytes, *, name: str) -> bytes:
        """Seal one original; the same bytes under the same name give the same blob.

        Raises:
            UsageError: the name is empty.
            KeyRefused: the passphrase is missing or wrong.
            IntegrityError: the vault's file is damaged.
        """
        head = self._head(create=True)
        nonce_key = self._vault.subkey(f"{self.gallery}/nonce v1", create=True)
        message = _name_bytes(name) + b"\0" + hashlib.sha256(data).digest()
        nonce = hmac.new(nonce_key, message, hashlib.sha256).digest()[:_NONCE_BYTES]
        cipher = AESGCM(self._vault.subkey(f"{self.gallery}/data v1", create=True))
        return head + nonce + cipher.encrypt(nonce, data, self._associated(head, name))

    def open(self, blob: bytes, *, name: str) -> bytes:
        """Open one sealed original.

        Raises:
            UsageError: the name is empty.
            KeyRefused: the passphrase is missing or wrong.
            IntegrityError: the blob is truncated, altered, of a newer version, of another vault, or sealed
                for another image or gallery.
        """
        place = f"sealed original {self.gallery}/{name}"
        if len(blob) < _HEADER.size + _TAG_BYTES or blob[:4] != MAGIC:
            raise IntegrityError(f"Expected a {place}, got {len(blob)} bytes that are none. {RESTORE}")
        _, version, _, nonce = _HEADER.unpack_from(blob)
        if version != FORMAT_VERSION:
            raise IntegrityError(
                f"Expected a {place} in format {FORMAT_VERSION}, got format {version}. If a newer avih made "
                f"it, use that one; if not, it was altered: {RESTORE}"
            )
        head = self._head(create=False)
        if blob[: len(head)] != head:
            raise IntegrityError(
                f"Expected a {place} of the vault {self._vault.path}, got one of another vault. Bring that "
                "vault's file back from a backup."
            )
        cipher = AESGCM(self._vault.subkey(f"{self.gallery}/data v1", create=False))
        try:
            return cipher.decrypt(nonce, blob[_HEADER.size :], self._associated(head, name))
        except InvalidTag:
            raise IntegrityError(
                f"Expected the {place}, got bytes that were altered or sealed for another image or gallery. "
                f"{RESTORE}"
            ) from None

    def _head(self, *, create: bool) -> bytes:
        return MAGIC + bytes([FORMAT_VERSION]) + self._vault.subkey("vault id v1", create=create, length=8)

    def _associated(self, head: bytes, name: str) -> bytes:
        return head + f"{self.gallery}/".encode() + _name_bytes(name)


def _name_bytes(name: str) -> bytes:
    if not name:
        raise UsageError("Expected the name of an image, got an empty one. Give the image's id.")
    return name.encode()
