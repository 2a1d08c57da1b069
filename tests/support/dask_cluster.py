"""A Dask scheduler and workers of our own on loopback: real processes, started as ``avih dask`` starts them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from distributed import Client

from avih.naming import Store
from avih.settings import RunnerSettings
from command import ROOT
from flows.server.dask import DaskWorkers, scheduler_command, worker_command
from flows.server.processes import Child, free_port, tail
from running_server import soon

HOST = "127.0.0.1"
CODE = os.pathsep.join([str(ROOT), str(ROOT / "tests" / "support")])


@dataclass
class Cluster:
    """A scheduler, and workers by name."""

    folder: Path
    scheduler: Child
    address: str
    workers: dict[str, Child] = field(default_factory=dict)

    @classmethod
    def start(cls, folder: Path) -> "Cluster":
        port = free_port(HOST, 0, option="--port")
        scheduler = child("scheduler", scheduler_command(host=HOST, port=port), folder)
        return cls(folder, scheduler, f"tcp://{HOST}:{port}")

    def add(self, name: str, *, resources: dict[str, float], **environment: str) -> None:
        """Start a worker without the process that would start it again when it is killed."""
        asked = DaskWorkers(self.address, Store(self.folder), HOST, resources=resources, scratch=self.folder)
        command = [*worker_command(asked, name=name), "--no-nanny"]
        self.workers[name] = child(name, command, self.folder, **environment)

    def ready(self) -> None:
        """Wait until every worker has come."""
        with self.client() as client:
            there = soon(lambda: len(client.scheduler_info(n_workers=-1)["workers"]) >= len(self.workers))
        assert there, "\n".join(tail(worker.log) for worker in self.workers.values())

    def client(self) -> Client:
        return Client(self.address, timeout="60s", set_as_default=False)

    def addresses(self) -> dict[str, str]:
        """The workers' addresses by name."""
        with self.client() as client:
            workers = client.scheduler_info(n_workers=-1)["workers"]
        return {str(facts["name"]): address for address, facts in workers.items()}

    def runner(self, **resources: float) -> RunnerSettings:
        return RunnerSettings(kind="dask", address=self.address, resources=resources)

    def stop(self) -> None:
        for one in (*self.workers.values(), self.scheduler):
            one.stop(seconds=0.0)


def child(name: str, command: list[str], folder: Path, **environment: str) -> Child:
    inherited = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
    return Child(
        name,
        command,
        environment=inherited | {"PYTHONPATH": CODE} | environment,
        log=folder / f"{name}.log",
    )


@contextmanager
def cluster(folder: Path) -> Iterator[Cluster]:
    made = Cluster.start(folder)
    try:
        yield made
    finally:
        made.stop()
