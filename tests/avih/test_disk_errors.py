"""What people are told of a disk that is full, read-only or broken, and what is worth a second try."""

import errno
import os
from pathlib import Path

import pytest

from avih.disk_errors import may_pass, require_room, told
from avih.errors import AvihError


@pytest.mark.parametrize(
    ("number", "expected", "passes"),
    [
        (errno.ENOSPC, "Expected room to write /store/a.tar, got: No space left on device. Free some", False),
        (errno.EFBIG, "raise the limit", False),
        (errno.EROFS, "mount it for writing", False),
        (errno.EACCES, "Expected to be allowed to use /store/a.tar, got: Permission denied.", False),
        (errno.EIO, "got: Input/output error. See the system's log, then run avih verify", True),
        (errno.ECONNRESET, "ConnectionResetError: ", True),
    ],
)
def test_each_error_says_what_to_do(number: int, expected: str, passes: bool) -> None:
    error = OSError(number, os.strerror(number), "/store/a.tar")
    assert expected in told(error)
    assert may_pass(error) is passes


def test_an_error_without_a_name_or_number_is_told_too() -> None:
    assert "write a file, got: No space left on device" in told(
        OSError(errno.ENOSPC, "No space left on device")
    )
    assert told(OSError("the disk took only part")) == "OSError: the disk took only part"
    assert may_pass(RuntimeError("anything else"))


def test_too_little_room_is_said_before_work_begins(tmp_path: Path) -> None:
    require_room(tmp_path, mebibytes=0, purpose="a test")
    with pytest.raises(
        AvihError, match=r"Expected at least 1099511627776 MiB of room in .* for a test, got "
    ):
        require_room(tmp_path, mebibytes=2**40, purpose="a test")
    with pytest.raises(OSError):
        require_room(tmp_path / "missing", mebibytes=0, purpose="a test")
    assert list(tmp_path.iterdir()) == []
