"""How a stage follows its tasks: every look updates the artifact, no look can end the flow."""

import signal
import threading

import pytest
from prefect import flow
from prefect.artifacts import Artifact

from avih.errors import UsageError
from flows import shard_runs
from flows.shard_runs import TWO_AT_A_TIME, run_watched
from tasks.progress import advance, begin

LOOKS = 3


@pytest.fixture
def looks(monkeypatch):
    """Look often, and let the task wait until it has been looked at some times."""
    seen, enough = [], threading.Event()
    update = shard_runs.update_progress_artifact

    def counted(**arguments):
        seen.append(arguments)
        if len(seen) >= LOOKS:
            enough.set()
        return update(**arguments)

    monkeypatch.setattr(shard_runs, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(shard_runs, "update_progress_artifact", counted)
    return seen, enough


def follow(work, key: str):
    @flow(name="follows", task_runner=TWO_AT_A_TIME, log_prints=False)
    def follows() -> str:
        return run_watched(work, name=key, stage=key, unit="steps")

    return follows()


@pytest.mark.usefixtures("prefect_server")
def test_a_long_task_is_looked_at_again_and_again_without_an_alarm(looks, monkeypatch):
    seen, enough = looks

    def no_alarm(*_):
        raise AssertionError("an alarm that goes off late would end the flow")

    def work() -> str:
        begin("looks", 2)
        advance("looks", 1)
        assert enough.wait(60)
        advance("looks", 1)
        return "made"

    monkeypatch.setattr(signal, "setitimer", no_alarm)
    assert follow(work, "looks") == "made"
    assert len(seen) >= LOOKS + 1
    assert seen[LOOKS - 1]["progress"] == 50.0 and "1 of 2 steps" in seen[LOOKS - 1]["description"]
    assert seen[-1]["progress"] == 100.0
    assert Artifact.get("looks-progress").data == 100.0


@pytest.mark.usefixtures("prefect_server")
def test_a_failed_task_is_raised_after_the_last_look(looks):
    seen, enough = looks

    def work() -> None:
        assert enough.wait(60)
        raise UsageError("no such shard")

    with pytest.raises(UsageError, match="no such shard"):
        follow(work, "fails")
    assert len(seen) >= LOOKS
