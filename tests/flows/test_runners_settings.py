"""The settings and options that say where shards are made, and the commands of Dask's own processes."""

import pytest
from pydantic import ValidationError

from avih.errors import UsageError
from avih.naming import Store
from avih.settings import RunnerSettings, RunSettings
from flows.cli.runner import Runner, runner_settings
from flows.server.dask import DaskWorkers, scheduler_command, scheduler_environment, worker_command

ADDRESS = "tcp://10.0.0.1:8786"


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"kind": "dask"}, "tcp://HOST:8786"),
        ({"kind": "dask", "address": "http://10.0.0.1:8786"}, "tcp://HOST:8786"),
        ({"kind": "dask", "address": ADDRESS, "processes": 2}, "no processes"),
        ({"kind": "dask", "address": ADDRESS, "resources": {"GPU": 0}}, "greater than 0"),
        ({"kind": "dask", "address": ADDRESS, "resources": {"GPU": float("inf")}}, "finite"),
        ({"kind": "dask", "address": ADDRESS, "resources": {"--x y": 1}}, "letters"),
        ({"kind": "process", "address": ADDRESS}, "no address"),
        ({"address": ADDRESS, "resources": {"GPU": 1}}, "no address, resources"),
        ({"kind": "process", "processes": 0}, "greater than or equal to 1"),
        ({"kind": "ray"}, "'local', 'process' or 'dask'"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(values, told):
    with pytest.raises(ValidationError, match=told):
        RunnerSettings(**values)


def test_settings_of_earlier_releases_have_no_runner_and_are_local():
    before = RunSettings().model_dump(mode="json")
    del before["runner"]
    assert RunSettings.model_validate(before).runner == RunnerSettings() and not RunnerSettings().elsewhere


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((None, None, None, None), None),
        ((Runner.local, None, None, None), RunnerSettings()),
        ((Runner.process, None, None, 3), RunnerSettings(kind="process", processes=3)),
        ((None, ADDRESS, ["GPU=1", "BIG=0.5"], None),
         RunnerSettings(kind="dask", address=ADDRESS, resources={"GPU": 1, "BIG": 0.5})),
    ],
)  # fmt: skip
def test_options_become_settings(options, expected):
    assert runner_settings(*options) == expected


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ((Runner.dask, None, None, None), "tcp://HOST:8786"),
        ((None, None, ["GPU=1"], None), "local has no resources"),
        ((Runner.dask, ADDRESS, ["GPU"], None), "NAME=AMOUNT"),
        ((Runner.dask, ADDRESS, ["GPU=many"], None), "NAME=AMOUNT"),
    ],
)
def test_options_that_do_not_go_together_are_refused(options, told):
    with pytest.raises(UsageError, match=told):
        runner_settings(*options)


def test_workers_and_schedulers_listen_on_the_address_that_was_asked_for_alone(tmp_path, monkeypatch):
    """Left alone, both would listen on all addresses of the machine, and Dask asks nobody for a password."""
    cards = DaskWorkers(ADDRESS, Store(tmp_path), "10.0.0.2", resources={"GPU": 1}, gpus=(0, 3))
    processes = cards.processes()
    assert [one["CUDA_VISIBLE_DEVICES"] for one in processes.values()] == ["0", "3"]
    assert {one["AVIH_DEVICE"] for one in processes.values()} == {
        "cuda"
    }  # never a CPU in its place, silently
    for command in (worker_command(cards, name="a"), scheduler_command(host="10.0.0.2", port=8786)):
        text = " ".join(command)
        assert (
            "--host 10.0.0.2" in text
            and "--dashboard-address 10.0.0.2:0" in text
            and "--no-dashboard" in text
        )
    assert "--resources GPU=1" in " ".join(worker_command(cards, name="a"))
    assert "--memory-limit 0.500" in " ".join(worker_command(cards, name="a"))
    monkeypatch.setenv("AVIH_PASSPHRASE", "a secret for workers alone")
    assert "AVIH_PASSPHRASE" not in scheduler_environment()
