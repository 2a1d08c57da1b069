"""Parts of ``avih server``: child processes, ports, the lock, and runs without a process."""

import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.settings import PREFECT_API_URL
from prefect.states import Crashed, Running, Scheduled, Suspended
from typer.testing import CliRunner

from avih.errors import AvihError, UsageError
from avih.naming import Store
from flows.alerts import read_alerts, tell
from flows.cli import server as commands
from flows.cli.main import app
from flows.server.lock import describe, only_one
from flows.server.ownerless import end_ownerless_runs
from flows.server.processes import Child, free_port, tail
from flows.server.run import LocalServer, ServerSettings

# Says so when it is ready, has a child, and neither of them listens to SIGTERM.
DEAF = """
import signal, subprocess, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"], stdin=subprocess.PIPE)
print("ready", flush=True)
child.wait()
"""


def started(tmp_path: Path, code: str) -> Child:
    return Child(
        "test server", [sys.executable, "-c", code], environment=os.environ, log=tmp_path / "test.log"
    )


def test_a_child_that_ignores_the_signal_is_killed_with_its_own_children(tmp_path):
    child = started(tmp_path, DEAF)
    child.wait_until(lambda: "ready" in tail(child.log), seconds=60)
    child.stop(seconds=0.5)
    assert child.process.returncode == -signal.SIGKILL
    assert len(child.members) == 2 and not any(member.is_alive() for member in child.members)
    child.stop(seconds=0.5)  # nothing to do any more


def test_a_child_that_ends_by_itself_is_told_with_the_end_of_its_log(tmp_path):
    child = started(tmp_path, "import sys; print('address in use'); sys.exit(7)")
    with pytest.raises(AvihError, match=r"(?s)exit code 7.*address in use"):
        child.wait_until(lambda: False, seconds=60)
    server = LocalServer(ServerSettings(store=Store(tmp_path), gallery="x"), print, children=[child])
    with pytest.raises(AvihError, match="exit code 7"):
        server.follow()


def test_a_child_that_never_answers_is_told(tmp_path):
    child = started(tmp_path, "import signal; signal.pause()")
    with pytest.raises(AvihError, match=r"no.*answer|none.*test\.log"):
        child.wait_until(lambda: False, seconds=0.2)
    child.stop(seconds=30)
    assert child.process.returncode == -signal.SIGTERM


def test_a_child_ends_when_its_parent_is_killed(tmp_path):
    """The parent here starts a child as we do, tells its number, and waits to be killed."""
    code = (
        "import os, signal, sys; from pathlib import Path; from flows.server.processes import Child\n"
        "child = Child('c', [sys.executable, '-c', 'import sys; sys.stdout.close(); input()'],"
        " environment=os.environ, log=Path(sys.argv[1]))\n"
        "print(child.process.pid, flush=True); signal.pause()"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "c.log")], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    number = int(parent.stdout.readline())
    watched = os.pidfd_open(number)
    parent.kill()
    parent.wait()
    assert select.select([watched], [], [], 60)[0], "the child is still there"
    os.close(watched)


def test_a_free_port_is_found_and_a_taken_one_refused():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=rf"{port}.*--mlflow-port"):
            free_port("127.0.0.1", port, option="--mlflow-port")
    assert free_port("127.0.0.1", port, option="--mlflow-port") == port
    assert free_port("127.0.0.1", 0, option="--mlflow-port") > 0


def test_the_lock_names_its_holder_and_is_free_afterwards(tmp_path):
    store = Store(tmp_path)
    with only_one(store) as file:
        describe(file, prefect="http://127.0.0.1:1", mlflow="http://127.0.0.1:2")
        with pytest.raises(UsageError, match=rf"{os.getpid()}.*127.0.0.1:1"), only_one(store):
            pass
    with only_one(store):
        pass


def test_the_gallery_is_the_only_one_or_must_be_named(tmp_path):
    store = Store(tmp_path)
    with pytest.raises(UsageError, match="got none"):
        commands._gallery(store, None)
    (tmp_path / "1_index" / "staff").mkdir(parents=True)
    assert commands._gallery(store, None) == "staff"
    (tmp_path / "1_index" / "guests").mkdir()
    with pytest.raises(UsageError, match=r"guests, staff.*--gallery"):
        commands._gallery(store, None)
    assert commands._gallery(store, "guests") == "guests"
    with pytest.raises(UsageError, match="lowercase"):
        commands._gallery(store, "Not A Name")


@pytest.fixture
def client(prefect_server: None) -> Iterator[SyncPrefectClient]:
    with SyncPrefectClient(api=PREFECT_API_URL.value()) as client:
        yield client


def test_only_runs_whose_process_is_surely_gone_are_crashed(client, tmp_path):
    """Kept: run by another machine's worker, not begun yet, waiting without a process, begun without a worker."""
    flow_id = client.create_flow_from_name("some-flow")
    client.create_work_pool(WorkPoolCreate(name="ours", type="process"))
    client.create_work_pool(WorkPoolCreate(name="theirs", type="process"))
    client.send_worker_heartbeat("ours", "our-worker")
    client.send_worker_heartbeat("theirs", "a-worker-elsewhere")
    ours = client.create_deployment(flow_id, "ours", work_pool_name="ours")
    theirs = client.create_deployment(flow_id, "theirs", work_pool_name="theirs")
    parameters = {"store": str(tmp_path), "gallery": "staff"}

    def run(deployment, state):
        made = client.create_flow_run_from_deployment(deployment, parameters=parameters)
        client.set_flow_run_state(made.id, state, force=True)
        return made.id

    lost = run(ours, Running())
    kept = [run(theirs, Running()), run(ours, Scheduled()), run(ours, Suspended(timeout_seconds=1000))]

    @flow(name="by-hand")
    def by_hand() -> list[str]:
        ended = end_ownerless_runs(client, own_workers={"our-worker"}, store=tmp_path, reason="gone")
        return [str(run.id) for run in ended]

    assert by_hand() == [str(lost)]
    assert client.read_flow_run(lost).state.is_crashed()
    assert not any(client.read_flow_run(run).state.is_crashed() for run in kept)
    assert [(a.flow, a.gallery, a.error) for a in read_alerts(Store(tmp_path))] == [
        ("some-flow", "staff", "gone")
    ]


def test_alerts_are_listed_for_people_and_for_programs(tmp_path):
    runner = CliRunner()
    arguments = ["alerts", "--store", str(tmp_path)]
    assert "No alerts" in runner.invoke(app, arguments).stdout
    assert json.loads(runner.invoke(app, [*arguments, "--json"]).stdout) == {"alerts": []}
    run = SimpleNamespace(id="1", name="brave-owl", parameters={"gallery": "staff"})
    tell(flow="rotate-keys", flow_run=run, state=Crashed(message="gone"), store=tmp_path)
    shown = runner.invoke(app, arguments).stdout
    assert all(
        word in shown for word in ("CRASHED", "rotate-keys brave-owl", "staff", "gone", "Run it again")
    )
    (alert,) = json.loads(runner.invoke(app, [*arguments, "--json"]).stdout)["alerts"]
    assert (alert["flow"], alert["gallery"]) == ("rotate-keys", "staff")
