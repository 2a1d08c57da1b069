"""Flow runs whose process is gone but whose state still says Running: they would hold their deployment's slot."""

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

from flows.alerts import tell
from flows.server.processes import running_numbers

UNFINISHED = (StateType.RUNNING, StateType.PENDING, StateType.CANCELLING, StateType.PAUSED)
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


def end_ownerless_runs(
    client: SyncPrefectClient, *, own_workers: set[str], store: Path, reason: str
) -> list[FlowRun]:
    """Mark every unfinished run without a process Crashed, which frees its slot; return those runs.

    Left alone: a pool that workers of other machines have served in the last day (their processes cannot be
    seen from here), a run that no worker started (``avih run``), and a run that waits without a process.
    """
    living, elsewhere = living_runs(), _pools_served_elsewhere(client, own_workers)
    unfinished = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=list(UNFINISHED))))
    ended = []
    for run in client.read_flow_runs(flow_run_filter=unfinished, limit=200):
        waits = run.state is not None and bool(run.state.state_details.pause_reschedule)
        from_worker = run.deployment_id is not None and run.work_pool_name not in elsewhere
        if from_worker and not waits and str(run.id) not in living:
            _end(client, run, reason)
            tell(
                flow=_flow_name(client, run.flow_id), flow_run=run, state=Crashed(message=reason), store=store
            )
            ended.append(run)
    return ended


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
