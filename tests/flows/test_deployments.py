"""prefect.yaml: every deployment is real (Prefect itself skips an invalid one and ends with 0)."""

import importlib
import json
import os
import re
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
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.schedules import CronSchedule

import avih
from avih.attack.settings import AttackSettings
from avih.errors import AvihError, UsageError
from avih.key_gate import GateSettings
from avih.settings import EvaluateSettings, KeySettings, ProtectSettings, RunSettings
from flows.alerts import failed
from flows.drill_gallery import drill_gallery_flow
from flows.server.deploy import POOLS, create_pools, deploy_all, deployments_in
from tasks.rotation_plan import RotationPolicy

FILE = Path(avih.__file__).parents[1] / "prefect.yaml"


def deployments() -> list[dict]:
    return yaml.safe_load(FILE.read_text())["deployments"]


def flow_of(deployment: dict) -> Flow:
    module, _, name = deployment["entrypoint"].rpartition(".")
    return getattr(importlib.import_module(module), name)


def test_every_deployment_names_a_flow_and_parameters_it_has():
    assert deployments()
    for deployment in deployments():
        flow = flow_of(deployment)
        assert isinstance(flow, Flow)
        assert set(deployment["parameters"]) <= set(flow.parameters.properties), deployment["name"]


def test_every_deployment_leaves_an_alert_when_it_fails_or_loses_its_process():
    for deployment in deployments():
        flow = flow_of(deployment)
        assert failed in flow.on_failure_hooks and failed in flow.on_crashed_hooks, deployment["name"]


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


def test_a_scheduled_drill_is_enforced_monthly_on_the_current_version():
    """A drill that fails must fail its flow, or nobody is told."""
    (drill,) = [deployment for deployment in deployments() if deployment["name"] == "drill-gallery"]
    assert not {"enforce", "version", "threshold"} & set(drill["parameters"])
    (schedule,) = drill["schedules"]
    assert re.fullmatch(r"\d+ \d+ \d+ \* \*", schedule["cron"])
    assert drill_gallery_flow.parameters.properties["enforce"]["default"] is True


def test_only_known_names_of_the_environment_and_known_pools_are_used():
    """A misspelt name in {{ }} would be left in the deployment as text, or empty."""
    assert set(re.findall(r"\$(\w+)", uncommented())) == {"AVIH_HOME", "AVIH_STORE", "AVIH_GALLERY"}
    assert {deployment["work_pool"]["name"] for deployment in deployments()} <= set(POOLS)


def uncommented() -> str:
    return "\n".join(line for line in FILE.read_text().splitlines() if not line.strip().startswith("#"))


def test_whatever_writes_to_a_gallery_runs_once_at_a_time_and_leaves_out_what_is_due_meanwhile():
    limits = {d["name"]: d.get("concurrency_limit") for d in deployments()}
    for name in ("nightly-reprotect", "rotate-keys", "run-gallery", "protect-gallery", "drill-gallery"):
        assert limits[name] == {"limit": 1, "collision_strategy": "CANCEL_NEW"}, name


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
        "AVIH_STORE": str(home / "store"),
        "AVIH_GALLERY": "people",
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


@pytest.fixture(scope="module")
def deployed(server: dict[str, str]) -> dict[str, dict]:
    """Everything in prefect.yaml as the server has it, by name."""
    with SyncPrefectClient(api=server["PREFECT_API_URL"]) as client:
        assert create_pools(client) == list(POOLS)
        assert create_pools(client) == []
        log = Path(server["PREFECT_HOME"]) / "deploy.log"
        assert deploy_all(client, home=FILE.parent, environment=server, log=log)
    return stored(server)


def stored(server: dict[str, str]) -> dict[str, dict]:
    found = requests.post(f"{server['PREFECT_API_URL']}/deployments/filter", json={}, timeout=30).json()
    return {item["name"]: item for item in found}


def test_every_deployment_is_on_the_server_with_its_parameters(server, deployed):
    assert set(deployed) == {item["name"] for item in deployments()}
    nightly = deployed["nightly-reprotect"]
    assert nightly["parameters"] == {"store": server["AVIH_STORE"], "gallery": "people"}
    assert nightly["global_concurrency_limit"]["limit"] == 1
    assert nightly["concurrency_options"]["collision_strategy"] == "CANCEL_NEW"
    assert [schedule["active"] for schedule in nightly["schedules"]] == [True]


@pytest.mark.parametrize(
    ("name", "parameter", "model"),
    [
        ("run-gallery", "settings", RunSettings), ("create-key", "settings", KeySettings),
        ("evaluate-gallery", "settings", EvaluateSettings), ("protect-gallery", "settings", ProtectSettings),
        ("rotate-keys", "policy", RotationPolicy), ("rotate-keys", "gate", GateSettings),
        ("rotate-keys", "attack", AttackSettings),
    ],
)  # fmt: skip
def test_parameters_are_drawn_as_forms_with_the_fields_and_words_of_the_settings(
    deployed, name, parameter, model
):
    schema = deployed[name]["parameter_openapi_schema"]
    assert model.__name__ in json.dumps(schema["properties"][parameter])
    form = schema["definitions"][model.__name__]["properties"]
    assert set(form) == set(model.model_fields)
    for field, content in model.model_fields.items():
        assert content.description is None or content.description == form[field]["description"]


def test_a_cron_makes_scheduled_runs(server, deployed):
    """With a wrong SQLAlchemy no schedule ever fires, and only the server's log says so."""
    wanted = {"deployments": {"id": {"any_": [deployed["nightly-reprotect"]["id"]]}}}
    url = f"{server['PREFECT_API_URL']}/flow_runs/filter"
    runs = wait_until(lambda: requests.post(url, json=wanted, timeout=30).json())
    assert runs and all(run["state"]["type"] == "SCHEDULED" for run in runs)


def test_a_schedule_that_was_switched_off_stays_off_when_it_is_deployed_again(server, deployed, tmp_path):
    weekly = deployed["rotate-keys"]
    (schedule,) = weekly["schedules"]
    api = server["PREFECT_API_URL"]
    address = f"{api}/deployments/{weekly['id']}/schedules/{schedule['id']}"
    assert requests.patch(address, json={"active": False}, timeout=30).ok
    again = yaml.safe_load(FILE.read_text())
    again["deployments"] = [item for item in again["deployments"] if item["name"] == "rotate-keys"]
    (tmp_path / "prefect.yaml").write_text(yaml.safe_dump(again))
    with SyncPrefectClient(api=api) as client:
        deploy_all(client, home=tmp_path, environment=server, log=tmp_path / "deploy.log")
    assert [item["active"] for item in stored(server)["rotate-keys"]["schedules"]] == [False]


def test_a_deployment_that_prefect_skips_is_told(server, deployed, tmp_path):
    """Prefect itself says nothing about it and ends with 0."""
    content = {"name": "broken", "deployments": [
        {"name": "no-such-flow", "description": "no entrypoint", "work_pool": {"name": "cpu"}},
    ]}  # fmt: skip
    (tmp_path / "prefect.yaml").write_text(yaml.safe_dump(content))
    with (
        SyncPrefectClient(api=server["PREFECT_API_URL"]) as client,
        pytest.raises(AvihError, match="missing: no-such-flow"),
    ):
        deploy_all(client, home=tmp_path, environment=server, log=tmp_path / "deploy.log")


def test_without_a_deployment_file_the_error_says_what_to_set(tmp_path):
    with pytest.raises(UsageError, match="AVIH_HOME"):
        deployments_in(tmp_path)
