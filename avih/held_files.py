"""Files that tell by their lock whether their maker lives: the kernel lets it go when the process ends.

A process id does not tell that: in a container every program is process 1, and two containers see nothing of each
other's processes. They do see each other's locks on the files of one disk.
"""

import contextlib
import fcntl
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

logger = logging.getLogger(__name__)

_FLAGS: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
_held: set[int] = set()


def make_held(path: Path) -> tuple[int, bool]:
    """Make an empty private file and hold its lock; :func:`let_go` ends that.

    Returns:
        A descriptor, and whether it holds a lock: not all file systems have any.

    Raises:
        FileExistsError: there is such a file, or somebody took this one for a leftover; choose another name.
    """
    descriptor = os.open(path, _FLAGS, 0o600)
    try:
        os.fchmod(descriptor, 0o600)  # the umask may have taken even the owner's bits
        locked = _lock(descriptor)
        if locked is False or not _is_at(descriptor, path):
            path.unlink(missing_ok=True)
            raise FileExistsError(f"{path} was looked at before its lock was held")
    except BaseException:
        os.close(descriptor)
        raise
    _held.add(descriptor)
    return descriptor, bool(locked)


def let_go(descriptor: int) -> None:
    """Let a file's lock go; in a child of the process that held it there is nothing to let go."""
    if descriptor in _held:
        _held.discard(descriptor)
        os.close(descriptor)


@contextlib.contextmanager
def nobody_holds(path: Path) -> Iterator[bool | None]:
    """Tell whether a file's maker is gone, and keep others off while the block runs; None where nothing tells.

    A file that is gone by now is nobody's.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        yield True
        return
    except (OSError, ValueError) as error:
        logger.debug("No look at the lock of %s: %s", path, error)
        yield None
        return
    try:
        yield _lock(descriptor)
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool | None:
    """Take a file's lock: false if somebody else has it, None where the file system has none."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        logger.debug("No lock: %s", error)
        return None
    return True


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except FileNotFoundError:
        return False


def _forget_in_child() -> None:
    """Close what the parent holds: its locks must end with it, not with its last child."""
    for descriptor in tuple(_held):
        let_go(descriptor)


os.register_at_fork(after_in_child=_forget_in_child)
