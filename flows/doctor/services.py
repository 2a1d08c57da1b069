"""Checks of what runs beside the store: Prefect with its workers and schedules, MLflow, Dask."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

import requests
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import StateType
from prefect.client.schemas.responses import DeploymentResponse

from avih.datasets.registry import files_of
from avih.errors import AvihError, UsageError
from avih.settings import RunnerSettings
from flows.doctor.finding import REPAIR, Case, Finding, fine, mended, not_known, to_do
from flows.preflight import preflight
from flows.server.deploy import deployments_in
from flows.server.lock import server_of
from flows.server.ownerless import abandoned_runs, end_runs, ownerless_runs
from flows.server.run import home_folder, worker_name
from tasks.mlflow_runs import reached, tracking_uri
from tasks.run_record import load_run
from tasks.worker_probe import Needs

ASK_SECONDS: Final = 5.0
HEARTBEAT: Final = timedelta(seconds=90)  # a worker tells every 30 seconds that it is there
SCHEDULING: Final = timedelta(minutes=3)  # the server looks for schedules every minute
POOLS: Final = ("cpu", "gpu")
GONE: Final = "Its process was gone when avih doctor looked. Run it again to go on."


def prefect(case: Case) -> Iterator[Finding]:
    """Does a server answer, are its workers there, and does what is scheduled really come?"""
    api = _api(case)
    if api is None:
        used = (case.store.prefect / "server.log").exists()
        found = "none runs" + (
            ", so nothing that is scheduled runs" if used else "; nothing was ever scheduled"
        )
        yield (
            to_do("Prefect server", found, do="Start avih server.") if used else fine("Prefect server", found)
        )
        return
    try:
        requests.get(f"{api}/health", timeout=ASK_SECONDS).raise_for_status()
    except requests.RequestException as error:
        yield to_do(
            "Prefect server", f"no answer at {api} ({type(error).__name__})",
            do="Start avih server, or correct PREFECT_API_URL.",
        )  # fmt: skip
        return
    yield fine("Prefect server", f"answers at {api}")
    with SyncPrefectClient(api=api) as client:
        yield from _runs(client, case)
        deployed = list(client.read_deployments(limit=200))
        yield from _deployments(deployed)
        yield from _workers(client, deployed)
        yield from _schedules(client, deployed)


def _api(case: Case) -> str | None:
    """Return the address of the Prefect API: of the environment, else of the store's own server."""
    if given := os.environ.get("PREFECT_API_URL"):
        return given.rstrip("/")
    server = server_of(case.store)
    return f"{server['prefect']}/api" if server and server.get("prefect") else None


def _runs(client: SyncPrefectClient, case: Case) -> Iterator[Finding]:
    """Are there flow runs that say Running and have no process?"""
    own = {worker_name(pool) for pool in POOLS}
    found = ownerless_runs(client, own_workers=own)
    found += abandoned_runs(client, store=case.store, now=datetime.now(UTC))
    names = ", ".join(run.name for run in found)
    if not found:
        yield fine("flow runs", "none says Running without a process")
    elif case.repair:
        end_runs(client, found, store=case.store.root, reason=GONE)
        yield mended("flow runs", f"marked Crashed: {names}")
    else:
        yield to_do("flow runs", f"Running without a process: {names}", do=REPAIR)


def _deployments(deployed: list[DeploymentResponse]) -> Iterator[Finding]:
    """Is everything of prefect.yaml on the server? Prefect leaves out what is invalid without a word."""
    try:
        wanted = deployments_in(home_folder())
    except UsageError as error:
        yield not_known("deployments", str(error))
        return
    missing = sorted(set(wanted) - {one.name for one in deployed})
    if missing:
        yield to_do("deployments", f"not on the server: {', '.join(missing)}", do="Start avih server again.")
    else:
        yield fine("deployments", f"all {len(wanted)} of prefect.yaml are on the server")


