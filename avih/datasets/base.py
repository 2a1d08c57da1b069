"""What every data-set reader offers, and the careful walk through a folder that all folder readers share."""

import os
import stat
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import ClassVar, Protocol, Self

from avih.datasets.paths import PackedPaths
from avih.errors import ImageRefused, UsageError

_ENDINGS = ".jpg .jpeg .png .bmp .gif .webp .tif .tiff .pgm .ppm .jp2 .heic .avif"
IMAGE_ENDINGS = frozenset(_ENDINGS.split())
MAX_FILE_BYTES = 256 * 2**20
MAX_DEPTH = 32  # folders below the root
SYSTEM_FILES = frozenset({"thumbs.db", "desktop.ini"})
# A FIFO must not make the reader wait, and a link that appears after the check must not be followed.
_OPEN_FLAGS = (
    os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
)


@dataclass(frozen=True, slots=True)
class Photo:
    """One photo of a source: its path (forward slashes, relative to the source's root) and whom it shows."""

    path: str
    person: str


@dataclass(frozen=True, slots=True)
class Skipped:
    """An entry that looks like a photo but cannot be offered as one, with the reason for its row."""

    path: str
    reason: str
    detail: str


class PhotoSource(Protocol):
    """Where photos come from. Every entry of the source is in exactly one of photos, skipped and ignored."""

    @property
    def name(self) -> str:
        """What people call it: the folder's name, or ``synthetic``."""

    @property
    def layout(self) -> str:
        """The reader's name in the registry."""

    def photos(self) -> Iterator[Photo]:
        """Yield all photos, sorted by path: the same order at every run."""

    def read(self, photo: Photo) -> bytes:
        """Return the file's bytes.

        Raises:
            ImageRefused: unreadable, no regular file, or outside the source.
        """

    def skipped(self) -> tuple[Skipped, ...]:
        """Return the photo-like entries that :meth:`photos` leaves out, each with its reason."""

    def ignored(self) -> tuple[str, ...]:
        """Return the paths of all files that are no photos by their ending, hidden ones included."""


@dataclass
class Listing:
    """All entries below a root, in sorted order: regular image files, skipped entries, and the rest."""

    images: PackedPaths = field(default_factory=PackedPaths)
    skipped: list[Skipped] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, root: Path) -> Self:
        """Walk ``root`` without following links to folders or reading any file.

        Raises:
            UsageError: the folder is missing, is no folder, or cannot be listed.
        """
        if not root.is_dir():
            got = "a file" if root.exists() else "nothing"
            raise UsageError(f"Expected a folder of photos at {root}, got {got}. Check the path.")
        listing = cls()
        real_root = root.resolve()
        try:
            listing._walk(real_root, real_root, "")
        except OSError as error:
            raise UsageError(f"Expected a readable folder at {root}, got: {error.strerror}.") from error
        listing.skipped.sort(key=lambda entry: entry.path)
        listing.ignored.sort()
        return listing

    def _walk(self, root: Path, folder: Path, prefix: str) -> None:
        """Go through a folder in the order of whole paths, in which a folder's name ends with its slash."""
        with os.scandir(folder) as entries:
            names = sorted(e.name + "/" if e.is_dir(follow_symlinks=False) else e.name for e in entries)
        for name in names:
            path = prefix + name.removesuffix("/")
            printable = path.encode("utf-8", "backslashreplace").decode()
            if name.startswith(".") or name.removesuffix("/").lower() in SYSTEM_FILES:
                self.ignored.append(printable)
            elif path != printable:
                self._skip(printable, "name_not_utf8", "The name is not valid UTF-8. Rename it.")
            elif name.endswith("/"):
                self._enter(root, folder / name, path)
            else:
                self._add(root, folder / name, path)

    def _enter(self, root: Path, folder: Path, path: str) -> None:
        if path.count("/") >= MAX_DEPTH:
            self._skip(path, "too_deep", f"Folders are read {MAX_DEPTH} deep. Give a folder further down.")
            return
        before = len(self.images) + len(self.skipped)
        try:
            self._walk(root, folder, f"{path}/")
        except OSError as error:
            self._skip(path, "no_permission", f"The folder cannot be listed ({error.strerror}).")
            return
        if is_image_name(path) and len(self.images) + len(self.skipped) == before:
            self._skip(path, "not_a_file", "A folder with a photo's name and no photo in it.")

    def _add(self, root: Path, file: Path, path: str) -> None:
        if file.is_symlink() and file.is_dir():
            self._skip(path, "link_to_folder", "Links to folders are not followed. Give that folder itself.")
        elif not is_image_name(path):
            self.ignored.append(path)
        else:
            try:
                _regular_inside(root, path)
            except ImageRefused as refused:
                self._skip(path, refused.reason, refused.detail)
            else:
                self.images.append(path)

    def _skip(self, path: str, reason: str, detail: str) -> None:
        self.skipped.append(Skipped(path, reason, detail))


