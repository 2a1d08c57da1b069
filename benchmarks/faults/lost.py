"""Servers that die while a flow works: it ends well or says so, and the same command again makes it whole."""

import os
import signal
from pathlib import Path
from random import Random
from typing import Any, Final

from benchmarks.faults import works
from benchmarks.faults.bench import PROTECT, RUN, Bench, given
from benchmarks.faults.fault import Fault, require
from benchmarks.faults.forks import Work
from benchmarks.faults.gallery import Gallery
from benchmarks.faults.hooks import AtChange
from benchmarks.faults.processes import Running, until
from flows.server.processes import running_numbers
from flows.server.temporary import owner_of

FAILED: Final = 1


def restarted(bench: Bench, draw: Random) -> str:
    """SIGKILL the Prefect server at a random point of protecting, and start it again at once."""
    undisturbed = bench.undisturbed("protect", "begun", works.command, *PROTECT)
    number = draw.randint(1, undisturbed.changes)
    gallery, running = _stopped(bench, works.command, PROTECT, number)
    try:
        bench.servers.prefect.kill()
        running.go_on()
    finally:
        bench.servers.start_prefect()
    running.wait().require_code(0, what=f"the server was gone for a moment at change {number}")
    gallery.accounted()
    gallery.same_bytes(undisturbed.gallery)
    gallery.whole()
    return "the run waits for it and ends well"


def gone(bench: Bench, draw: Random) -> str:
    """SIGKILL the Prefect server at a random point of protecting, for good."""
    undisturbed = bench.undisturbed("protect", "begun", works.command, *PROTECT)
    number = draw.randint(1, undisturbed.gallery.appearing()())
    gallery = bench.gallery("begun")
    appeared = gallery.appearing()
    # Prefect's client would ask again for minutes, as it does where the server comes back.
    impatient = {"PREFECT_CLIENT_MAX_RETRIES": "1"}
    with bench.forks.program(*given(PROTECT, gallery), environment=impatient) as program:
        until(lambda: appeared() >= number or not program.is_running(), what=f"file {number} of the run")
        try:
            bench.servers.prefect.kill()
            ended = program.wait()
        finally:
            bench.servers.start_prefect()
    ended.require_code(0, FAILED, what=f"the server died at file {number}")
    if ended.code:
        require("Expected the Prefect server" in ended.said, f"not told: {ended.last_line}")
    gallery.nothing_half()
    bench.command(gallery, "protect").require_code(0, what="the rerun")
    gallery.accounted()
    gallery.same_bytes(undisturbed.gallery)
    gallery.whole()
    return "said, and right after a rerun" if ended.code else "ended well without it"


def left_behind(bench: Bench, draw: Random) -> str:
    """SIGKILL ``avih protect`` where no server was started: the temporary one that it had must not stay."""
    undisturbed = bench.undisturbed("protect", "begun", works.command, *PROTECT)
    number, gallery = draw.randint(1, undisturbed.gallery.appearing()()), bench.gallery("begun")
    appeared, home = gallery.appearing(), gallery.root / "home"
    alone: dict[str, Any] = {"environment": {"PREFECT_HOME": str(home)}, "without": ["PREFECT_API_URL"]}
    with bench.forks.program(*given(PROTECT, gallery), **alone) as program:
        until(lambda: appeared() >= number or not program.is_running(), what=f"file {number} of the run")
        require(servers_of(home), "no temporary server")
        program.kill()
    try:
        gallery.nothing_half()
        with bench.forks.program(*given(PROTECT, gallery), **alone) as program:
            program.wait().require_code(0, what="the rerun")
        until(lambda: not servers_of(home), what="no temporary server is left", seconds=30)
    finally:
        for server in servers_of(home):
            os.kill(server, signal.SIGKILL)
    gallery.accounted()
    gallery.same_bytes(undisturbed.gallery)
    gallery.whole()
    return "the next command ends it"


def servers_of(home: Path) -> list[int]:
    """Return the temporary servers of a Prefect home."""
    return [number for number in running_numbers() if owner_of(number, home) is not None]


def mlflow_server(bench: Bench, draw: Random) -> str:
    """SIGKILL the MLflow server at a random point of a run that logs to it."""
    environment = bench.servers.with_mlflow()
    undisturbed = bench.undisturbed("run", "begun", works.run_all, *RUN)
    number = draw.randint(1, undisturbed.changes // 2)
    gallery, running = _stopped(bench, works.run_all, RUN, number, environment)
    try:
        bench.servers.mlflow.kill()
        running.go_on()
        ended = running.wait()
    finally:
        bench.servers.with_mlflow()
    ended.require_code(0, FAILED, what=f"the server died at change {number}")
    if ended.code:
        require("MLflow" in ended.said, f"the message does not name MLflow: {ended.last_line}")
    gallery.nothing_half()
    again = bench.forks.run(
        works.run_all, *given(RUN, gallery), before=[works.cheap_keys], environment=environment
    )
    again.require_code(0, what="the rerun")
    gallery.serves()
    gallery.same_bytes(undisturbed.gallery)
    gallery.whole()
    return "said, and live after a rerun" if ended.code else "ended well without it"


def _stopped(
    bench: Bench,
    work: Work,
    arguments: tuple[str, ...],
    number: int,
    environment: dict[str, str] | None = None,
) -> tuple[Gallery, Running]:
    """Start a work on a gallery of its own, and stop it at a change of a file."""
    gallery = bench.gallery("begun")
    stopping = AtChange(gallery.address, "stop", number)
    running = bench.forks.start(
        work, *given(arguments, gallery), before=[works.cheap_keys, stopping], environment=environment
    )
    until(lambda: running.is_stopped() or running.process.exitcode is not None, what=f"change {number}")
    require(running.is_stopped(), f"it ended before change {number}: {running.said[-300:]}")
    return gallery, running


FAULTS: Final = (
    Fault("SIGKILL of the Prefect server, restarted", "in the middle of avih protect", restarted, full=5),
    Fault("SIGKILL of the Prefect server, for good", "in the middle of avih protect", gone, full=5),
    Fault("temporary Prefect server left behind", "by a killed avih protect", left_behind, full=3),
    Fault("SIGKILL of the MLflow server", "in the middle of avih run", mlflow_server, full=5),
)
