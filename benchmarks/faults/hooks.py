"""What is broken inside a process before it begins to work: kills, errors, clocks, limits, memory."""

import datetime as dates
import errno
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Any, Literal, cast

CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link"}
Action = Literal["count", "kill", "stop", "fail once", "fail from then on"]
OURS = ("avih.", "tasks.", "flows.")


@dataclass(frozen=True)
class AtChange:
    """Acts on the n-th change of a file below a folder: an open for writing, a rename, a removal, a new folder.

    Args:
        folder: whose changes count.
        action: count them all; or at the n-th: SIGKILL, SIGSTOP, or an error of the disk.
        number: n, from 1.
        counted: file that gets the count.
        error: number of the disk's error.
    """

    folder: str
    action: Action
    number: int = 0
    counted: str = ""
    error: int = errno.EIO

    def __call__(self) -> None:
        """Listen to what Python does with files from now on."""
        numbers = count(1)
        file = os.open(self.counted, os.O_WRONLY | os.O_CREAT, 0o600) if self.counted else None

        def hear(event: str, arguments: tuple[Any, ...]) -> None:
            if (path := _changed(event, arguments)) is None or not path.startswith(self.folder):
                return
            number = next(numbers)
            if file is not None:
                os.pwrite(file, f"{number:9d}".encode(), 0)
            if number == self.number or (number > self.number and self.action == "fail from then on"):
                self._act(path)

        sys.addaudithook(hear)

    def _act(self, path: str) -> None:
        if self.action in ("kill", "stop"):
            os.kill(os.getpid(), signal.SIGKILL if self.action == "kill" else signal.SIGSTOP)
        elif self.action != "count":
            raise OSError(self.error, os.strerror(self.error), path)


def _changed(event: str, arguments: tuple[Any, ...]) -> str | None:
    """Return the path that an event changes, if it is one."""
    if event == "open":
        mode, flags = arguments[1], arguments[2]
        writes = isinstance(mode, str) and set(mode) & set("wax+")
        creates = isinstance(flags, int) and flags & os.O_CREAT
        if not (writes or creates):
            return None
    elif event not in CHANGES:
        return None
    path = arguments[0]
    return os.fsdecode(path) if isinstance(path, str | bytes | os.PathLike) else None


@dataclass(frozen=True)
class LargestFile:
    """No file may grow beyond so many bytes: writing more gives EFBIG, in the middle of a file."""

    size: int

    def __call__(self) -> None:
        """Set the limit of this process."""
        resource.setrlimit(resource.RLIMIT_FSIZE, (self.size, self.size))


@dataclass(frozen=True)
class ClockJump:
    """The clock of avih's code jumps, after it was looked at so many times.

    Args:
        seconds: how far, forward or back.
        after: looks before the jump; 0: it is wrong from the beginning.
    """

    seconds: float
    after: int = 0

    def __call__(self) -> None:
        """Put a jumping clock in place of the real one, for all of avih's modules that are loaded."""
        looks, real_time = count(), time.time

        def offset() -> float:
            return self.seconds if next(looks) >= self.after else 0.0

        time.time = lambda: real_time() + offset()
        jumping = _jumping(offset)
        for name, module in list(sys.modules.items()):
            if name.startswith(OURS) and getattr(module, "datetime", None) is dates.datetime:
                cast(Any, module).datetime = jumping


def _jumping(offset: Callable[[], float]) -> type[dates.datetime]:
    """Return a datetime whose ``now`` jumps; to everything else it is the real one."""

    class AsReal(type):
        def __instancecheck__(cls, value: object) -> bool:
            return isinstance(value, dates.datetime)

    class Jumping(dates.datetime, metaclass=AsReal):
        @classmethod
        def now(cls, tz: dates.tzinfo | None = None) -> Any:
            return dates.datetime.now(tz) + dates.timedelta(seconds=offset())

        fromisoformat = cast(Any, dates.datetime.fromisoformat)
        fromtimestamp = cast(Any, dates.datetime.fromtimestamp)

    return Jumping


@dataclass(frozen=True)
class LittleDeviceMemory:
    """A stand-in for a small graphics card: more images at a time do not fit into its memory.

    Args:
        images: that fit with what their gradients take; twice as many, and at least two, fit without.
    """

    images: int

    def __call__(self) -> None:
        """Let networks raise what torch raises."""
        import torch

        from avih.losses import Objective
        from avih.recognisers import Recogniser

        def limited(function: Callable[..., Any], most: int) -> Callable[..., Any]:
            def called(itself: Any, images: Any, *more: Any) -> Any:
                if len(images) > most:
                    raise torch.OutOfMemoryError(f"a stand-in of a device holds {most} images")
                return function(itself, images, *more)

            return called

        cast(Any, Objective).with_gradient = limited(Objective.with_gradient, self.images)
        cast(Any, Recogniser).forward = limited(Recogniser.forward, max(2, 2 * self.images))
