"""prefect.yaml: every deployment is real (Prefect itself skips an invalid one and ends with 0)."""

import importlib
from pathlib import Path

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


def test_a_cron_deployment_produces_scheduled_runs(prefect_server):
    """With a wrong SQLAlchemy, Prefect's scheduler dies without a word and nothing ever runs."""
    from prefect.client.orchestration import get_client

    from flows.index_gallery import index_gallery

    with get_client(sync_client=True) as client:
        flow_id = client.create_flow(index_gallery)
        deployment = client.create_deployment(
            flow_id=flow_id, name="every-minute", entrypoint="flows.index_gallery.index_gallery",
            schedules=[{"schedule": CronSchedule(cron="* * * * *", timezone="UTC"), "active": True}],
        )  # fmt: skip
        from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId

        chosen = DeploymentFilter(id=DeploymentFilterId(any_=[deployment]))
        for _ in range(120):  # the scheduler looks every few seconds
            runs = client.read_flow_runs(deployment_filter=chosen)
            if runs:
                break
            import threading

            threading.Event().wait(1)
        client.delete_deployment(deployment)
    assert runs and all(run.state.is_scheduled() for run in runs)
