"""Processes of the product that can be stopped and killed, and how they ended."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from benchmarks.faults.fault import Lost

PATIENCE = 240.0  # seconds after which a process that must end counts as one that hangs

LOOK_SECONDS = 0.02


@dataclass(frozen=True)
class Ended:
    """How a process ended: exit code (minus the signal that killed it), what it printed, seconds of its work."""

    code: int
    said: str
    seconds: float

    @property
    def last_line(self) -> str:
        """The last line that it printed: the error, if there was one."""
        return (self.said.strip().splitlines() or ["nothing printed"])[-1][:400]

    def require_code(self, *expected: int, what: str) -> "Ended":
        """Check the exit code, and that nobody was shown a traceback.

        Raises:
            Lost: it is another.
        """
        if self.code not in expected:
            wanted = " or ".join(map(str, expected))
            raise Lost(f"{what}: expected exit code {wanted}, got {self.code}: {self.last_line}")
        if "Traceback" in self.said:
            raise Lost(f"{what}: a traceback instead of a message: {self.last_line}")
        return self


@dataclass
class Running:
    """A process at work."""

    process: ForkServerProcess
    output: Path
    begun: Connection
    since: float = 0.0

    def wait_for_begin(self) -> "Running":
        """Wait until its work begins."""
        if not self.begun.poll(PATIENCE):
            raise Lost("a process did not begin")
        self.begun.recv_bytes()
        self.since = time.monotonic()
        return self

    def wait(self, seconds: float = PATIENCE) -> Ended:
        """Wait for its end.

        Raises:
            Lost: it does not end; it is killed then.
        """
        self.process.join(seconds)
        if self.process.exitcode is None:
            self.kill()
            raise Lost(f"a process hung for {seconds:.0f} s and was killed; it said: {self.said[-400:]}")
        return Ended(self.process.exitcode, self.said, time.monotonic() - self.since)

    def kill_after(self, seconds: float) -> Ended:
        """Kill it so many seconds after its work began, unless it ended before."""
        self.process.join(max(0.0, self.since + seconds - time.monotonic()))
        return self.kill()

    def kill(self) -> Ended:
        """SIGKILL."""
        if self.process.exitcode is None:
            self.process.kill()
            self.process.join()
        return self.wait()

    def is_stopped(self) -> bool:
        """Whether SIGSTOP holds it."""
        try:
            status = Path(f"/proc/{self.number}/stat").read_text()
        except OSError:
            return False
        return status.rpartition(")")[2].split()[0] in "Tt"

    def go_on(self) -> None:
        """Let it work again after SIGSTOP."""
        os.kill(self.number, signal.SIGCONT)

    @property
    def number(self) -> int:
        """Process id."""
        assert self.process.pid is not None
        return self.process.pid

    @property
    def said(self) -> str:
        """What it printed so far."""
        return self.output.read_text(errors="replace")


def until(condition: Callable[[], object], *, what: str, seconds: float = PATIENCE) -> None:
    """Look at a condition again and again until it holds.

    Raises:
        Lost: it never does.
    """
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise Lost(f"not within {seconds:.0f} s: {what}")
        time.sleep(LOOK_SECONDS)


@dataclass
class Program:
    """A command as people start it: a program of its own, which imports all it needs."""

    process: subprocess.Popen[bytes]
    output: Path
    since: float

    def is_running(self) -> bool:
        """Whether it runs."""
        return self.process.poll() is None

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait()

    def wait(self, seconds: float = PATIENCE) -> Ended:
        """Wait for its end.

        Raises:
            Lost: it does not end.
        """
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise Lost(f"a program hung for {seconds:.0f} s: {self.output.read_text()[-400:]}") from None
        return Ended(code, self.output.read_text(errors="replace"), time.monotonic() - self.since)
