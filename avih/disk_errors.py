"""What a disk's errors mean for people, which of them may pass by themselves, and a look before work begins."""

import errno
import shutil
import tempfile
from pathlib import Path
from typing import Final

from avih.errors import AvihError

FULL: Final = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
CLOSED: Final = {errno.EROFS, errno.EACCES, errno.EPERM}
BROKEN: Final = {errno.EIO, errno.ESTALE, errno.ENXIO, errno.ENODEV, errno.EBADMSG, errno.EUCLEAN}

STAYS: Final = "what is finished stays."


def may_pass(error: BaseException) -> bool:
    """Tell whether trying again in a few seconds may help: a full or read-only disk needs a person."""
    return not (isinstance(error, OSError) and error.errno in FULL | CLOSED)


def told(error: OSError) -> str:
    """Say what was expected of the disk, what it answered, and what to do."""
    reason = error.strerror or str(error)
    where = f" {error.filename}" if error.filename else " a file"
    if error.errno in FULL:
        return (
            f"Expected room to write{where}, got: {reason}. Free some, or raise the limit, and run the same "
            f"command again: {STAYS}"
        )
    if error.errno in CLOSED:
        return (
            f"Expected to be allowed to use{where}, got: {reason}. Give this user the right to write there, or "
            "mount it for writing, and run the same command again."
        )
    if error.errno in BROKEN:
        return (
            f"Expected the disk to read or write{where}, got: {reason}. See the system's log, then run avih "
            f"verify and the same command again: {STAYS}"
        )
    return f"{type(error).__name__}: {error}"


def require_room(folder: Path, *, mebibytes: int, purpose: str) -> None:
    """Check that a folder can be written to and that its disk has some room.

    Raises:
        OSError: nothing can be written there.
        AvihError: there is too little room.
    """
    with tempfile.TemporaryFile(dir=folder):
        free = shutil.disk_usage(folder).free // 2**20
    if free < mebibytes:
        raise AvihError(
            f"Expected at least {mebibytes} MiB of room in {folder} for {purpose}, got {free}. Free some and run "
            f"the same command again: {STAYS}"
        )
