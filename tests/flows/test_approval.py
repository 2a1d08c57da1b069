"""A person's yes or no through a real Prefect server: a paused flow run, its form, and what follows."""

import threading
from types import SimpleNamespace
from typing import Any

import pytest
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowFilter, FlowFilterName
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.responses import SetStateStatus

from flows import approval
from flows.approval import NotApproved, wait_for_approval


@flow(name="asks", log_prints=False)
def asks() -> str:
    """Ask, as a rotation does."""
    wait_for_approval(gallery="people", version="v0002", verdict="pass")
    return "live"


class Asking(threading.Thread):
    """The flow in a thread of its own, as a worker would run it; keeps its result or error."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.result: str | None = None
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self.result = asks()
        except Exception as error:
            self.error = error


def paused(client: SyncPrefectClient, asking: Asking) -> FlowRun:
    """Wait for the run of ``asks`` that is paused now; other tests leave paused runs on the same server."""
    ours = FlowFilter(name=FlowFilterName(any_=["asks"]))
    for _ in range(600):
        for run in client.read_flow_runs(flow_filter=ours):
            if run.state is not None and run.state.is_paused():
                return run
        assert asking.is_alive(), asking.error
        asking.join(0.1)
    raise AssertionError("no flow run was paused")


def resume(client: SyncPrefectClient, run: FlowRun, answer: dict[str, Any]) -> None:
    """Answer the form; again, as a person would, when the server says that its SQLite was locked."""
    for _ in range(60):
        reply = client.resume_flow_run(run.id, run_input=answer)
        if reply.status == SetStateStatus.ACCEPT:
            return
    raise AssertionError(reply)


@pytest.fixture
def deployed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the flow believe that a deployment began it, and look for an answer often."""
    monkeypatch.setattr(approval, "runtime", SimpleNamespace(deployment=SimpleNamespace(id="a-deployment")))
    monkeypatch.setattr(approval, "LOOK_SECONDS", 1)


@pytest.mark.parametrize("yes", [True, False])
def test_the_flow_goes_on_as_the_form_was_answered(prefect_server: None, deployed: None, yes: bool):
    asking = Asking()
    asking.start()
    with get_client(sync_client=True) as client:
        resume(client, paused(client, asking), {"go_live": yes, "comment": "looked at the sheet"})
    asking.join(300)  # hang guard: a loaded machine is slow to look again
    assert not asking.is_alive()
    if yes:
        assert (asking.result, asking.error) == ("live", None)
    else:
        assert isinstance(asking.error, NotApproved) and "looked at the sheet" in str(asking.error)


def test_without_a_deployment_nobody_could_answer(prefect_server: None):
    with pytest.raises(NotApproved, match="--approve auto"):
        asks()
