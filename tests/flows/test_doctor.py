"""``avih doctor``: every check names what is wrong and what to do, and mends only when it is asked to."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

from avih.atomic import temporary_name
from avih.index_file import write_index
from avih.keys import Vault
from avih.naming import Store
from avih.scanning import COLUMNS
from avih.settings import RunnerSettings, RunSettings
from command import ROOT
from flows import preflight
from flows.cli import doctor as _command  # noqa: F401  # registers the command
from flows.cli.main import app
from flows.doctor import examine as examining
from flows.doctor import machine, services
from flows.doctor.examine import examine
from flows.doctor.finding import Case, Finding
from flows.server.lock import describe, only_one
from flows.server.processes import free_port
from tasks.gallery_lock import gallery_lock
from tasks.records import RecogniserChoice
from tasks.run_record import RunRecord, save_run

GALLERY, VERSION = "people", "v0001"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store with a vault and a gallery that was begun; nothing is wrong with it, and no server runs."""
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.setenv("AVIH_STORE", "none")  # what the command sets is taken back
    made = Store(tmp_path / "store")
    Vault(made.keys).mac_key()
    row = dict.fromkeys(COLUMNS, "") | {"shard": 0, "image_id": "one"}
    write_index(store=made, gallery=GALLERY, version=VERSION, pieces=[pd.DataFrame([row])])
    save(made, RunnerSettings())
    return made


def save(store: Store, runner: RunnerSettings, **more: object) -> None:
    """Note where the gallery's shards were made."""
    record = RunRecord(
        gallery=GALLERY, version=VERSION, source="synthetic", recogniser=RecogniserChoice(card="synthetic"),
        key_id="0" * 16, settings=RunSettings(runner=runner),
    )  # fmt: skip
    save_run(record.model_copy(update=more), store=store)


def told(store: Store, *, repair: bool = False) -> dict[str, Finding]:
    return {one.what: one for one in examine(store, repair=repair)}


def states(store: Store, *, repair: bool = False) -> dict[str, str]:
    return {what: one.state for what, one in told(store, repair=repair).items()}


def everything(store: Store) -> dict[str, tuple[int, bytes]]:
    """All files of a store with their modes; Prefect and MLflow keep house by themselves."""
    paths = [path for path in store.root.rglob("*") if path.name not in ("prefect", "mlflow")]
    return {str(path): (path.stat().st_mode, path.read_bytes() if path.is_file() else b"") for path in paths}


def test_a_store_with_nothing_wrong_gives_no_work_and_is_not_changed(store):
    before = everything(store)
    found = told(store)
    assert {one.state for one in found.values()} == {"fine"}, found
    assert {"store", "passphrase", "permissions", "temporary files", "disk", "packages", "device"} <= set(
        found
    )
    assert {"lock of people", "Prefect server", "MLflow store"} <= set(found)
    assert everything(store) == before


def test_open_modes_and_leftovers_are_told_first_and_mended_when_asked(store):
    (store.keys / "vault.key").chmod(0o644)
    store.keys.chmod(0o755)
    living, foreign = temporary_name(store.root / "mine"), store.root / ".theirs.00000000-1-00000000.part"
    for path in (living, foreign):
        path.touch()
    code = "import sys; from pathlib import Path; from avih.atomic import temporary_name as name\n"
    code += "left = name(Path(sys.argv[1]) / 'half'); left.touch(); print(left)"
    done = subprocess.run(
        [sys.executable, "-c", code, str(store.gallery_root("index", GALLERY))], capture_output=True, text=True,
        check=True, cwd=ROOT,
    )  # fmt: skip
    left = Path(done.stdout.strip())
    before = everything(store)
    found = {one.what: one for one in reversed(examine(store, repair=False))}
    assert found["permissions"].state == found["temporary files"].state == "to do"
    assert "3_keys" in found["permissions"].found and "vault.key" in found["permissions"].found
    assert left.name in found["temporary files"].found and "--repair" in found["temporary files"].to_do
    assert everything(store) == before
    mended = {one.what: one for one in reversed(examine(store, repair=True))}
    assert mended["permissions"].state == mended["temporary files"].state == "mended"
    assert not left.exists() and living.exists() and foreign.exists()
    assert (store.keys / "vault.key").stat().st_mode & 0o777 == 0o600
    assert store.keys.stat().st_mode & 0o777 == 0o700
    unknown = [one for one in examine(store, repair=False) if one.state != "fine"]
    assert [(one.what, one.state) for one in unknown] == [("temporary files", "not known")]
    assert foreign.name in unknown[0].found and living.name not in unknown[0].found


HOLD = """
import os, sys
from avih.naming import Store
from tasks.gallery_lock import gallery_lock
with gallery_lock(Store.find(sys.argv[1]), "people", purpose="a test"):
    if os.fork():
        os._exit(0)
    os.write(1, b"held")
    os.close(1)
    sys.stdin.read()
"""


@pytest.fixture
def orphan(store: Store) -> Iterator[int]:
    """A process that holds the gallery by a lock that its parent took, which is gone; the parent's number."""
    parent = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(store.root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
    )
    assert parent.stdin is not None and parent.stdout is not None
    assert parent.stdout.read() == b"held"
    parent.wait()
    yield parent.pid
    parent.stdin.close()


def test_a_lock_names_its_holder_and_one_without_a_process_is_work(store, orphan):
    lock = told(store)["lock of people"]
    assert lock.state == "to do" and f"process {orphan}" in lock.found and str(orphan) in lock.to_do


