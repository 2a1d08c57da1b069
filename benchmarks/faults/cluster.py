"""A Dask cluster whose worker or scheduler dies, or whose worker is slow, while it makes shards."""

import os
import signal
import subprocess
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from random import Random
from typing import Any, Final

from avih.naming import Store
from benchmarks.faults import works
from benchmarks.faults.bench import PROTECT, Bench, given
from benchmarks.faults.fault import Attempt, Fault, NotPossibleHere, require
from benchmarks.faults.gallery import PASSPHRASE
from benchmarks.faults.processes import Program, until
from flows.server.dask import DaskWorkers, scheduler_command, worker_command
from flows.server.processes import Child, free_port

HOST: Final = "127.0.0.1"
WORKERS: Final = ("first", "second")
FAILED: Final = 1


class Cluster:
    """A scheduler and two workers; whoever died is started again when the next attempt begins."""

    def __init__(self, bench: Bench) -> None:
        if find_spec("prefect_dask") is None:
            raise NotPossibleHere("prefect-dask not installed")
        self.bench, self.folder = bench, bench.servers.folder
        self.address = f"tcp://{HOST}:{free_port(HOST, 0, option='a port')}"
        self.members: dict[str, Child] = {}

    def whole(self) -> "Cluster":
        """Start what is missing, and wait until every worker has come."""
        port = int(self.address.rpartition(":")[2])
        if not self._runs("scheduler"):
            self.stop()  # workers of a dead scheduler
            self._start("scheduler", scheduler_command(host=HOST, port=port))
        for name in WORKERS:
            if not self._runs(name):
                asked = DaskWorkers(self.address, Store(self.folder), HOST)
                self._start(name, [*worker_command(asked, name=name), "--no-nanny"])
        until(lambda: self._workers() == len(WORKERS), what="both workers have come")
        return self

    def stop(self) -> None:
        """Kill everything."""
        for child in self.members.values():
            child.stop(seconds=0.0)
        self.members.clear()

    def _runs(self, name: str) -> bool:
        return name in self.members and self.members[name].is_running()

    def _start(self, name: str, command: list[str]) -> None:
        environment = os.environ | {"AVIH_PASSPHRASE": PASSPHRASE}
        self.members[name] = Child(
            name, command, environment=environment, log=self.folder / f"dask-{name}.log"
        )

    def _workers(self) -> int:
        distributed: Any = import_module("distributed")
        try:
            with distributed.Client(self.address, timeout="5s", set_as_default=False) as client:
                return len(client.scheduler_info(n_workers=-1)["workers"])
        except (OSError, TimeoutError):
            return 0


def breaking(act: Callable[[Cluster, Random, Program], None], *, codes: tuple[int, ...]) -> Attempt:
    """Return one attempt: do something to the cluster while it makes the shards of ``avih protect``."""

    def attempt(bench: Bench, draw: Random) -> str:
        undisturbed = bench.undisturbed("protect", "begun", works.command, *PROTECT)
        gallery, cluster = bench.gallery("begun"), bench.cluster.whole()
        number, appeared = draw.randint(1, undisturbed.gallery.appearing()()), gallery.appearing()
        words = [*given(PROTECT, gallery), "--runner", "dask", "--dask-address", cluster.address]
        with bench.forks.program(*words, environment={}) as program:
            until(lambda: appeared() >= number or not program.is_running(), what=f"file {number} of the run")
            act(cluster, draw, program)
            ended = program.wait().require_code(*codes, what=f"at file {number}")
        gallery.nothing_half()
        if ended.code:
            require("Expected" in ended.said, f"not told: {ended.last_line}")
            bench.command(gallery, "protect").require_code(0, what="the rerun")
        gallery.accounted()
        gallery.same_bytes(undisturbed.gallery)
        gallery.whole()
        return "said, and right after a rerun" if ended.code else "the run ended well"

    return attempt


def kill_worker(cluster: Cluster, draw: Random, _: Program) -> None:
    """SIGKILL one of the workers."""
    cluster.members[draw.choice(WORKERS)].process.kill()


def kill_scheduler(cluster: Cluster, _: Random, __: Program) -> None:
    """SIGKILL the scheduler."""
    cluster.members["scheduler"].process.kill()


def slow_worker(cluster: Cluster, draw: Random, program: Program) -> None:
    """Stop one of the workers until nothing else is done, or for some seconds; then let it go on."""
    process = cluster.members[draw.choice(WORKERS)].process
    process.send_signal(signal.SIGSTOP)
    with suppress(subprocess.TimeoutExpired):  # it waits for the slow one
        program.process.wait(timeout=draw.uniform(2, 6))
    process.send_signal(signal.SIGCONT)


FAULTS: Final = (
    Fault("SIGKILL of a Dask worker", "avih protect on a cluster of two",
          breaking(kill_worker, codes=(0,)), full=5),
    Fault("SIGKILL of the Dask scheduler", "avih protect on a cluster of two",
          breaking(kill_scheduler, codes=(0, FAILED)), full=5),
    Fault("slow Dask worker", "one of two stands still for seconds", breaking(slow_worker, codes=(0,)), full=5),
)  # fmt: skip
