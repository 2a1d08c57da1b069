"""What a store takes on the disk, what is free, and which temporary files killed runs left behind."""

import os
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from avih.atomic import Maker, maker_of
from tasks.records import Record

_TEMPORARY: Final = re.compile(r"\..+\.part", re.DOTALL)
_REPORT: Final = ".report-"  # folder in which an audit makes its report


class Straggler(Record):
    """A temporary file or folder.

    Attributes:
        path: in the store.
        time: when it was last written, UTC.
        maker: whether the process that made it ended or is running; unknown where its name does not say, or names
            another machine.
    """

    path: str
    size: int
    time: str
    maker: Maker


class Disk(Record):
    """Bytes used by each folder of a store, bytes free on its disk, and temporary files."""

    used: dict[str, int]
    free: int
    stragglers: tuple[Straggler, ...]
    unread: tuple[str, ...]

    @property
    def total(self) -> int:
        """All bytes of the store."""
        return sum(self.used.values())


def read_disk(root: Path) -> Disk:
    """Go through a store's folders once; what may not be looked into is named."""
    used: Counter[str] = Counter()
    found: list[Straggler] = []
    unread: list[str] = []
    for folder, files in _folders(root, unread):
        inside = folder.relative_to(root)
        facts = {name: file for name in files if (file := _stat(folder / name)) is not None}
        size = sum(file.st_size for file in facts.values())
        if inside.parts or size:
            used[inside.parts[0] if inside.parts else "."] += size
        if folder.name.startswith(_REPORT) and (own := _stat(folder)) is not None:
            found.append(_straggler(root, inside, size, own))
        found += [
            _straggler(root, inside / name, file.st_size, file)
            for name, file in facts.items()
            if _TEMPORARY.fullmatch(name)
        ]
    return Disk(
        used=dict(sorted(used.items())),
        free=shutil.disk_usage(root).free,
        stragglers=tuple(sorted(found, key=lambda one: one.path)),
        unread=tuple(sorted(unread)),
    )


def folder_size(folder: Path) -> int:
    """Return the bytes of all files below a folder; 0 where there is none."""
    facts = (_stat(inside / name) for inside, files in _folders(folder, []) for name in files)
    return sum(file.st_size for file in facts if file is not None)


def _folders(root: Path, unread: list[str]) -> Iterator[tuple[Path, list[str]]]:
    """Yield every folder below a root with the names of its files; name those that may not be looked into."""

    def note(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):  # a folder that went meanwhile takes nothing any more
            unread.append(str(Path(error.filename).relative_to(root)))

    for folder, _, files in os.walk(root, onerror=note):
        yield Path(folder), files


def _stat(path: Path) -> os.stat_result | None:
    """Return a file's facts; None where it went meanwhile, as temporary files do."""
    try:
        return path.lstat()
    except FileNotFoundError:
        return None


def _straggler(root: Path, inside: Path, size: int, facts: os.stat_result) -> Straggler:
    time = datetime.fromtimestamp(facts.st_mtime, UTC).isoformat(timespec="seconds")
    return Straggler(path=str(inside), size=size, time=time, maker=maker_of(root / inside))
