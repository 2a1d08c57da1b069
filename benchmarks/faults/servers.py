"""The servers that flows talk to, each in a family of processes that can be killed and started again."""

import os
import sys
from pathlib import Path

from flows.environment import DEFAULTS

import requests

from flows.server.processes import Child, family, free_port

HOST = "127.0.0.1"
START_SECONDS, STOP_SECONDS = 120.0, 10.0


class Server:
    """A server with an address of its own, which it keeps over its deaths."""

    def __init__(self, name: str, folder: Path, command: list[str], *, health: str) -> None:
        self.name, self.folder, self._command, self._health = name, folder, command, health
        self.port = free_port(HOST, 0, option="a port")
        self.address = f"http://{HOST}:{self.port}"
        self._child: Child | None = None

    def start(self, environment: dict[str, str]) -> None:
        """Start it and wait until it answers; nothing is done if it runs."""
        if self._child and self._child.is_running():
            return
        command = [sys.executable, "-m", *self._command, "--host", HOST, "--port", str(self.port)]
        self._child = Child(
            self.name, command, environment=os.environ | environment, log=self.folder / f"{self.name}.log"
        )
        self._child.wait_until(self.answers, seconds=START_SECONDS)

    def answers(self) -> bool:
        """Whether it answers."""
        try:
            return requests.get(f"{self.address}{self._health}", timeout=5).ok
        except requests.RequestException:
            return False

    def kill(self) -> None:
        """SIGKILL it and everything that it started."""
        if self._child:
            for member in family(self._child.process.pid):
                member.kill()
            self._child.process.wait()

    def stop(self) -> None:
        """Stop it."""
        if self._child:
            self._child.stop(seconds=STOP_SECONDS)


class Servers:
    """A Prefect server and an MLflow server, with databases of their own."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700)
        self.folder = folder
        database = f"sqlite:///{folder / 'mlflow.db'}"
        artifacts = (folder / "artifacts").as_uri()
        self.prefect = Server("prefect", folder, ["prefect", "server", "start"], health="/api/health")
        self.mlflow = Server(
            "mlflow", folder,
            ["mlflow", "server", "--workers", "1", "--backend-store-uri", database,
             "--default-artifact-root", artifacts],
            health="/health",
        )  # fmt: skip

    def environment(self) -> dict[str, str]:
        """Return what a process needs to find the Prefect server, which is started."""
        home = self.folder / "home"
        home.mkdir(exist_ok=True)
        self.prefect.start(self._own())
        return self._own() | {"PREFECT_API_URL": f"{self.prefect.address}/api"}

    def with_mlflow(self) -> dict[str, str]:
        """Return what a process needs besides to find the MLflow server, which is started."""
        self.mlflow.start(self._own() | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"})
        return {"MLFLOW_TRACKING_URI": self.mlflow.address}

    def start_prefect(self) -> None:
        """Start the Prefect server again after its death."""
        self.prefect.start(self._own())

    def stop(self) -> None:
        """Stop what runs."""
        for server in (self.mlflow, self.prefect):
            server.stop()

    def _own(self) -> dict[str, str]:
        home = self.folder / "home"
        return {
            **DEFAULTS, "PREFECT_HOME": str(home), "PREFECT_LOCAL_STORAGE_PATH": str(home / "results"),
            "PREFECT_LOGGING_LEVEL": "CRITICAL", "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive",
        }  # fmt: skip