def _workers(client: SyncPrefectClient, deployed: list[DeploymentResponse]) -> Iterator[Finding]:
    """Has every work pool that a deployment needs a worker that was heard of just now?"""
    since = datetime.now(UTC) - HEARTBEAT
    for pool in sorted({one.work_pool_name for one in deployed if one.work_pool_name}):
        workers = client.read_workers_for_work_pool(pool)
        living = [w.name for w in workers if w.last_heartbeat_time and w.last_heartbeat_time > since]
        if living:
            yield fine(f"workers of pool {pool}", ", ".join(living))
        else:
            yield to_do(
                f"workers of pool {pool}", "none was heard of in the last 90 seconds",
                do=f"Start avih server{'' if pool == 'cpu' else f' --pool {pool}'}.",
            )  # fmt: skip


def _schedules(client: SyncPrefectClient, deployed: list[DeploymentResponse]) -> Iterator[Finding]:
    """Has every schedule that is on a run to come? Without it a wrong package stops all of them silently."""
    on = [one for one in deployed if not one.paused and any(schedule.active for schedule in one.schedules)]
    settled = datetime.now(UTC) - SCHEDULING
    scheduled = FlowRunFilter(
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.SCHEDULED]))
    )
    empty = [
        one
        for one in on
        if not client.read_flow_runs(
            flow_run_filter=scheduled, limit=1,
            deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[one.id])),
        )
    ]  # fmt: skip
    names = ", ".join(one.name for one in empty)
    if not empty:
        off = len([one for one in deployed if one.schedules]) - len(on)
        yield fine("schedules", f"{len(on)} on, each with a run to come; {off} switched off")
    elif any(one.updated and one.updated < settled for one in empty):
        yield to_do(
            "schedules", f"no run to come: {names}", do="See packages above; then server.log of the store."
        )
    else:
        yield not_known(
            "schedules", f"no run to come yet, set up a moment ago: {names}", do="Look again in minutes."
        )


def mlflow(case: Case) -> Iterator[Finding]:
    """Does the store of figures answer?"""
    uri = tracking_uri(case.store)
    if uri.startswith("sqlite:") and not (case.store.mlflow / "mlflow.db").exists():
        yield fine("MLflow store", "not made yet; the first run does it")
        return
    try:
        with reached(case.store) as client:
            client.search_experiments(max_results=1)
    except AvihError as error:
        yield to_do("MLflow store", str(error), do="Start it, or correct MLFLOW_TRACKING_URI.")
    else:
        yield fine("MLflow store", f"answers at {uri}")


def dask(case: Case) -> Iterator[Finding]:
    """Are the Dask clusters there that galleries were made on last, and can their workers do it again?"""
    for runner, needs, galleries in _clusters(case):
        what = f"Dask for {', '.join(galleries)}"
        try:
            workers = preflight(runner, needs=needs)
        except UsageError as error:
            yield to_do(what, str(error), do="As the text says; or choose another --runner.")
        else:
            yield fine(what, f"{len(workers)} workers at {runner.address} can make shards")


def _clusters(case: Case) -> Iterator[tuple[RunnerSettings, Needs, list[str]]]:
    """Name each cluster with what its workers need, once for all galleries that ask the same of it."""
    found: dict[tuple[str, Needs], tuple[RunnerSettings, Needs, list[str]]] = {}
    for gallery in case.store.galleries():
        try:
            record = load_run(store=case.store, gallery=gallery)
        except AvihError:
            continue  # begun only; avih status tells of it
        runner = record.settings.runner
        if runner.kind == "dask":
            given = (record.source, record.recogniser.weights, record.lpips_backbone)
            needs = Needs(
                store=case.store.address, key_id=record.key_id, api=_api(case),
                files=tuple(file for name in given if name for file in files_of(name)),
            )  # fmt: skip
            found.setdefault((runner.digest(), needs), (runner, needs, []))[2].append(gallery)
    yield from found.values()
