"""Unpack an archive from elsewhere: plain files and folders only, never outside the target, and bounded."""

import bz2
import gzip
import io
import lzma
import os
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PureWindowsPath
from typing import IO, Any, Final, Literal

from avih.errors import DownloadFailed

MAX_UNPACKED_BYTES = 64 * 2**30
MAX_MEMBERS = 2_000_000
MAX_RATIO: Final = 100  # photos hardly compress
SMALL_BYTES: Final = 256 * 2**20  # an archive that unpacks to less may have any ratio
MAX_HEADER_BYTES: Final = 2**20
MAX_XZ_MEMORY: Final = 256 * 2**20  # xz -9 needs 65 MiB to unpack

_COMPRESSED: Final[dict[bytes, Callable[..., Any]]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\0": lzma.open,
    b"\x5d\0\0": lzma.open,
}


def unpack(
    *,
    file: Path,
    into: Path,
    kind: Literal["tar", "zip"],
    max_bytes: int = MAX_UNPACKED_BYTES,
    max_members: int = MAX_MEMBERS,
) -> None:
    """Unpack a tar (of any compression) or zip; nothing but files and folders, and only inside ``into``.

    Raises:
        DownloadFailed: broken, too large, or with a member that leads out, a link, a hole or a device, or one
            that is there twice.
    """
    guard = _Guard(file=file, into=into, max_bytes=max_bytes, max_members=max_members)
    try:
        if kind == "zip":
            _unpack_zip(file, into, guard)
        else:
            _unpack_tar(file, into, guard)
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError) as error:
        raise DownloadFailed(
            f"Expected a whole {kind} archive at {file}, got: {error}. Fetch it again."
        ) from error
    except (OSError, RuntimeError, ValueError, NotImplementedError) as error:
        raise DownloadFailed(
            f"Unpacking {file} failed: {error}. Free disk space or unpack it by hand."
        ) from error


def _unpack_tar(file: Path, into: Path, guard: "_Guard") -> None:
    with _plain(file) as content, tarfile.open(fileobj=_SmallReads(content, guard), mode="r:") as tar:
        for member in tar:
            plain = member.isdir() or (member.isreg() and not member.issparse())
            guard.check(member.name, size=member.size, plain=plain)
            tar.extract(member, into, filter="data")


def _plain(file: Path) -> IO[bytes]:
    """Open a tar without its compression."""
    with file.open("rb") as opened:
        start = opened.read(64)
    reader = next((reader for magic, reader in _COMPRESSED.items() if start.startswith(magic)), open)
    if reader is lzma.open:  # raises where the file asks for more memory
        lzma.LZMADecompressor(memlimit=MAX_XZ_MEMORY).decompress(start)
    content: IO[bytes] = reader(file, "rb")
    return content


def _unpack_zip(file: Path, into: Path, guard: "_Guard") -> None:
    with zipfile.ZipFile(file) as archive:
        for member in archive.infolist():
            kind = stat.S_IFMT(member.external_attr >> 16)
            guard.check(member.filename, size=member.file_size, plain=kind in (0, stat.S_IFREG, stat.S_IFDIR))
            archive.extract(member, into)


class _SmallReads(io.BufferedIOBase):
    """A tar's bytes; tarfile reads a header whole, however long it says that it is."""

    def __init__(self, content: IO[bytes], guard: "_Guard") -> None:
        self.content, self.guard = content, guard

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or not 0 <= size <= MAX_HEADER_BYTES:
            raise self.guard.refusal(f"a header of {size:,} bytes")
        return self.content.read(size)

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return self.content.seek(offset, whence)

    def tell(self) -> int:
        return self.content.tell()


class _Guard:
    """Refuses the members that an archive of photos has no reason to hold."""

    def __init__(self, *, file: Path, into: Path, max_bytes: int, max_members: int) -> None:
        self.file, self.into, self.max_members = file, into, max_members
        self.max_bytes = min(max_bytes, max(SMALL_BYTES, MAX_RATIO * file.stat().st_size))
        self.members = self.bytes = 0

    def check(self, name: str, *, size: int, plain: bool) -> None:
        self.members += 1
        self.bytes += size
        path = PureWindowsPath(name)  # knows both slashes and drive letters
        if path.anchor or ".." in path.parts:
            raise self.refusal(f"the member {name!r}, which leads out of the folder")
        if not plain:
            raise self.refusal(f"the member {name!r}, which is a link, a hole or a device")
        if self.bytes > self.max_bytes or self.members > self.max_members:
            raise self.refusal(f"more than {self.max_bytes:,} bytes or {self.max_members:,} members")
        if os.path.lexists(there := self.into / name) and not there.is_dir():
            raise self.refusal(f"the member {name!r} twice")

    def refusal(self, got: str) -> DownloadFailed:
        return DownloadFailed(
            f"Expected an archive of plain files in {self.file}, got {got}. "
            "Nothing of it was kept; do not unpack it by hand."
        )
