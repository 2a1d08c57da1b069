"""Temporary Prefect servers that killed processes left behind are ended; no other process is touched."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from flows.server.temporary import EPHEMERAL, OWNER, end_ownerless_servers


@pytest.fixture
def dead() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.fixture
def start() -> Iterator[object]:
    """Start processes that wait, with these variables alone."""
    with ExitStack() as stack:

        def started(**environment: str) -> subprocess.Popen[bytes]:
            process = stack.enter_context(
                subprocess.Popen([sys.executable, "-c", "print(flush=True); input()"], env=environment,
                                 stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            )  # fmt: skip
            stack.callback(process.kill)
            process.stdout.readline()  # it runs with its own environment now
            return process

        yield started


def test_a_server_whose_process_is_gone_is_ended_and_nothing_else(start, dead: int, tmp_path: Path) -> None:
    name, _, value = EPHEMERAL.partition("=")
    server = {name: value, "PREFECT_HOME": str(tmp_path), OWNER: str(dead)}
    left = start(**server)
    others = [
        start(**server | {OWNER: str(os.getpid())}),  # its process is at work
        start(**server | {"PREFECT_HOME": str(tmp_path / "other")}),
        start(**server | {OWNER: ""}),  # of an earlier release
        start(PREFECT_HOME=str(tmp_path), **{OWNER: str(dead)}),  # no server
    ]
    assert end_ownerless_servers(tmp_path) == [left.pid]
    assert left.wait(60) == -signal.SIGTERM
    assert [process.poll() for process in others] == [None] * 4
    assert end_ownerless_servers(tmp_path) == []
