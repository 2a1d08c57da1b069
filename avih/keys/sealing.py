"""Seal bytes under a passphrase (scrypt, then AES-256-GCM) and write them as private files.

A sealed file, byte by byte (integers are unsigned, big-endian):

======  ======  ===============================================================
offset  length  meaning
======  ======  ===============================================================
0       8       the letters ``AVIHSEAL``
8       1       format version, 1
9       1       scrypt: base-2 logarithm of N, 14 to 20
10      1       scrypt: block size r, 8 to 16
11      1       scrypt: parallelisation p, 1 to 4
12      16      scrypt: salt
28      12      AES-GCM: nonce
40      8       length L of the sealed bytes
48      L       ciphertext
48 + L  16      AES-GCM: tag
======  ======  ===============================================================

The associated data is the header (bytes 0 to 47) followed by the caller's context string in UTF-8, so neither
a header nor a file meant for another purpose can be put in its place. Each file has its own salt, so each has
its own AES key. Sources: RFC 7914 (scrypt), NIST SP 800-38D (GCM).
"""

import contextlib
import fcntl
import functools
import os
import secrets
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from avih.atomic import partial_file, remove_leftovers, settle, sync_folder
from avih.errors import ChangedElsewhere, IntegrityError, KeyRefused, UsageError
from avih.keys.passphrase import Passphrase
from avih.mirror.seam import sending, shared_lock

MAGIC: Final = b"AVIHSEAL"
FORMAT_VERSION: Final = 1
_HEADER: Final = struct.Struct(">8s4B16s12sQ")
_TAG_BYTES: Final = 16
RESTORE: Final = "Bring it back from a backup."
# A change of keys takes a moment. Who does not renew the shared lock for so long is gone.
STALE_SECONDS: Final = 60.0
PATIENCE: Final = 600.0


@dataclass(frozen=True)
class ScryptCost:
    """How much work one guess of the passphrase costs: 128 * N * r bytes of memory (128 MiB by default).

    The limits hold for files, too: a forged header can neither ask for all memory nor weaken the derivation.

    Raises:
        UsageError: a value is outside its limits.
    """

    log2_n: int = 17
    r: int = 8
    p: int = 1

    def __post_init__(self) -> None:
        if not (14 <= self.log2_n <= 20 and 8 <= self.r <= 16 and 1 <= self.p <= 4):
            raise UsageError(
                "Expected scrypt parameters log2(N) of 14 to 20, r of 8 to 16 and p of 1 to 4, got "
                f"{self.log2_n}, {self.r} and {self.p}."
            )


DEFAULT_COST: Final = ScryptCost()


# One derivation takes about half a second; a run opens the same key file once per shard. Memory only. The
# passphrase compares in constant time and hashes under a key of this process.
@functools.lru_cache(maxsize=64)
def _file_key(passphrase: Passphrase, salt: bytes, cost: ScryptCost) -> bytes:
    scrypt = Scrypt(salt=salt, length=32, n=2**cost.log2_n, r=cost.r, p=cost.p)
    try:
        return scrypt.derive(passphrase.reveal())
    except MemoryError as error:
        needed = 128 * 2**cost.log2_n * cost.r // 2**20
        raise KeyRefused(
            f"Expected {needed} MiB of free memory to derive a file key, got less. Free some and run again."
        ) from error


def seal(data: bytes, *, passphrase: Passphrase, context: str, cost: ScryptCost = DEFAULT_COST) -> bytes:
    """Seal bytes under a passphrase; ``context`` says what they are and must be given again to open them.

    Raises:
        KeyRefused: the passphrase is too short to seal anything new.
    """
    passphrase.require_length()
    salt, nonce = secrets.token_bytes(16), secrets.token_bytes(12)
    header = _HEADER.pack(MAGIC, FORMAT_VERSION, cost.log2_n, cost.r, cost.p, salt, nonce, len(data))
    cipher = AESGCM(_file_key(passphrase, salt, cost))
    return header + cipher.encrypt(nonce, data, header + context.encode())