def is_image_name(path: str) -> bool:
    """Say whether a path ends like a photo."""
    return PurePosixPath(path).suffix.lower() in IMAGE_ENDINGS


def _regular_inside(root: Path, path: str) -> Path:
    """Resolve ``path`` below a resolved root, or refuse what leaves it or is no regular file."""
    try:
        target = (root / path).resolve(strict=True)
        mode = target.stat().st_mode
    except (OSError, RuntimeError, ValueError) as error:  # missing, a circle of links, a zero byte
        denied = isinstance(error, PermissionError)
        reason, what = ("no_permission", "may not be read") if denied else ("missing", "leads to no file")
        raise ImageRefused(reason, f"The path {what}. Check the file or the link.") from error
    if not target.is_relative_to(root):
        raise ImageRefused(
            "outside_source", "The path leads out of the source's folder. Copy the file into it."
        )
    if not stat.S_ISREG(mode):
        raise ImageRefused("not_a_file", "Expected a regular file, got a folder, pipe, socket or device.")
    return target


def read_inside(root: Path, path: str) -> bytes:
    """Read a regular file below ``root``, without waiting for pipes and without leaving the root.

    Raises:
        ImageRefused: with the reason ``missing``, ``outside_source``, ``not_a_file``, ``no_permission``,
            ``too_large`` or ``read_error``.
    """
    target = _regular_inside(root.resolve(), path)
    try:
        descriptor = os.open(target, _OPEN_FLAGS)
        with os.fdopen(descriptor, "rb") as file:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise ImageRefused("not_a_file", "Expected a regular file; it was replaced while reading.")
            if found.st_size > MAX_FILE_BYTES:
                raise ImageRefused(
                    "too_large", f"Expected at most {MAX_FILE_BYTES:,} bytes, got {found.st_size:,}."
                )
            return file.read(MAX_FILE_BYTES)
    except PermissionError as error:
        raise ImageRefused("no_permission", "The file may not be read. Change its permissions.") from error
    except OSError as error:
        raise ImageRefused("read_error", f"Reading failed: {error.strerror}. Check the disk.") from error


class FolderSource(ABC):
    """A reader of one folder layout: a subclass says whom a path shows and how to recognise its layout."""

    layout: ClassVar[str]
    expects: ClassVar[str]  # the layout in one line, for error texts

    def __init__(self, root: Path, listing: Listing) -> None:
        self.root = root
        self._listing = listing

    @classmethod
    @abstractmethod
    def recognises(cls, listing: Listing) -> bool:
        """Say whether ``auto`` should take this reader for a folder with this listing."""

    @abstractmethod
    def person(self, path: PurePosixPath) -> str | None:
        """Return whom the photo shows, or None where the path does not fit the layout."""

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.root.resolve().name

    def photos(self) -> Iterator[Photo]:
        """Yield all photos of the layout, sorted by path."""
        for path in self._listing.images:
            person = self.person(PurePosixPath(path))
            if person is not None:
                yield Photo(path=path, person=person)

    def read(self, photo: Photo) -> bytes:
        """Return the bytes of one photo; see :func:`read_inside` for what is refused."""
        return read_inside(self.root, photo.path)

    def skipped(self) -> tuple[Skipped, ...]:
        """Return links, pipes and the like, and image files outside the layout, each with its reason."""
        strangers = (path for path in self._listing.images if self.person(PurePosixPath(path)) is None)
        rest = [Skipped(path, "not_in_layout", f"Expected {self.expects}.") for path in strangers]
        return tuple(sorted([*self._listing.skipped, *rest], key=lambda entry: entry.path))

    def ignored(self) -> tuple[str, ...]:
        """Return the files that are no photos by their ending."""
        return tuple(self._listing.ignored)