def test_a_lock_of_a_living_process_is_fine(store):
    with gallery_lock(store, GALLERY, purpose="a long job"):
        lock = told(store)["lock of people"]
    assert lock.state == "fine" and f"a long job by process {os.getpid()}" in lock.found


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({}, "none in the environment"),
        ({"AVIH_PASSPHRASE": "another one"}, "wrong"),
        ({"AVIH_PASSPHRASE": "one", "AVIH_KEY_FILE": "/and/another"}, "got both"),
        ({"AVIH_KEY_FILE": "/no/such/file"}, "/no/such/file"),
    ],
)
def test_a_passphrase_that_opens_nothing_is_work(store, monkeypatch, environment, words):
    for name in ("AVIH_PASSPHRASE", "AVIH_KEY_FILE"):
        monkeypatch.delenv(name, raising=False)
        if name in environment:
            monkeypatch.setenv(name, environment[name])
    found = told(store)["passphrase"]
    assert found.state == "to do" and words in found.found and "another one" not in found.found + found.to_do


def test_packages_out_of_their_range_are_work_those_of_extras_are_not(store, monkeypatch):
    wanted = ["fastapi<0.1", "no-such-package>=1", "typer", 'other-package>=8; extra == "dev"']
    monkeypatch.setattr(metadata, "requires", lambda name: wanted)
    found = told(store)["packages"]
    assert found.state == "to do" and "no-such-package missing" in found.found
    assert f"fastapi {metadata.version('fastapi')} (expected <0.1)" in found.found
    assert "typer" not in found.found and "other-package" not in found.found


def test_a_device_that_does_not_compute_and_a_full_disk_are_work(store, monkeypatch):
    monkeypatch.setenv("AVIH_DEVICE", "cuda:99")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=2**20, total=2**40, used=2**40))
    found = told(store)
    assert found["device"].state == "to do" and "cuda:99" in found["device"].found
    assert found["disk"].state == "to do" and "0.00 GiB free" in found["disk"].found


def test_a_card_that_torch_does_not_see_is_work_unless_it_is_meant(store, monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "GRAPHICS_CARD", tmp_path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert states(store)["device"] == "to do"
    monkeypatch.setenv("AVIH_DEVICE", "cpu")
    assert states(store)["device"] == "fine"


def test_servers_and_clusters_that_do_not_answer_are_work(store, monkeypatch):
    nobody = free_port("127.0.0.1", 0, option="--port")
    monkeypatch.setattr(preflight, "CONNECT", "300ms")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{nobody}")
    save(store, RunnerSettings(kind="dask", address=f"tcp://127.0.0.1:{nobody}"))
    with only_one(store) as file:
        describe(file, prefect=f"http://127.0.0.1:{nobody}", mlflow="")
        found = told(store)
    assert (
        found["lock of the server"].state == "fine" and str(os.getpid()) in found["lock of the server"].found
    )
    for what, words in (
        ("Prefect server", f"no answer at http://127.0.0.1:{nobody}/api"),
        ("MLflow store", f"http://127.0.0.1:{nobody}"),
        ("Dask for people", f"avih dask scheduler --host 127.0.0.1 --port {nobody}"),
    ):
        assert found[what].state == "to do" and words in found[what].found, found[what]


def test_workers_are_asked_for_all_that_a_run_asks_them_for(store, monkeypatch):
    asked = []
    monkeypatch.setattr(services, "preflight", lambda _runner, *, needs: asked.append(needs) or {})
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api/")
    chosen = RecogniserChoice(card="synthetic", weights="/weights")
    runner = RunnerSettings(kind="dask", address="tcp://127.0.0.1:9")
    save(store, runner, source="/photos", recogniser=chosen, lpips_backbone="/lpips")
    (found,) = services.dask(Case(store=store, repair=False))
    (needs,) = asked
    assert found.state == "fine" and needs.key_id == "0" * 16 and needs.store == store.address
    assert needs.files == ("/photos", "/weights", "/lpips") and needs.api == "http://127.0.0.1:9/api"


def test_a_store_that_had_a_server_needs_one(store):
    store.prefect.mkdir(mode=0o700, exist_ok=True)
    (store.prefect / "server.log").touch()
    found = told(store)["Prefect server"]
    assert found.state == "to do" and "avih server" in found.to_do


def test_a_check_that_stumbles_is_told_by_its_type_alone_and_the_others_go_on(store, monkeypatch):
    def stumbles(_case: object) -> Iterator[Finding]:
        raise ValueError("what it says may be a secret")
        yield

    monkeypatch.setattr(examining, "CHECKS", (stumbles, machine.device))
    first, second = examine(store, repair=False)
    assert (first.state, second.state) == ("not known", "fine")
    assert "ValueError" in first.found and "secret" not in first.found


def test_the_command_prints_a_table_or_one_object_and_ends_with_1_while_there_is_work(store):
    runner, arguments = CliRunner(), ["doctor", "--store", str(store.root)]
    fine = runner.invoke(app, [*arguments, "--json"])
    assert (fine.exit_code, json.loads(fine.stdout)["ok"]) == (0, True)
    store.keys.chmod(0o750)
    shown = runner.invoke(app, arguments)
    assert shown.exit_code == 1 and "permissions" in shown.stdout and "to do" in shown.stdout
    found = json.loads(runner.invoke(app, [*arguments, "--json"]).stdout)
    (work,) = [one for one in found["checks"] if one["state"] == "to do"]
    assert (found["ok"], work["what"], bool(work["to_do"])) == (False, "permissions", True)
    assert runner.invoke(app, [*arguments, "--repair"]).exit_code == 0
    assert runner.invoke(app, arguments).exit_code == 0


def test_without_a_store_the_command_says_so_and_makes_none(tmp_path, monkeypatch):
    monkeypatch.setenv("AVIH_STORE", "none")
    done = CliRunner().invoke(app, ["doctor", "--store", str(tmp_path / "none")])
    assert done.exit_code == 2 and not (tmp_path / "none").exists()