def open_sealed(blob: bytes, *, passphrase: Passphrase, context: str, name: str = "sealed file") -> bytes:
    """Open what :func:`seal` made.

    Args:
        blob: the whole sealed file.
        passphrase: the passphrase it was sealed under.
        context: the context it was sealed for.
        name: what to call the file in an error.

    Raises:
        IntegrityError: no sealed file, one of a newer version, truncated, or with an absurd header.
        KeyRefused: the passphrase is wrong or the bytes were altered (the cipher cannot tell which).
    """
    salt, nonce, cost = _parse_header(blob, name=name)
    header, ciphertext = blob[: _HEADER.size], blob[_HEADER.size :]
    try:
        return AESGCM(_file_key(passphrase, salt, cost)).decrypt(nonce, ciphertext, header + context.encode())
    except InvalidTag:
        raise KeyRefused(
            f"Expected {name} to open, got a refusal: the passphrase is wrong or the file was altered; "
            f"the cipher cannot tell which. Check the passphrase first; if it is right: {RESTORE}"
        ) from None


def _parse_header(blob: bytes, *, name: str) -> tuple[bytes, bytes, ScryptCost]:
    """Check everything the header says before any work is done on its word."""
    if blob[:8] != MAGIC[: len(blob[:8])]:
        raise IntegrityError(
            f"Expected {name} to begin with {MAGIC.decode()}, got something else, not from avih. {RESTORE}"
        )
    if len(blob) > 8 and blob[8] != FORMAT_VERSION:
        raise IntegrityError(
            f"Expected {name} in sealed format {FORMAT_VERSION}, got format {blob[8]}. If a newer avih wrote "
            f"it, use that one; if not, it was altered: {RESTORE}"
        )
    if len(blob) < _HEADER.size:
        raise IntegrityError(
            f"Expected {name} to hold a header of {_HEADER.size} bytes, got {len(blob)}: truncated. {RESTORE}"
        )
    _, _, log2_n, r, p, salt, nonce, length = _HEADER.unpack_from(blob)
    expected = _HEADER.size + length + _TAG_BYTES
    if len(blob) != expected:
        raise IntegrityError(
            f"Expected {name} to hold {expected} bytes, got {len(blob)}: truncated or altered. {RESTORE}"
        )
    try:
        return salt, nonce, ScryptCost(log2_n, r, p)
    except UsageError as error:
        raise IntegrityError(f"The header of {name} was altered: {error} {RESTORE}") from error


def write_sealed(
    path: Path, data: bytes, *, passphrase: Passphrase, context: str, cost: ScryptCost = DEFAULT_COST
) -> None:
    """Seal bytes into a new private file, whole or not at all; never over a file that is there.

    Raises:
        FileExistsError: the file exists already (another process may have been faster).
        KeyRefused: the passphrase is too short to seal anything new.
    """
    write_private(path, seal(data, passphrase=passphrase, context=context, cost=cost))


def write_private(path: Path, data: bytes, *, replace: bool = False) -> None:
    """Write a file of mode 0600: temporary name beside it, fsync, into place, fsync of the folder.

    Raises:
        FileExistsError: the file exists already and is not to be replaced.
    """
    private_folder(path.parent)
    remove_leftovers(path.parent)
    try:
        with partial_file(path) as temporary:
            temporary.write_bytes(data)
            settle(temporary, mode=0o600)
            with sending(path):
                if replace:
                    temporary.replace(path)
                else:
                    _place_new(temporary, path)
                temporary.unlink(missing_ok=True)
                sync_folder(path.parent)
    except ChangedElsewhere as error:
        if replace:
            raise
        raise FileExistsError(f"{path} exists already: another machine was faster") from error


def _place_new(temporary: Path, path: Path) -> None:
    """Give a finished file its name unless it is taken: a hard link fails where a rename overwrites."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links: the best that is left is to look first
        if path.exists():
            raise FileExistsError(f"{path} exists already") from None
        temporary.rename(path)


def private_folder(folder: Path) -> None:
    """Make a folder that only its owner may enter (0700), or tighten the one that is there.

    Raises:
        UsageError: the folder belongs to somebody else, or a file is in its place.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        if folder.stat().st_mode & 0o777 != 0o700:
            folder.chmod(0o700)
    except PermissionError as error:
        raise UsageError(
            f"Expected to own the key folder {folder} (mode 700), got: {error.strerror}. "
            f"Run as its owner, after: chmod 700 {folder}"
        ) from error
    except (FileExistsError, NotADirectoryError) as error:
        raise UsageError(
            f"Expected a folder for the keys at {folder}, got a file in its way. Move it."
        ) from error


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock; the kernel lets it go when the process ends, however it ends.

    In a store elsewhere it is held for all machines, and the folder is as it is there when the block begins.
    """
    private_folder(folder)
    descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with shared_lock(folder, purpose="a change of keys", patience=PATIENCE, stale=STALE_SECONDS):
            yield
    finally:
        os.close(descriptor)
