"""A private view of the file systems, in which a disk can be small or read-only and nobody else sees it.

A holder process makes the namespace and sleeps; others enter it, and this one looks in through ``/proc``.
Root is not needed where the kernel lets everybody make user namespaces.
"""

import ctypes
import os
import signal
import subprocess
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from benchmarks.faults.fault import NotPossibleHere
from benchmarks.faults.forks import Forks
from benchmarks.faults.processes import Running

NEW_MOUNTS, NEW_USERS = 0x20000, 0x10000000
SECONDS = 60.0


@dataclass(frozen=True)
class Enter:
    """Brings a new process into the namespaces of another, before it begins to work."""

    number: int
    users: bool

    def __call__(self) -> None:
        """Enter."""
        library = ctypes.CDLL(None, use_errno=True)
        for kind, flag in (("user", NEW_USERS), ("mnt", NEW_MOUNTS)):
            if kind == "user" and not self.users:
                continue
            with Path(f"/proc/{self.number}/ns/{kind}").open() as file:
                if library.setns(file.fileno(), flag):
                    raise OSError(ctypes.get_errno(), f"cannot enter the namespace of process {self.number}")


class Disk:
    """A folder that is a disk of its own, for processes that enter.

    Args:
        forks: starts the holder.
        folder: becomes the disk; must exist.

    Raises:
        NotPossibleHere: the system allows no such namespace.
    """

    def __init__(self, forks: Forks, folder: Path) -> None:
        self.folder, self.users = folder, os.geteuid() != 0
        ours, theirs = forks.pipe()
        self._pipe = ours
        self.holder: Running = forks.start(hold, theirs, self.users)
        theirs.close()
        if reason := self._answer():
            raise NotPossibleHere(reason)

    @property
    def enter(self) -> Enter:
        """What a process does to see the disk."""
        return Enter(self.holder.number, self.users)

    @property
    def seen_from_here(self) -> Path:
        """The folder as the processes that entered see it."""
        return Path(f"/proc/{self.holder.number}/root{self.folder}")

    def mount(self, *arguments: str) -> None:
        """Run ``mount`` with these arguments and the folder at the end.

        Raises:
            NotPossibleHere: it is refused.
        """
        self._pipe.send_bytes("\n".join(["mount", *arguments, str(self.folder)]).encode())
        if reason := self._answer():
            raise NotPossibleHere(reason)

    def _answer(self) -> str:
        if not self._pipe.poll(SECONDS):
            return "no answer from the process that holds the namespace"
        return self._pipe.recv_bytes().decode()


def hold(pipe: Connection, users: bool) -> None:
    """In the holder: make the namespace, then run what is asked for until nobody asks any more."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    pipe.send_bytes(_unshare(users).encode())
    while True:
        try:
            command = pipe.recv_bytes().decode().split("\n")
        except EOFError:
            return
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        pipe.send_bytes(done.stderr.strip().encode() if done.returncode else b"")


def _unshare(users: bool) -> str:
    """Make the namespaces; return why it was not possible, or nothing."""
    library, identity = ctypes.CDLL(None, use_errno=True), (os.geteuid(), os.getegid())
    if library.unshare(NEW_MOUNTS | (NEW_USERS if users else 0)):
        return f"no private mounts: {os.strerror(ctypes.get_errno())}"
    if users:
        Path("/proc/self/setgroups").write_text("deny")
        for name, number in zip(("uid_map", "gid_map"), identity, strict=True):
            Path(f"/proc/self/{name}").write_text(f"0 {number} 1")
    done = subprocess.run(["mount", "--make-rprivate", "/"], capture_output=True, text=True, check=False)
    return done.stderr.strip() if done.returncode else ""
