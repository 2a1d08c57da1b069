"""An ``avih server`` of our own for tests, spoken to over HTTP as the pages and the command line do."""

import os
import re
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from command import PROGRAM
from flows.server.processes import ProcessId, family

PASSPHRASE = "a passphrase that no file may hold"
TRIES, PAUSE = 3000, 0.1  # five minutes: a busy machine takes one to start three servers
TERMINAL = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}


def soon(condition: Callable[[], Any]) -> Any:
    """Ask until the answer is true; give the last answer if it never is."""
    answer = condition()
    for _ in range(TRIES):
        if answer:
            break
        threading.Event().wait(PAUSE)
        answer = condition()
    return answer


@dataclass
class Running:
    """An ``avih server`` of our own, spoken to over HTTP as the pages and the command line do."""

    store: Path
    output: Path
    process: subprocess.Popen[bytes]
    addresses: list[str] = field(default_factory=list)

    @classmethod
    def start(cls, root: Path) -> "Running":
        inherited = {
            n: v for n, v in os.environ.items() if not n.startswith(("PREFECT_", "MLFLOW_", "AVIH_"))
        }
        environment = inherited | {"AVIH_PASSPHRASE": PASSPHRASE, "PREFECT_WORKER_QUERY_SECONDS": "1"}
        output = root / "server-output.txt"
        with output.open("wb") as out:
            process = subprocess.Popen(
                avih_server(root, "--prefect-port", "0", "--mlflow-port", "0"), env=environment, cwd=root,
                stdout=out, stderr=out,
            )  # fmt: skip
        server = cls(root / "store", output, process)
        if not soon(lambda: "Ctrl-C stops" in server.said() or process.poll() is not None):
            process.terminate()
        assert "Ctrl-C stops" in server.said(), server.said()
        server.addresses = re.findall(r"http://[0-9.:]+", server.said())[:2]
        return server

    def said(self) -> str:
        return self.output.read_text()

    def ask(self, path: str, **content: Any) -> Any:
        """Ask Prefect; a 503 (SQLite is busy) is asked again, as Prefect's own clients do."""
        answer = soon(
            lambda: accepted(requests.post(f"{self.addresses[0]}/api/{path}", json=content, timeout=30))
        )
        assert answer, f"{path}: busy to the end"
        answer[0].raise_for_status()
        return answer[0].json()

    def begin(self, deployment: str, **parameters: Any) -> str:
        """Ask for a run of a deployment, as its form does; return the flow run's id."""
        (found,) = self.ask("deployments/filter", deployments={"name": {"any_": [deployment]}})
        return self.ask(f"deployments/{found['id']}/create_flow_run", parameters=parameters)["id"]

    def run(self, deployment: str, **parameters: Any) -> dict[str, Any]:
        """Run a deployment through the worker until its end."""
        run = self.begin(deployment, **parameters)
        soon(lambda: self.state(run)["state"]["type"] in TERMINAL)
        return self.state(run)

    def state(self, run: str) -> dict[str, Any]:
        return requests.get(f"{self.addresses[0]}/api/flow_runs/{run}", timeout=30).json()

    def parts(self, run: str) -> list[dict[str, Any]]:
        """Return the flow runs below a flow run."""
        return self.ask("flow_runs/filter", flow_runs={"parent_flow_run_id": {"any_": [run]}})

    def mlflow(self, path: str, **content: Any) -> Any:
        return requests.post(f"{self.addresses[1]}/api/2.0/mlflow/{path}", json=content, timeout=30).json()

    def family(self) -> set[ProcessId]:
        return family(self.process.pid)

    def end(self, number: int) -> int:
        self.process.send_signal(number)
        return self.process.wait(timeout=90)


def accepted(answer: requests.Response) -> list[requests.Response]:
    """Return the answer unless the server is busy; in a list, because an answer with an error counts as false."""
    return [] if answer.status_code == requests.codes.service_unavailable else [answer]


def avih_server(root: Path, *arguments: str) -> list[str]:
    """Return the command line of ``avih server`` for the store in ``root``."""
    return [*PROGRAM, "server", "--store", str(root / "store"),
            "--gallery", "people", *arguments]  # fmt: skip
