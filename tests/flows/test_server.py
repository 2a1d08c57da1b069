"""``avih server`` as people start it: deployments run through the real worker, and nothing is left at the end."""

import os
import signal
import socket
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from avih.datasets.synthetic import SyntheticFaces
from avih.gallery import read_history
from avih.keys import KeyStore
from avih.naming import Store
from avih.settings import EvaluateSettings, IndexSettings, KeySettings, RunSettings
from flows.alerts import read_alerts
from flows.doctor.examine import examine
from flows.doctor.finding import Finding
from read_back import command_lines, listening, secrets_of, told
from running_server import PASSPHRASE, Running, avih_server, soon
from small_rotation import ATTACK, GATE

LOOPBACK = "0100007F"  # 127.0.0.1, as the kernel writes it
SETTINGS = RunSettings(
    index=IndexSettings(shard_size=8),
    key=KeySettings(steps=4, width=8, blocks=1, batch_size=2),
    evaluate=EvaluateSettings(contact_sheet_images=2),
)


def gallery(root: Path, settings: RunSettings = SETTINGS) -> dict[str, Any]:
    """Return the parameters of run-gallery for the photos in ``root``."""
    return {"store": str(root / "store"), "gallery": "people", "source": str(root / "photos"),
            "recogniser": {"card": "synthetic"}, "settings": settings.model_dump(mode="json"),
            "enforce_limits": False}  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with photos and, later, a store."""
    folder = tmp_path_factory.mktemp("real")
    SyntheticFaces(persons=3, photos_per_person=2, first_person=70).write(folder / "photos")
    return folder


@pytest.fixture(scope="module")
def server(root: Path) -> Iterator[Running]:
    """The first server of the store; one of the tests kills it."""
    running = Running.start(root)
    yield running
    if running.process.poll() is None:
        running.end(signal.SIGTERM)


@pytest.fixture(scope="module")
def completed(server: Running, root: Path) -> dict[str, Any]:
    """A run of the deployment run-gallery, made by the real worker."""
    return server.run("run-gallery", **gallery(root))


def test_a_deployment_runs_through_the_worker(server, completed, root):
    assert completed["state"]["type"] == "COMPLETED", completed["state"]
    assert completed["work_pool_name"] == "cpu"
    assert {run["state"]["type"] for run in server.parts(completed["id"])} == {"COMPLETED"}
    assert list((root / "store" / "4_protected" / "people").rglob("*.tar"))


def test_the_doctor_finds_no_work_beside_a_running_server(server, completed, root, monkeypatch):
    """Its workers, deployments and schedules are really there; the address comes from the lock of the server."""
    monkeypatch.setenv("AVIH_PASSPHRASE", PASSPHRASE)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.addresses[1])
    monkeypatch.delenv("PREFECT_API_URL", raising=False)

    def work() -> list[Finding]:
        return [one for one in examine(Store(root / "store"), repair=False) if one.state != "fine"]

    assert soon(lambda: not work()), work()  # the server makes the first runs of its schedules after a while
    found = {one.what: one.found for one in examine(Store(root / "store"), repair=False)}
    assert server.addresses[0] in found["Prefect server"] and "4 on" in found["schedules"]
    assert "avih-" in found["workers of pool cpu"] and str(server.process.pid) in found["lock of the server"]


def test_mlflow_serves_the_run_and_its_files(server, completed):
    (evaluate,) = [p for p in server.parts(completed["id"]) if flow_of(server, p) == "evaluate-gallery"]
    (run,) = [r for r in mlflow_runs(server) if evaluate["id"] in tags(r).values()]
    metrics = {metric["key"]: metric["value"] for metric in run["data"]["metrics"]}
    assert metrics["images_protected"] == 6
    page = requests.get(
        f"{server.addresses[1]}/get-artifact",
        params={"run_uuid": run["info"]["run_id"], "path": "summary.json"}, timeout=30,
    )  # fmt: skip
    assert page.ok and page.json()
    assert list((server.store / "mlflow" / "artifacts").rglob("summary.json"))


def mlflow_runs(server: Running) -> list[dict[str, Any]]:
    """Return the runs of the gallery's experiment, as MLflow's pages get them."""
    wanted = {"filter": "name = 'people'", "max_results": 10}
    (experiment,) = server.mlflow("experiments/search", **wanted)["experiments"]
    return server.mlflow("runs/search", experiment_ids=[experiment["experiment_id"]], max_results=50)["runs"]


def tags(run: dict[str, Any]) -> dict[str, str]:
    return {tag["key"]: tag["value"] for tag in run["data"]["tags"]}


def flow_of(server: Running, run: dict[str, Any]) -> str:
    return requests.get(f"{server.addresses[0]}/api/flows/{run['flow_id']}", timeout=30).json()["name"]


def test_both_pools_exist_and_every_deployment_has_one(server):
    assert {pool["name"] for pool in server.ask("work_pools/filter")} == {"cpu", "gpu"}
    assert {d["work_pool_name"] for d in server.ask("deployments/filter")} <= {"cpu", "gpu"}


@pytest.fixture(scope="module")
def nights(server: Running, completed: dict[str, Any], root: Path) -> dict[str, Any]:
    """What the issue asks for: a night without changes, a changed source, a night, a rotation."""
    runs = {"quiet night": server.run("nightly-reprotect")}
    SyntheticFaces(persons=1, photos_per_person=2, first_person=90).write(root / "photos")
    next((root / "photos" / "person_0070").iterdir()).unlink()
    runs["night"] = server.run("nightly-reprotect")
    small = {"attack": ATTACK.model_dump(mode="json"), "gate": GATE.model_dump(mode="json")}
    policy = {"promote_on_warn": True}
    runs["rotation"] = server.run("rotate-keys", only_if_due=False, reason="a test", policy=policy, **small)
    return runs


def test_nights_and_a_rotation_through_the_worker(server, nights, root):
    assert {name: run["state"]["type"] for name, run in nights.items()} == dict.fromkeys(
        nights, "COMPLETED"
    ), [run["state"]["message"] for run in nights.values()]
    store = Store(root / "store")
    history = read_history(store=store, gallery="people", mac_key=None)
    # The night without a change made no version.
    assert [promotion.version for promotion in history.promotions] == ["v0001", "v0002", "v0003"]
    old, new = (history.promotions[i].key_id for i in (1, 2))
    assert old == history.promotions[0].key_id != new
    keys = KeyStore(store.keys)
    assert (str(keys.show(old).state), str(keys.show(new).state)) == ("deactivated", "active")
    assert read_alerts(store) == []


def test_mlflow_holds_the_nights_and_the_rotation_with_what_is_below_it(server, nights):
    runs = mlflow_runs(server)
    names = [tags(run)["mlflow.runName"] for run in runs]
    rotation = next(run for run in runs if tags(run)["mlflow.runName"].startswith("rotat"))
    below = [run for run in runs if tags(run).get("mlflow.parentRunId") == rotation["info"]["run_id"]]
    assert len(runs) == 5, names
    assert len(below) == 2, names
    assert {run["info"]["status"] for run in runs} == {"FINISHED"}


def test_nothing_that_servers_and_workers_wrote_tells_a_secret(server, nights, root):
    """Logs, both databases with all runs, parameters and artifacts, reports, and every file of the store."""
    store = Store(root / "store")
    secrets = secrets_of(store, PASSPHRASE, root / "photos")
    files = [path for path in root.rglob("*") if path.is_file() and "photos" not in path.parts]
    assert {"prefect.db", "mlflow.db", "server-output.txt"} <= {path.name for path in files}
    assert {name.split(" of ")[0] for name in secrets.bytes} >= {"secret", "seed", "passphrase", "master key"}
    assert nights and told(secrets, (path for path in files if "owner" not in path.parts)) == {}


def test_servers_listen_on_this_machine_alone_and_no_command_line_holds_a_secret(server, nights, root):
    processes = server.family()
    assert len(processes) > 3 and listening(processes) == {LOOPBACK}
    secrets = secrets_of(Store(root / "store"), PASSPHRASE, root / "photos")
    lines = command_lines(processes)
    assert any(b"mlflow" in line for line in lines)
    assert [line for line in lines if secrets.in_bytes(line)] == []


def test_a_second_server_for_the_store_is_refused_and_names_the_first(server, root):
    done = refused(root)
    assert f'"pid": {server.process.pid}' in done.stderr and server.addresses[0] in done.stderr


def test_a_port_in_use_is_a_clear_error(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = refused(tmp_path, "--prefect-port", port)
    assert port in done.stderr and "--prefect-port" in done.stderr
    assert "Traceback" not in done.stderr


def refused(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        avih_server(root, *arguments), env=os.environ | {"AVIH_PASSPHRASE": PASSPHRASE}, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2, done.stdout + done.stderr
    return done


def begin_a_long_run(server: Running, root: Path) -> str:
    """Begin a run that trains a new key for hours; return its id once it is at work."""
    endless = SETTINGS.model_copy(update={"key": SETTINGS.key.model_copy(update={"steps": 10_000_000})})
    run = server.begin(
        "create-key", store=str(root / "store"), recovery="keyed", template="112x112", reason="test",
        settings=endless.key.model_dump(mode="json"),
    )  # fmt: skip
    wanted = {"flow_runs": {"id": {"any_": [run]}}, "task_runs": {"state": {"type": {"any_": ["RUNNING"]}}}}
    assert soon(lambda: server.ask("task_runs/filter", **wanted)), server.state(run)
    return run


@pytest.fixture
def again(server: Running, nights: dict[str, Any], root: Path) -> Iterator[tuple[Running, str]]:
    """The server after a kill -9 in the middle of a run, started again; and that run's id."""
    cut_off = begin_a_long_run(server, root)
    processes = server.family()
    server.end(signal.SIGKILL)
    assert soon(lambda: not [p for p in processes if p.is_alive()]), "kill -9 left a process"
    running = Running.start(root)
    yield running, cut_off
    if running.process.poll() is None:
        running.end(signal.SIGTERM)


def test_after_a_kill_the_run_is_crashed_and_a_stop_in_another_run_leaves_nothing(again, nights, root):
    server, first = again
    assert server.state(nights["night"]["id"])["state"]["type"] == "COMPLETED"
    state = server.state(first)["state"]
    assert (state["type"], "Run it again" in state["message"]) == ("CRASHED", True), state
    second = begin_a_long_run(server, root)
    processes = server.family()
    assert len(processes) > 5
    assert server.end(signal.SIGTERM) == 0
    assert not [process for process in processes if process.is_alive()]
    with sqlite3.connect(root / "store" / "prefect" / "prefect.db") as database:
        states = dict(database.execute("SELECT id, state_type FROM flow_run").fetchall())
    assert states[second] == "CRASHED"
    assert not {"RUNNING", "PENDING", "CANCELLING"} & set(states.values())
    told = {alert.flow_run_id for alert in read_alerts(Store(root / "store"))}
    assert told == {first, second}
