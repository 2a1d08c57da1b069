"""Before shards go to a cluster: an answer within seconds that names the worker, what it lacks and what to do."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from avih.errors import KeyRefused
from avih.keys import Vault
from avih.naming import Store
from avih.settings import SEALED_KEY, RunnerSettings
from dask_cluster import Cluster, cluster
from flows import preflight as module
from flows.preflight import WorkersUnfit, preflight
from flows.runners import check
from flows.server.processes import free_port
from tasks.create_key import create_key
from tasks.worker_probe import Needs, plain_software

pytest.importorskip("prefect_dask")
WRONG = "not the passphrase of this store"


@pytest.fixture(scope="module")
def dask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A right worker, one with a wrong passphrase and one without any; each offers something else."""
    with cluster(tmp_path_factory.mktemp("dask")) as made:
        made.add("right", resources={"GPU": 1})
        made.add("wrong", resources={"OTHER": 1}, AVIH_PASSPHRASE=WRONG)
        made.add("without", resources={"MORE": 1}, AVIH_PASSPHRASE="")
        made.ready()
        yield made


@pytest.fixture(scope="module")
def needs(tmp_path_factory: pytest.TempPathFactory) -> Needs:
    """A store with a vault and a key."""
    store = str(tmp_path_factory.mktemp("store"))
    Vault(Store(Path(store)).keys).mac_key()
    key = create_key(
        store=store, settings=SEALED_KEY, recovery="sealed", template="112x96", pictures=None, actor="test",
        reason="test", activate=False,
    )  # fmt: skip
    return Needs(store=store, key_id=key.key_id)


def refused(runner: RunnerSettings, needs: Needs) -> str:
    with pytest.raises(WorkersUnfit) as told:
        preflight(runner, needs=needs)
    assert WRONG not in str(told.value) and os.environ["AVIH_PASSPHRASE"] not in str(told.value)
    return str(told.value)


def test_a_right_worker_says_yes_and_nothing_secret(needs, dask):
    (answer,) = preflight(dask.runner(GPU=1), needs=needs).values()
    assert (answer.sees_store, answer.writes_store, answer.key, answer.missing) == (True, True, "opened", ())
    assert answer.software == plain_software()
    assert not list(Path(needs.store).glob(".probe*"))
    vault = preflight(dask.runner(GPU=1), needs=needs.model_copy(update={"key_id": None}))
    assert [one.key for one in vault.values()] == ["opened"]


@pytest.mark.parametrize(
    ("resources", "more", "words"),
    [
        ({"GPU": 2}, {}, ("offers GPU=2", "offers GPU=1", "--resource GPU=2", "avih dask worker tcp://")),
        ({"TPU": 1}, {}, ("offers TPU=1", "Start one: AVIH_KEY_FILE=")),
        ({"OTHER": 1}, {}, ("cannot open key", "--resource OTHER=1")),
        ({"OTHER": 1}, {"key_id": None}, ("cannot open the vault",)),
        ({"MORE": 1}, {}, ("has no AVIH_KEY_FILE or AVIH_PASSPHRASE",)),
        ({}, {}, ("got 2 that cannot", "cannot open key", "has no AVIH_KEY_FILE")),
        ({"GPU": 1}, {"files": ("/no/such/photos",)}, ("does not find /no/such/photos",)),
        ({"GPU": 1}, {"api": "http://127.0.0.1:9/api"}, ("does not reach Prefect at http://127.0.0.1:9",)),
    ],
)  # fmt: skip
def test_what_is_missing_is_named_with_the_command_that_helps(needs, dask, resources, more, words):
    told = refused(dask.runner(**resources), needs.model_copy(update=more))
    assert all(word in told for word in words), told


def test_a_worker_that_sees_another_store_is_named(needs, dask, monkeypatch):
    @contextmanager
    def elsewhere(_store):
        yield {"mark": ".probe.of.another.store", "content": "something"}

    monkeypatch.setattr(module, "mark_in_store", elsewhere)
    assert "does not see the same store" in refused(dask.runner(GPU=1), needs)


def test_a_worker_with_another_release_is_named(needs, dask, monkeypatch):
    monkeypatch.setattr(module, "plain_software", lambda: plain_software() | {"avih": "99.0"})
    told = refused(dask.runner(GPU=1), needs)
    assert f"avih {plain_software()['avih']} (here 99.0)" in told and "torch" not in told


def test_a_worker_that_does_not_answer_is_named_in_time(needs, dask, monkeypatch):
    monkeypatch.setattr(module, "ANSWER_SECONDS", 0.5)
    frozen = dask.workers["wrong"].process
    frozen.send_signal(signal.SIGSTOP)
    try:
        assert "no answer within" in refused(dask.runner(OTHER=1), needs)
    finally:
        frozen.send_signal(signal.SIGCONT)


def test_without_a_scheduler_the_command_that_starts_one_is_told(needs, monkeypatch):
    monkeypatch.setattr(module, "CONNECT", "500ms")
    port = free_port("127.0.0.1", 0, option="--port")
    told = refused(RunnerSettings(kind="dask", address=f"tcp://127.0.0.1:{port}"), needs)
    assert f"avih dask scheduler --host 127.0.0.1 --port {port}" in told


def test_without_certificates_an_encrypted_scheduler_is_not_asked(needs):
    told = refused(RunnerSettings(kind="dask", address="tls://127.0.0.1:9"), needs)
    assert "certificates" in told and "--port 9" in told


def test_without_the_packages_the_command_that_installs_them_is_told(needs, monkeypatch):
    def missing(name: str) -> object:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(module.importlib, "import_module", missing)
    with pytest.raises(module.UsageError, match=r"No module named 'distributed'.*pip install 'avih\[dask\]'"):
        preflight(RunnerSettings(kind="dask", address="tcp://127.0.0.1:1"), needs=needs)


def test_a_typed_passphrase_does_not_reach_other_processes(needs, monkeypatch):
    monkeypatch.delenv("AVIH_PASSPHRASE")
    with pytest.raises(KeyRefused, match=r"environment.*AVIH_KEY_FILE"):
        check(RunnerSettings(kind="process"), needs=needs)
    check(RunnerSettings(), needs=needs)
