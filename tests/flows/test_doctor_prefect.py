"""What ``avih doctor`` finds on a real Prefect server: lost runs, workers, deployments, schedules."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from uuid import UUID

import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import DeploymentScheduleCreate, WorkPoolCreate
from prefect.client.schemas.objects import State
from prefect.client.schemas.schedules import CronSchedule
from prefect.settings import PREFECT_API_URL
from prefect.states import Running, Scheduled

from avih.keys import Vault
from avih.naming import Store
from flows.alerts import read_alerts
from flows.doctor import services
from flows.doctor.finding import Case, Finding
from flows.server import ownerless
from flows.server.run import worker_name
from tasks.gallery_lock import gallery_lock

DEPLOYED = "doctors-test"


@pytest.fixture
def store(tmp_path: Path, prefect_server: None, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store with a gallery, beside a server."""
    monkeypatch.setenv("PREFECT_API_URL", PREFECT_API_URL.value())
    made = Store(tmp_path / "store")
    Vault(made.keys).mac_key()
    for gallery in ("people", "held"):
        made.gallery_root("index", gallery).mkdir(parents=True)
    return made


@pytest.fixture
def client(store: Store) -> Iterator[SyncPrefectClient]:
    with SyncPrefectClient(api=PREFECT_API_URL.value()) as client:
        yield client


def told(store: Store, *, repair: bool = False) -> dict[str, Finding]:
    return {one.what: one for one in services.prefect(Case(store=store, repair=repair))}


def begun_by_hand(client: SyncPrefectClient, name: str, parameters: dict[str, str]) -> UUID:
    """A run that says Running, as ``avih run`` leaves it when it is killed."""
    flow = SimpleNamespace(name=name, version=None, tags=[], labels={}, retries=0, retry_delay_seconds=0)
    flow.fn = None
    run = client.create_flow_run(flow, parameters=parameters)
    client.set_flow_run_state(run.id, Running(), force=True)
    return run.id


def state(client: SyncPrefectClient, run: UUID) -> State:
    found = client.read_flow_run(run).state
    assert found is not None
    return found


def test_runs_whose_process_is_gone_are_work_and_crashed_when_asked(store, client, monkeypatch):
    """Kept: one whose gallery is held, of another store, that has just begun, that never holds a gallery."""
    monkeypatch.setattr(ownerless, "SETTLED", timedelta(0))
    pool = "doctors-pool"
    client.create_work_pool(WorkPoolCreate(name=pool, type="process"))
    client.send_worker_heartbeat(pool, worker_name("cpu"))
    made = client.create_deployment(client.create_flow_from_name("some-flow"), "some", work_pool_name=pool)
    ours = {"store": str(store.root), "gallery": "people"}
    lost = client.create_flow_run_from_deployment(made, parameters=ours).id
    client.set_flow_run_state(lost, Running(), force=True)
    killed = begun_by_hand(client, "run-gallery", ours)
    kept = [
        begun_by_hand(client, "run-gallery", ours | {"gallery": "held"}),
        begun_by_hand(client, "nightly-reprotect", ours | {"store": str(store.root / "another")}),
        begun_by_hand(client, "reproduce-papers", ours),
    ]
    names = [client.read_flow_run(run).name for run in (lost, killed)]
    with gallery_lock(store, "held", purpose="a test"):
        work = told(store)["flow runs"]
        assert work.state == "to do" and all(name in work.found for name in names)
        assert not state(client, lost).is_crashed() and not state(client, killed).is_crashed()
        assert told(store, repair=True)["flow runs"].state == "mended"
        assert told(store)["flow runs"].state == "fine"
    assert state(client, lost).is_crashed() and state(client, killed).is_crashed()
    assert [state(client, run).type.value for run in kept] == ["RUNNING"] * 3
    assert {(alert.flow, alert.gallery) for alert in read_alerts(store)} == {
        ("some-flow", "people"), ("run-gallery", "people"),
    }  # fmt: skip
    just_begun = begun_by_hand(client, "run-gallery", ours)
    monkeypatch.setattr(ownerless, "SETTLED", timedelta(minutes=2))
    assert told(store)["flow runs"].state == "fine"
    for run in (*kept, just_begun):
        client.delete_flow_run(run)


def test_workers_deployments_and_schedules_are_looked_at(store, client, monkeypatch, tmp_path):
    pool = "doctors-other-pool"
    client.create_work_pool(WorkPoolCreate(name=pool, type="process"))
    schedule = DeploymentScheduleCreate(
        schedule=CronSchedule(cron="0 2 * * *", timezone="UTC"), active=True, parameters={}
    )
    flow = client.create_flow_from_name("scheduled-flow")
    made = client.create_deployment(flow, DEPLOYED, work_pool_name=pool, schedules=[schedule])
    (tmp_path / "prefect.yaml").write_text(f"deployments: [{{name: {DEPLOYED}}}, {{name: left-out}}]")
    monkeypatch.setenv("AVIH_HOME", str(tmp_path))
    found = told(store)
    assert found["Prefect server"].state == "fine"
    assert found["deployments"].state == "to do" and "left-out" in found["deployments"].found
    assert DEPLOYED not in found["deployments"].found
    worker = found[f"workers of pool {pool}"]
    assert worker.state == "to do" and "avih server" in worker.to_do
    assert found["schedules"].state == "not known" and DEPLOYED in found["schedules"].found
    monkeypatch.setattr(services, "SCHEDULING", timedelta(0))
    silent = told(store)["schedules"]  # as when a wrong package keeps the server from scheduling
    assert silent.state == "to do" and DEPLOYED in silent.found
    client.send_worker_heartbeat(pool, "a-worker")
    to_come = Scheduled(scheduled_time=datetime.now(UTC) + timedelta(hours=1))
    run = client.create_flow_run_from_deployment(made, state=to_come)
    (tmp_path / "prefect.yaml").write_text(f"deployments: [{{name: {DEPLOYED}}}]")
    again = told(store)
    for what in (f"workers of pool {pool}", "deployments"):
        assert again[what].state == "fine", again[what]
    assert DEPLOYED not in again["schedules"].found
    client.delete_flow_run(run.id)
    client.delete_deployment(made)
