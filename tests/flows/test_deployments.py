"""prefect.yaml: every deployment is real (Prefect itself skips an invalid one and ends with 0)."""

import importlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import requests
import yaml
from prefect import Flow
from prefect.client.schemas.schedules import CronSchedule

import avih

FILE = Path(avih.__file__).parents[1] / "prefect.yaml"


def deployments() -> list[dict]:
    return yaml.safe_load(FILE.read_text())["deployments"]


def test_every_deployment_names_a_flow_and_parameters_it_has():
    assert deployments()
    for deployment in deployments():
        module, _, name = deployment["entrypoint"].rpartition(".")
        flow = getattr(importlib.import_module(module), name)
        assert isinstance(flow, Flow)
        assert set(deployment["parameters"]) <= set(flow.parameters.properties), deployment["name"]


def test_every_flow_of_the_project_has_a_deployment():
    folder = FILE.parent / "flows"
    entrypoints = {deployment["entrypoint"] for deployment in deployments()}
    for path in folder.glob("*.py"):
        module = importlib.import_module(f"flows.{path.stem}")
        own = [
            n for n, v in vars(module).items() if isinstance(v, Flow) and v.fn.__module__ == module.__name__
        ]
        assert {f"flows.{path.stem}.{name}" for name in own} <= entrypoints


def test_schedules_are_valid_and_have_a_time_zone():
    for deployment in deployments():
        for schedule in deployment.get("schedules", []):
            assert CronSchedule(cron=schedule["cron"], timezone=schedule["timezone"]).cron


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A Prefect server as people start it (the test harness leaves the scheduler out); yields an environment."""
    home = tmp_path_factory.mktemp("prefect")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    environment = inherited | {
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "AVIH_HOME": str(FILE.parent),
    }
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", port]
    with (home / "server.log").open("w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        wait_until(lambda: requests.get(f"{environment['PREFECT_API_URL']}/health", timeout=5).ok)
        yield environment
    finally:
        process.terminate()
        process.wait(timeout=30)


def wait_until(condition: Callable[[], object], *, tries: int = 120) -> object:
    """Ask once a second until the answer is true; the last answer if it never is."""
    answer: object = None
    for _ in range(tries):
        with suppress(requests.ConnectionError):
            answer = condition()
            if answer:
                return answer
        threading.Event().wait(1)
    return answer


def prefect_command(environment: dict[str, str], *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "prefect", *arguments], env=environment, cwd=FILE.parent, capture_output=True,
        text=True, stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_deployment_is_deployed_and_a_cron_makes_scheduled_runs(server):
    """An invalid deployment is skipped with exit 0; with a wrong SQLAlchemy no schedule ever fires."""
    prefect_command(server, "work-pool", "create", "cpu", "--type", "process")
    prefect_command(server, "--no-prompt", "deploy", "--all")
    api = server["PREFECT_API_URL"]
    stored = requests.post(f"{api}/deployments/filter", json={}, timeout=30).json()
    assert {item["name"] for item in stored} == {item["name"] for item in deployments()}
    nightly = next(item for item in stored if item["name"] == "run-gallery")
    every_minute = {"schedule": {"cron": "* * * * *", "timezone": "UTC"}, "active": True}
    requests.post(f"{api}/deployments/{nightly['id']}/schedules", json=[every_minute], timeout=30)
    wanted = {"deployments": {"id": {"any_": [nightly["id"]]}}}
    runs = wait_until(lambda: requests.post(f"{api}/flow_runs/filter", json=wanted, timeout=30).json())
    assert runs and all(run["state"]["type"] == "SCHEDULED" for run in runs)
