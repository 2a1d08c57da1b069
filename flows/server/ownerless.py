"""Flow runs whose process is gone but whose state still says Running: they would hold their deployment's slot."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterParentFlowRunId,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.states import Crashed

from avih.naming import Store
from flows.alerts import tell
from flows.server.processes import running_numbers
from tasks.status_parts import read_lock

UNFINISHED = (StateType.RUNNING, StateType.PENDING, StateType.CANCELLING, StateType.PAUSED)
# Flows that hold their gallery's lock as long as they work, and how long one may take until it has it.
HOLDING = ("run-gallery", "nightly-reprotect", "rotate-keys", "drill-gallery")
SETTLED = timedelta(minutes=2)
MARK = b"PREFECT__FLOW_RUN_ID="


def living_runs() -> set[str]:
    """Return the ids of the flow runs that have a process on this machine."""
    found = set()
    for number in running_numbers():
        try:
            environment = Path(f"/proc/{number}/environ").read_bytes()
        except OSError:
            continue  # it ended just now, or belongs to someone else
        found |= {v.removeprefix(MARK).decode() for v in environment.split(b"\0") if v.startswith(MARK)}
    return found


def ownerless_runs(client: SyncPrefectClient, *, own_workers: set[str]) -> list[FlowRun]:
    """Return every unfinished run of a worker whose process is gone.

    Left out: a pool that workers of other machines have served in the last day (their processes cannot be
    seen from here), a run that no worker started (``avih run``), and a run that waits without a process.
    """
    living, elsewhere = living_runs(), _pools_served_elsewhere(client, own_workers)
    found = []
    for run in _unfinished(client):
        waits = run.state is not None and bool(run.state.state_details.pause_reschedule)
        from_worker = run.deployment_id is not None and run.work_pool_name not in elsewhere
        if from_worker and not waits and str(run.id) not in living:
            found.append(run)
    return found


def abandoned_runs(client: SyncPrefectClient, *, store: Store, now: datetime) -> list[FlowRun]:
    """Return every unfinished run that was begun by hand and whose gallery nobody holds any more.

    Such a run holds its gallery's lock while it lives, on whatever machine; the kernel frees it with the process.
    """
    names: dict[UUID, str] = {}
    found = []
    for run in _unfinished(client):
        begun = run.start_time or run.expected_start_time
        gallery = (run.parameters or {}).get("gallery")
        ours = run.deployment_id is None and run.parent_task_run_id is None and gallery in store.galleries()
        if not ours or begun is None or now - begun < SETTLED or _address(run) != store.address:
            continue
        if run.flow_id not in names:
            names[run.flow_id] = _flow_name(client, run.flow_id)
        if names[run.flow_id] in HOLDING and read_lock(store, str(gallery)).state == "free":
            found.append(run)
    return found


def end_runs(client: SyncPrefectClient, runs: Iterable[FlowRun], *, store: Path, reason: str) -> None:
    """Mark runs Crashed, with all that they began, which frees their slots; and leave an alert of each."""
    for run in runs:
        _end(client, run, reason)
        tell(flow=_flow_name(client, run.flow_id), flow_run=run, state=Crashed(message=reason), store=store)


def end_ownerless_runs(
    client: SyncPrefectClient, *, own_workers: set[str], store: Path, reason: str
) -> list[FlowRun]:
    """Mark every run of :func:`ownerless_runs` Crashed; return those runs."""
    found = ownerless_runs(client, own_workers=own_workers)
    end_runs(client, found, store=store, reason=reason)
    return found


def _unfinished(client: SyncPrefectClient) -> list[FlowRun]:
    wanted = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=list(UNFINISHED))))
    return list(client.read_flow_runs(flow_run_filter=wanted, limit=200))


def _address(run: FlowRun) -> str:
    """Return the address of the store that a run works on."""
    return Store.find(str((run.parameters or {}).get("store"))).address


def _end(client: SyncPrefectClient, run: FlowRun, reason: str) -> None:
    client.set_flow_run_state(run.id, Crashed(message=reason), force=True)
    below = FlowRunFilter(
        parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[run.id]),
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=list(UNFINISHED))),
    )
    for part in client.read_flow_runs(flow_run_filter=below, limit=200):
        _end(client, part, reason)


def _flow_name(client: SyncPrefectClient, flow_id: UUID) -> str:
    return client.read_flow(flow_id).name


def _pools_served_elsewhere(client: SyncPrefectClient, own_workers: set[str]) -> set[str]:
    since = datetime.now(UTC) - timedelta(days=1)
    served = set()
    for pool in client.read_work_pools():
        for worker in client.read_workers_for_work_pool(pool.name):
            seen = worker.last_heartbeat_time
            if worker.name not in own_workers and seen is not None and seen > since:
                served.add(pool.name)
    return served
