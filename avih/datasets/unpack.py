"""Unpack an archive from elsewhere: plain files and folders only, never outside the target, and bounded."""

import lzma
import stat
import tarfile
import zipfile
import zlib
from pathlib import Path, PureWindowsPath
from typing import Literal

from avih.errors import DownloadFailed

MAX_UNPACKED_BYTES = 64 * 2**30
MAX_MEMBERS = 2_000_000


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
        DownloadFailed: broken, too large, or with a member that leads out, a link or a device.
    """
    guard = _Guard(file=file, max_bytes=max_bytes, max_members=max_members)
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
    with tarfile.open(file, "r:*") as tar:
        for member in tar:
            guard.check(member.name, size=member.size, plain=member.isreg() or member.isdir())
            tar.extract(member, into, filter="data")


def _unpack_zip(file: Path, into: Path, guard: "_Guard") -> None:
    with zipfile.ZipFile(file) as archive:
        for member in archive.infolist():
            kind = stat.S_IFMT(member.external_attr >> 16)
            guard.check(member.filename, size=member.file_size, plain=kind in (0, stat.S_IFREG, stat.S_IFDIR))
            archive.extract(member, into)


class _Guard:
    """Refuses the members that an archive of photos has no reason to hold."""

    def __init__(self, *, file: Path, max_bytes: int, max_members: int) -> None:
        self.file, self.max_bytes, self.max_members = file, max_bytes, max_members
        self.members = self.bytes = 0

    def check(self, name: str, *, size: int, plain: bool) -> None:
        self.members += 1
        self.bytes += size
        path = PureWindowsPath(name)  # knows both slashes and drive letters
        if path.anchor or ".." in path.parts:
            raise self._refusal(f"the member {name!r}, which leads out of the folder")
        if not plain:
            raise self._refusal(f"the member {name!r}, which is a link or a device")
        if self.bytes > self.max_bytes or self.members > self.max_members:
            raise self._refusal(f"more than {self.max_bytes:,} bytes or {self.max_members:,} members")

    def _refusal(self, got: str) -> DownloadFailed:
        return DownloadFailed(
            f"Expected an archive of plain files in {self.file}, got {got}. "
            "Nothing of it was kept; do not unpack it by hand."
        )
