"""Start a Prefect server, an MLflow server and workers in order, follow them, stop them in the other order."""

import os
import socket
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from flows.environment import DEFAULTS

import requests
from prefect.client.orchestration import SyncPrefectClient

import avih
import flows
from avih.keys.passphrase import KEY_FILE_VARIABLE, SECRET_VARIABLES
from avih.naming import Store
from flows.server.deploy import FILE, create_pools, deploy_all
from flows.server.lock import describe, only_one
from flows.server.ownerless import end_ownerless_runs
from flows.server.processes import Child, free_port, until_stopped
from tasks.mlflow_runs import make_database

START_SECONDS = 180.0
STOP_SECONDS = 15.0
WORKER_STOP_SECONDS = 20.0
ASK_SECONDS = 5.0


@dataclass(frozen=True)
class ServerSettings:
    """What to start, and where."""

    store: Store
    gallery: str
    host: str = "127.0.0.1"
    prefect_port: int = 4200
    mlflow_port: int = 5000
    pools: tuple[str, ...] = ("cpu",)
    runs_at_once: int = 1


@dataclass
class LocalServer:
    """The servers and workers of one store; ``say`` gets one line for people at each step."""

    settings: ServerSettings
    say: Callable[[str], None]
    prefect: str = ""
    mlflow: str = ""
    deployments: list[str] = field(default_factory=list)
    children: list[Child] = field(default_factory=list)

    def start(self) -> None:
        """Start everything and wait until it answers.

        Raises:
            UsageError: a port is taken, or ``prefect.yaml`` is missing.
            AvihError: a server did not start, or a deployment is not there.
        """
        wanted, home = self.settings, home_folder()
        prefect_port = free_port(wanted.host, wanted.prefect_port, option="--prefect-port")
        mlflow_port = free_port(wanted.host, wanted.mlflow_port, option="--mlflow-port")
        name = _name_of(wanted.host)
        self.prefect, self.mlflow = f"http://{name}:{prefect_port}", f"http://{name}:{mlflow_port}"
        self.say("starting the Prefect server and the MLflow server")
        servers = self._start_servers(prefect_port, mlflow_port)
        for child, address in zip(
            servers, (f"{self.prefect}/api/health", f"{self.mlflow}/health"), strict=True
        ):
            child.wait_until(partial(_answers, address), seconds=START_SECONDS)
        with self._client() as client:
            create_pools(client)
            self._end_ownerless(
                client, "The server was stopped or killed while this ran. Run it again to go on."
            )
            self.say(f"starting the workers of {', '.join(wanted.pools)} and deploying prefect.yaml")
            began = datetime.now(UTC)
            workers = {pool: self._start_worker(pool) for pool in wanted.pools}
            self.deployments = deploy_all(
                client, home=home, environment=self._environment(), log=self._log("deploy")
            )
            for pool, worker in workers.items():
                worker.wait_until(partial(_has_reported, client, pool, began), seconds=START_SECONDS)

    def follow(self) -> None:
        """Stay until something of it ends by itself.

        Raises:
            AvihError: a server or worker ended; the message holds the end of its log.
        """
        while True:
            for child in self.children:
                child.require_running()
            time.sleep(1.0)

    def stop(self) -> None:
        """Stop the workers and their flow runs, note what was cut off, then stop the servers."""
        servers, workers = self.children[:2], self.children[2:]
        for worker in workers:
            self.say(f"stopping the {worker.name}")
            worker.stop(seconds=WORKER_STOP_SECONDS)
        if workers and all(server.is_running() for server in servers):
            try:
                with self._client() as client:
                    self._end_ownerless(
                        client, "The server was stopped while this ran. Run it again to go on."
                    )
            except Exception as reason:  # whatever it is, the servers must be stopped; the next start does it
                self.say(f"flow runs that were cut off could not be marked: {type(reason).__name__}")
        for server in reversed(servers):
            self.say(f"stopping the {server.name}")
            server.stop(seconds=STOP_SECONDS)
        self.children = []

    def _client(self) -> SyncPrefectClient:
        return SyncPrefectClient(api=f"{self.prefect}/api")

    def _end_ownerless(self, client: SyncPrefectClient, reason: str) -> None:
        own = {worker_name(pool) for pool in ("cpu", "gpu")}
        for run in end_ownerless_runs(client, own_workers=own, store=self.settings.store.root, reason=reason):
            self.say(f"flow run {run.name} had lost its process and is marked Crashed")

    def _start_servers(self, prefect_port: int, mlflow_port: int) -> list[Child]:
        store, host = self.settings.store, self.settings.host
        environment = {
            name: value for name, value in self._environment().items() if name not in SECRET_VARIABLES
        }
        artifacts = store.mlflow / "artifacts"
        artifacts.mkdir(parents=True, exist_ok=True)
        prefect = self._start(
            "Prefect server", ["prefect", "server", "start", "--host", host, "--port", str(prefect_port)],
            environment, "server",
        )  # fmt: skip
        database = os.environ.get("MLFLOW_BACKEND_STORE_URI") or make_database(store)
        # An artifact root that is a folder, not the server: a run logged without a server finds the same files.
        mlflow = self._start(
            "MLflow server",
            ["mlflow", "server", "--host", host, "--port", str(mlflow_port), "--workers", "1",
             "--backend-store-uri", database, "--default-artifact-root", artifacts.as_uri()],
            environment, "mlflow",
        )  # fmt: skip
        return [prefect, mlflow]

    def _start_worker(self, pool: str) -> Child:
        command = ["prefect", "worker", "start", "--pool", pool, "--name", worker_name(pool), "--type", "process",
                   "--limit", str(self.settings.runs_at_once), "--install-policy", "never"]  # fmt: skip
        return self._start(f"worker of pool {pool}", command, self._environment(), f"worker-{pool}")

    def _start(self, name: str, arguments: Sequence[str], environment: dict[str, str], log: str) -> Child:
        command = [sys.executable, "-m", *arguments]
        child = Child(name, command, environment=environment, log=self._log(log))
        self.children.append(child)
        return child

    def _log(self, name: str) -> Path:
        return self.settings.store.prefect / f"{name}.log"

    def _environment(self) -> dict[str, str]:
        """Return what servers, workers and the deployment file need; the passphrase is only passed on."""
        store = self.settings.store
        return {
            **DEFAULTS,
            "PREFECT_WORKER_QUERY_SECONDS": str(ASK_SECONDS),
            **{name: value for name, value in os.environ.items() if not name.endswith("LOGGING_LEVEL")},
            **_absolute_key_file(),
            "PREFECT_HOME": str(store.prefect),
            "PREFECT_LOCAL_STORAGE_PATH": str(store.prefect / "results"),
            "PREFECT_API_URL": f"{self.prefect}/api",
            "MLFLOW_TRACKING_URI": self.mlflow,
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "AVIH_STORE": store.address,
            "AVIH_HOME": str(home_folder()),
            "AVIH_GALLERY": self.settings.gallery,
        }


