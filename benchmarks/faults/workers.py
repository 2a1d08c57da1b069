"""Runs of a deployment whose worker, or whose own process, is killed at a random point."""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from random import Random
from typing import Any, Final
from uuid import UUID

import requests

import benchmarks
from benchmarks.faults import works
from benchmarks.faults.bench import PROTECT, Bench
from benchmarks.faults.fault import Attempt, Fault, require
from benchmarks.faults.gallery import PASSPHRASE, Gallery
from benchmarks.faults.processes import until
from flows.server.processes import Child, ProcessId, family

ROOT: Final = Path(benchmarks.__file__).parents[1]
POOL: Final = "faults"
ENDED: Final = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")


@dataclass
class Worker:
    """A Prefect worker with one deployment, spoken to over HTTP."""

    bench: Bench

    def start(self) -> Child:
        """Start a worker; it polls every second."""
        prefect = self.bench.servers.environment()
        environment = (
            os.environ | prefect | {"AVIH_PASSPHRASE": PASSPHRASE, "PREFECT_WORKER_QUERY_SECONDS": "1"}
        )
        _ = self.deployment
        command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", POOL, "--type", "process",
                   "--install-policy", "never"]  # fmt: skip
        return Child("worker", command, environment=environment, log=self.bench.servers.folder / "worker.log")

    @cached_property
    def deployment(self) -> str:
        """The id of the deployment of protect-gallery; it is made, with its work pool."""
        self._ask("work_pools/", name=POOL, type="process")
        flow = self._ask("flows/", name="protect-gallery")
        step = {"prefect.deployments.steps.set_working_directory": {"directory": str(ROOT)}}
        made = self._ask(
            "deployments/", name="faults", flow_id=flow["id"], work_pool_name=POOL, pull_steps=[step],
            entrypoint="flows.protect_gallery.protect_gallery", enforce_parameter_schema=False,
        )  # fmt: skip
        return str(made["id"])

    def begin(self, gallery: Gallery) -> str:
        """Ask for a run that protects a gallery; return its id."""
        (key_id,) = gallery.key_ids()
        chosen = works.settings().protect.model_dump(mode="json")
        place = {"store": gallery.address, "gallery": works.GALLERY, "version": "v0001",
                 "recogniser": {"card": works.CARD}}  # fmt: skip
        shards = [address.number for address in gallery.shards("aligned", "v0001")]
        parameters = {"place": place, "key_id": key_id, "shards": shards, "settings": chosen}
        run = self._ask(f"deployments/{self.deployment}/create_flow_run", parameters=parameters)
        return str(UUID(run["id"]))

    def state(self, run: str) -> str:
        """Return the type of a run's state."""
        found = requests.get(f"{self._api}/flow_runs/{run}", timeout=30).json()
        return str(found["state"]["type"])

    def wait(self, run: str) -> str:
        """Wait for the end of a run and return how it ended."""
        until(lambda: self.state(run) in ENDED, what="the flow run ends")
        return self.state(run)

    @property
    def _api(self) -> str:
        return f"{self.bench.servers.prefect.address}/api"

    def _ask(self, path: str, **content: Any) -> dict[str, Any]:
        """Ask the server; a 503 (SQLite is busy) is asked again, as Prefect's own clients do."""
        answers: list[requests.Response] = []

        def answered() -> bool:
            answers.append(requests.post(f"{self._api}/{path}", json=content, timeout=30))
            return answers[-1].status_code != requests.codes.service_unavailable

        until(answered, what=f"an answer of the Prefect server about {path}")
        if answers[-1].status_code == requests.codes.conflict:  # it is there already
            return {}
        answers[-1].raise_for_status()
        return dict(answers[-1].json())


def killing(victim: Callable[[Child], set[ProcessId]], *, ends: tuple[str, ...]) -> Attempt:
    """Return one attempt: kill some of the worker's family while a run is at work.

    Args:
        victim: whom to kill.
        ends: how the run may end.
    """

    def attempt(bench: Bench, draw: Random) -> str:
        undisturbed = bench.undisturbed("protect", "begun", works.command, *PROTECT)
        gallery, server = bench.gallery("begun"), Worker(bench)
        number, appeared = draw.randint(1, undisturbed.gallery.appearing()()), gallery.appearing()
        child = server.start()
        members: set[ProcessId] = set()
        try:
            run = server.begin(gallery)
            until(lambda: appeared() >= number, what=f"file {number} of the run")
            members = family(child.process.pid)
            for process in victim(child):
                process.kill()
            ended = server.wait(run)
            require(ended in ends, f"killed at file {number}: the run ended {ended}")
            gallery.nothing_half()
            if ended != "COMPLETED":
                bench.command(gallery, "protect").require_code(0, what="the rerun")
        finally:
            for process in members | family(child.process.pid):
                process.kill()
            child.process.wait()
        gallery.accounted()
        gallery.same_bytes(undisturbed.gallery)
        gallery.whole()
        return f"the run ended {ended}" + ("" if ended == "COMPLETED" else ", right after a rerun")

    return attempt


def the_worker(child: Child) -> set[ProcessId]:
    """The worker alone; its runs go on."""
    return {member for member in family(child.process.pid) if member.number == child.process.pid}


def its_runs(child: Child) -> set[ProcessId]:
    """The processes of its runs."""
    return family(child.process.pid) - the_worker(child)


FAULTS: Final = (
    Fault("SIGKILL of a Prefect worker", "the run of a deployment goes on without it",
          killing(the_worker, ends=("COMPLETED",)), full=5),
    Fault("SIGKILL of a worker's run", "Crashed at once; the same again makes it whole",
          killing(its_runs, ends=("CRASHED", "COMPLETED")), full=5),
)  # fmt: skip
