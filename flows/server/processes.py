"""Child processes that never outlive us: start, follow, tell to stop, and see that the whole family is gone."""

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from avih.errors import AvihError, UsageError

LOOK_SECONDS = 0.1
KILL_SECONDS = 10.0
TAIL_LINES, TAIL_BYTES = 8, 8192
PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class ProcessId:
    """One process: its number and when it began, because numbers are used again."""

    number: int
    began: str

    def is_alive(self) -> bool:
        """Whether it still runs; a dead one that nobody asked about yet does not."""
        fields = _stat(self.number)
        return fields is not None and fields[0] != "Z" and fields[19] == self.began

    def kill(self) -> None:
        """End it at once."""
        if self.is_alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.number, signal.SIGKILL)


def _stat(number: int) -> list[str] | None:
    """Return the fields of ``/proc/N/stat`` after the name: state, parent, ..., start time (the 20th)."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
    except (OSError, ValueError):
        return None


def running_numbers() -> list[int]:
    """Return the numbers of all processes of this machine."""
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def family(root: int) -> set[ProcessId]:
    """Return a process and everything that it started, directly or not."""
    table = {number: fields for number in running_numbers() if (fields := _stat(number)) is not None}
    found, waiting = set(), [root]
    while waiting:
        parent = waiting.pop()
        if parent in table:
            found.add(ProcessId(parent, table[parent][19]))
        waiting += [number for number, fields in table.items() if int(fields[1]) == parent]
    return found


def tail(log: Path) -> str:
    """Return the last lines of a log."""
    text = log.read_bytes()[-TAIL_BYTES:].decode(errors="replace")
    return "\n".join(text.splitlines()[-TAIL_LINES:])


def free_port(host: str, wanted: int, *, option: str) -> int:
    """Return ``wanted``, or any free port for 0.

    Raises:
        UsageError: something else listens there, or the host is not one of this machine.
    """
    try:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, wanted))
            return int(probe.getsockname()[1])
    except OSError as error:
        raise UsageError(
            f"Expected a free port, got: {error.strerror} ({host}:{wanted}). Stop what runs there, or give "
            f"another with {option} (0 takes any free one)."
        ) from None


def _end_with_parent() -> None:
    """Ask the kernel to tell this child to stop if we are killed: then nothing is left behind either."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


@contextlib.contextmanager
def until_stopped(stop: Callable[[], None]) -> Iterator[None]:
    """Run the block until Ctrl-C or SIGTERM, and stop what it started, once, however it ends."""
    # Set explicitly: a process started with & in a script ignores Ctrl-C.
    before = [(number, signal.signal(number, _interrupt)) for number in (signal.SIGINT, signal.SIGTERM)]
    try:
        yield
    finally:
        for number, _ in before:
            signal.signal(number, signal.SIG_IGN)  # once is enough: the stop is bounded in time
        try:
            stop()
        finally:
            for number, handler in before:
                signal.signal(number, handler)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


class Child:
    """One server or worker, started by us; what it prints goes into a log file."""

    def __init__(
        self, name: str, command: Sequence[str], *, environment: Mapping[str, str], log: Path
    ) -> None:
        self.name, self.log = name, log
        log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with log.open("ab") as output:
            # A session of its own: Ctrl-C in the terminal reaches us alone, and we stop things in order.
            self.process = subprocess.Popen(
                command, env=dict(environment), stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                start_new_session=True, preexec_fn=_end_with_parent,
            )  # fmt: skip
        self.members: set[ProcessId] = set()

    def is_running(self) -> bool:
        """Whether the process itself still runs."""
        return self.process.poll() is None

    def require_running(self) -> None:
        """Check that it still runs.

        Raises:
            AvihError: it ended by itself; the message holds the end of its log.
        """
        if not self.is_running():
            raise AvihError(
                f"Expected the {self.name} to go on, got exit code {self.process.returncode}. The end of "
                f"{self.log}:\n{tail(self.log)}"
            )

    def wait_until(self, answers: Callable[[], bool], *, seconds: float) -> None:
        """Wait until it answers.

        Raises:
            AvihError: it ended, or gave no answer in time.
        """
        until = time.monotonic() + seconds
        while not answers():
            self.require_running()
            if time.monotonic() > until:
                raise AvihError(
                    f"Expected an answer of the {self.name} within {seconds:.0f} s, got none. See {self.log}."
                )
            time.sleep(LOOK_SECONDS)

    def stop(self, *, seconds: float) -> None:
        """Tell it to stop, wait, and kill whatever of its family is still there after ``seconds``."""
        self.members |= family(self.process.pid) if self.is_running() else set()
        if self.is_running():
            self.process.terminate()
        until = time.monotonic() + seconds
        while self._alive() and time.monotonic() < until:
            self.members |= family(self.process.pid) if self.is_running() else set()
            time.sleep(LOOK_SECONDS)
        for member in self._alive():
            member.kill()
        self.process.wait()
        until = time.monotonic() + KILL_SECONDS
        while self._alive() and time.monotonic() < until:  # the system takes a moment to end them
            time.sleep(LOOK_SECONDS)

    def _alive(self) -> list[ProcessId]:
        self.process.poll()
        return [member for member in self.members if member.is_alive()]