def home_folder() -> Path:
    """Return the folder that holds ``prefect.yaml``: ``AVIH_HOME``, a clone, or the installed copy."""
    if chosen := os.environ.get("AVIH_HOME"):
        return Path(chosen).absolute()
    clone = Path(avih.__file__).absolute().parents[1]
    return clone if (clone / FILE).is_file() else Path(flows.__file__).absolute().parent


def worker_name(pool: str) -> str:
    """Name this machine's worker of a pool."""
    return f"avih-{socket.gethostname()}-{pool}"


def run(
    settings: ServerSettings, *, say: Callable[[str], None], ready: Callable[[LocalServer], None]
) -> None:
    """Run the servers until Ctrl-C or SIGTERM, and stop them cleanly however it ends."""
    server = LocalServer(settings, say)
    try:
        with only_one(settings.store) as file, until_stopped(server.stop):
            server.start()
            describe(file, prefect=server.prefect, mlflow=server.mlflow)
            ready(server)
            server.follow()
    except KeyboardInterrupt:
        say("stopped")


def _absolute_key_file() -> dict[str, str]:
    file = os.environ.get(KEY_FILE_VARIABLE)
    return {KEY_FILE_VARIABLE: str(Path(file).expanduser().absolute())} if file else {}


def _name_of(host: str) -> str:
    """Return the address that this machine itself uses; a server for all interfaces is asked on the local one."""
    return "127.0.0.1" if host in ("0.0.0.0", "::") else host


def _has_reported(client: SyncPrefectClient, pool: str, began: datetime) -> bool:
    """Whether our worker of a pool has told the server since ``began`` that it is there."""
    workers = client.read_workers_for_work_pool(pool)
    return any(
        w.name == worker_name(pool) and w.last_heartbeat_time > began
        for w in workers
        if w.last_heartbeat_time
    )


def _answers(address: str) -> bool:
    try:
        return requests.get(address, timeout=5).ok
    except requests.RequestException:
        return False
