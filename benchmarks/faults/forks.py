"""Processes that are forked ready to work, so that each costs no imports.

A fork server imports everything once (``benchmarks.faults.warm``) and forks a process for each command. The
processes are real: real Prefect server, real files, real signals; only their first seconds are saved.
"""

import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

from benchmarks.faults.processes import Ended, Program, Running

WARM: Final = "benchmarks.faults.warm"

Work = Callable[..., Any]
Hook = Callable[[], None]


class Forks:
    """Forks processes from one that has imported everything.

    Args:
        folder: where their output goes.
        environment: of all of them; Prefect reads its own at import, once.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self.folder, self.started = folder, list[Running]()
        os.environ.update(environment)
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([WARM])
        self._count = 0

    def start(
        self,
        work: Work,
        *arguments: Any,
        before: Sequence[Hook] = (),
        environment: Mapping[str, str] | None = None,
    ) -> Running:
        """Start ``work(*arguments)`` in a process of its own; return once it begins.

        Args:
            work: a function of a module; what it returns is dropped.
            arguments: plain values.
            before: what is broken in the process before it begins.
            environment: more variables.
        """
        self._count += 1
        output = self.folder / f"output-{self._count}.txt"
        reads, writes = self._context.Pipe(duplex=False)
        process = self._context.Process(
            target=_enter, args=(str(output), writes, tuple(before), dict(environment or {}), work, arguments),
            daemon=True,
        )  # fmt: skip
        process.start()
        writes.close()
        running = Running(process, output, reads)
        self.started.append(running)
        return running.wait_for_begin()

    def run(self, work: Work, *arguments: Any, **more: Any) -> Ended:
        """Start a process and wait for its end."""
        return self.start(work, *arguments, **more).wait()

    @contextmanager
    def program(
        self, *arguments: str, environment: Mapping[str, str], without: Sequence[str] = ()
    ) -> Iterator[Program]:
        """Start an ``avih`` command as a program; it is killed if it still runs at the end of the block.

        Args:
            arguments: of the command.
            environment: more variables.
            without: variables that it shall not have.
        """
        self._count += 1
        output = self.folder / f"output-{self._count}.txt"
        command = [sys.executable, "-c", "from flows.cli import main; main()", *arguments]
        given = {name: value for name, value in os.environ.items() if name not in without}
        with output.open("wb") as file:
            process = subprocess.Popen(
                command, env=given | dict(environment), stdin=subprocess.DEVNULL, stdout=file, stderr=file
            )
        try:
            yield Program(process, output, time.monotonic())
        finally:
            process.kill()
            process.wait()

    def pipe(self) -> tuple[Connection, Connection]:
        """Return two connected ends: one for this process, one for an argument of :meth:`start`."""
        return self._context.Pipe()

    def end_all(self) -> None:
        """Kill what still runs of the processes that were started."""
        for running in self.started:
            running.kill()
        self.started.clear()


def _enter(
    output: str, begun: Connection, before: tuple[Hook, ...], environment: dict[str, str], work: Work,
    arguments: tuple[Any, ...],
) -> None:  # fmt: skip
    """In the new process: redirect its output, break what is to be broken, say so, work."""
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    for number in (1, 2):
        os.dup2(descriptor, number)
    os.environ.update(environment)
    for hook in before:
        hook()
    begun.send_bytes(b"begun")
    try:
        work(*arguments)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
