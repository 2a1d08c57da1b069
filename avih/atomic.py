"""Files that are either whole or not there: temporary name, fsync, rename, fsync of the folder.

A temporary file is called ``.NAME.HOST-PID-RANDOM.part``. The host keeps runs on other machines out of it,
where a folder is shared. Whether it belongs to nobody any more is told by its lock, which its maker holds
(``held_files.py``); by the process id where an earlier release made it (eight random digits), and on a disk
without locks.
"""

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import re
import secrets
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from avih.errors import UsageError
from avih.held_files import let_go, make_held, nobody_holds
from avih.mirror.seam import sending

logger = logging.getLogger(__name__)
Maker = Literal["ended", "running", "unknown"]

# SQLite puts a journal beside a database that is being made.
_PARTIAL = re.compile(r"\..+\.([0-9a-f]{8})-(\d+)-([0-9a-f]{8}|[0-9a-f]{10})\.part(-journal)?", re.DOTALL)
_HELD = 10  # random digits in the name of a file whose maker holds its lock


def temporary_name(path: Path, *, held: bool = False) -> Path:
    """Return a name beside ``path`` that says which process it belongs to, and whether that holds its lock."""
    random = secrets.token_hex(_HELD // 2 if held else 4)
    return path.with_name(f".{path.name}.{_host()}-{os.getpid()}-{random}.part")


@contextlib.contextmanager
def partial_file(path: Path) -> Iterator[Path]:
    """Yield an empty private file beside ``path``; what is still there at the end is removed.

    Only the owner may read it until ``settle`` gives it its final mode. Its lock says that it is in work.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        temporary = temporary_name(path, held=True)
        with contextlib.suppress(FileExistsError):  # somebody looked for leftovers at that very moment
            descriptor, _ = make_held(temporary)
            break
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)
        let_go(descriptor)


def settle(temporary: Path, *, mode: int) -> None:
    """Give a written file its mode, whatever the umask, and make its bytes survive a power cut."""
    descriptor = os.open(temporary, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fchmod(descriptor, mode)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def atomic_file(path: Path, mode: int = 0o644) -> Iterator[Path]:
    """Yield a temporary file to write; it takes the name ``path`` only if the block ends without an error."""
    with partial_file(path) as temporary:
        yield temporary
        settle(temporary, mode=mode)
        with sending(path):
            temporary.replace(path)
            sync_folder(path.parent)


def write_bytes(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Write a file of these bytes, or leave what was there."""
    with atomic_file(path, mode) as temporary:
        temporary.write_bytes(data)


def remove(path: Path) -> bool:
    """Remove a file for good, wherever else its store lies; tell whether it was there."""
    with sending(path):
        there = path.exists() or path.is_symlink()
        path.unlink(missing_ok=True)
        if there:
            sync_folder(path.parent)
    return there


def remove_tree(folder: Path) -> None:
    """Remove a folder with all that is in it, wherever else its store lies; done files go first."""
    files = [path for path in folder.rglob("*") if path.is_file() or path.is_symlink()]
    with sending(*sorted(files, key=lambda path: (not path.name.endswith(".done.json"), path))):
        shutil.rmtree(folder)
        sync_folder(folder.parent)


def json_bytes(content: object) -> bytes:
    """Return the one form in which we store JSON: sorted keys, two spaces, UTF-8, a newline at the end.

    Raises:
        UsageError: something in it is not JSON, for instance NaN.
    """
    try:
        text = json.dumps(content, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise UsageError(f"Expected plain JSON values, got: {error}. Convert it, or write null.") from error
    return (text + "\n").encode()


def write_json(path: Path, content: object, mode: int = 0o644) -> None:
    """Write a JSON file, or leave what was there.

    Raises:
        UsageError: something in it is not JSON, for instance NaN.
    """
    write_bytes(path, json_bytes(content), mode)


def remove_leftovers(folder: Path) -> list[Path]:
    """Delete the temporary files that killed processes of this machine left in a folder, and return them.

    Files of living processes, of other machines and under other names stay.
    """
    removed = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        with _judged(path) as maker:
            if maker != "ended":
                continue
            path.unlink(missing_ok=True)
        removed.append(path)
        logger.info("Removed %s, left over by a process that ended.", path.name)
    return removed


def remove_leftovers_below(*roots: Path) -> list[Path]:
    """Delete what killed processes of this machine left in some folders and in all that are below them."""
    return [
        path for root in roots for folder, _, _ in os.walk(root) for path in remove_leftovers(Path(folder))
    ]


def maker_of(path: Path) -> Maker:
    """Say whether the process that made a temporary file ended or is running.

    It is unknown where the name does not say, or names another machine.
    """
    with _judged(path) as maker:
        return maker


@contextlib.contextmanager
def _judged(path: Path) -> Iterator[Maker]:
    """Say whose a temporary file is; while the block runs nobody begins to hold one whose maker ended."""
    match = _PARTIAL.fullmatch(path.name)
    if match is None or match[1] != _host():
        yield "unknown"
        return
    if len(match[3]) == _HELD:
        with nobody_holds(path.with_name(path.name.removesuffix("-journal"))) as free:
            if free is not None:
                yield "ended" if free else "running"
                return
    yield "running" if runs_here(int(match[2])) else "ended"


def runs_here(process: int) -> bool:
    """Tell whether a process of this machine is running; a dead one that nobody asked about yet is not."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (OSError, IndexError):
        return True


@contextlib.contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Let one process at a time change the names in a folder; the kernel frees it when the process ends.

    A file system without locks on folders goes without: each file is whole even then.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError as error:
            logger.debug("No lock on %s: %s", folder, error)
        yield
    finally:
        os.close(descriptor)


def _host() -> str:
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]
