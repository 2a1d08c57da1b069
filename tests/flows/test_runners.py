"""Shards made elsewhere: a real Dask cluster and real processes give the bytes of a local run, killed or not."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import cloudpickle
import pytest
from prefect import flow
from prefect.context import serialize_context

from avih.errors import AvihError
from avih.settings import LOCAL, RunnerSettings
from dask_cluster import Cluster, cluster
from flows import nightly, shard_runs
from flows.protect_gallery import protect_gallery
from flows.runners import Here
from flows.server.processes import ProcessId, family
from flows.shard_runs import Counter, as_task, run_shards
from stand_in import wait_for
from tasks import opened
from tasks.progress import listening
from tasks.protect_shard import protect_shard
from tasks.run_record import load_run
from tasks.worker_probe import Needs

pytest.importorskip("prefect_dask")


@pytest.fixture(scope="module")
def dask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A scheduler and two workers."""
    with cluster(tmp_path_factory.mktemp("dask")) as made:
        for name in ("first", "second"):
            made.add(name, resources={"GPU": 1})
        made.ready()
        yield made


class Heard:
    """Listens to progress as the bars of the command line do."""

    def __init__(self) -> None:
        self.total, self.done = 0, 0

    def begin(self, stage: str, total: int) -> None:
        self.total = total

    def advance(self, stage: str, done: int) -> None:
        self.done += done


def shards(made) -> dict[str, bytes]:
    """What a version's shards are; how long they took differs."""
    return {name: data for name, data in made.files().items() if name[0] == "0" and "timing" not in name}


def finished(made) -> dict[str, int]:
    """The done files that are there, and which files they are: one that is written again is another."""
    return {path.name: path.stat().st_ino for path in made.protected.glob("*.done.json")}


def forget_shards(made) -> dict[str, bytes]:
    """Remove every protected shard, and return what they were."""
    before = shards(made)
    for path in made.protected.glob("0*"):
        path.unlink()
    opened.forget()
    return before


class Saboteur(threading.Thread):
    """Kills one of the processes that are at work, once a shard is finished and another is not."""

    def __init__(self, made, at_work: Callable[[], list[ProcessId]]) -> None:
        super().__init__(daemon=True)
        self.made, self.at_work = made, at_work
        self.before: dict[str, int] = {}

    def run(self) -> None:
        until = time.monotonic() + 300
        while time.monotonic() < until and not self.before:
            there = finished(self.made)
            if there and (victims := self.at_work()):
                self.before = there
                victims[0].kill()
            threading.Event().wait(0.02)


def test_a_cluster_whose_worker_is_killed_makes_the_bytes_of_a_local_run(copy, dask, monkeypatch):
    numbers, before = copy.shards, forget_shards(copy)
    monkeypatch.setattr(shard_runs, "LOOK_SECONDS", 0.2)
    lines: list[str] = []
    update = shard_runs.update_progress_artifact

    def shown(**facts):
        lines.append(facts["description"])
        return update(**facts)

    monkeypatch.setattr(shard_runs, "update_progress_artifact", shown)
    names = {address: name for name, address in dask.addresses().items()}
    heard = Heard()
    with dask.client() as client, listening(heard):

        def at_work() -> list[ProcessId]:
            busy = [names[worker] for worker, keys in client.processing().items() if keys]
            return [one for name in busy for one in family(dask.workers[name].process.pid)]

        saboteur = Saboteur(copy, at_work)
        saboteur.start()
        made = protect_gallery(
            place=copy.place, key_id=copy.result.key_id, shards=numbers, settings=copy.settings.protect,
            runner=dask.runner(GPU=1),
        )  # fmt: skip
        saboteur.join()
    assert saboteur.before and len(saboteur.before) < len(made)
    assert shards(copy) == before
    # Nothing twice: what was finished before the kill is still the same file. One of them may have been handed
    # out again, because its worker died before it could say so; it was found done.
    assert saboteur.before.items() <= finished(copy).items()
    assert [one.number for one in made] == numbers and [one.made for one in made].count(False) <= 1
    assert not list(copy.protected.glob(".*.part"))
    assert heard.done == heard.total > 0
    assert [line for line in lines if "outstanding shards: 0" in line and "(tcp://127.0.0.1:" in line]


def pool() -> list[ProcessId]:
    """The processes that we have begun to make shards in."""
    return [one for one in family(os.getpid()) if b"spawn_main" in command_line(one)]


def command_line(process: ProcessId) -> bytes:
    try:
        return Path(f"/proc/{process.number}/cmdline").read_bytes()
    except OSError:
        return b""


def test_when_one_of_several_processes_is_killed_it_is_told_and_the_next_run_goes_on(copy):
    numbers, before = copy.shards, forget_shards(copy)
    asked = {"place": copy.place, "key_id": copy.result.key_id, "settings": copy.settings.protect}
    saboteur = Saboteur(copy, pool)
    saboteur.start()
    with pytest.raises(AvihError, match=r"processes that make shards.*--processes"):
        protect_gallery(**asked, shards=numbers, runner=RunnerSettings(kind="process", processes=2))
    saboteur.join()
    left = finished(copy)
    assert saboteur.before.items() <= left.items() and 0 < len(left) < len(numbers)
    again = protect_gallery(**asked, shards=numbers)
    assert [one.made for one in again].count(False) == len(left) and left.items() <= finished(copy).items()
    assert shards(copy) == before
    assert not list(copy.protected.glob(".*.part"))


def test_a_scheduler_that_goes_away_is_named_and_ends_the_flow(made, tmp_path):
    @flow(name="stands-in", log_prints=False)
    def stands_in(runner: RunnerSettings) -> None:
        run_shards(
            wait_for, stage="wait", numbers=[0], place=made.place, runner=runner, file=str(tmp_path / "on")
        )

    with cluster(tmp_path) as own:
        own.add("only", resources={})
        own.ready()

        def end_scheduler() -> None:
            while not (tmp_path / "on.waits").exists():
                threading.Event().wait(0.02)
            own.scheduler.process.kill()

        killer = threading.Thread(target=end_scheduler, daemon=True)
        killer.start()
        with pytest.raises(AvihError, match=rf"scheduler at {own.address}.*Run the same command again"):
            stands_in(own.runner())
        killer.join()


def test_every_stage_runs_where_the_settings_say_and_the_next_night_too(copy, monkeypatch):
    there: list[tuple[str, Needs]] = []

    def submitting(runner, *, needs):
        there.append((runner.kind, needs))
        return nullcontext(Here())

    monkeypatch.setattr(shard_runs, "submitting", submitting)
    elsewhere = RunnerSettings(kind="process", processes=2)
    copy.run(settings=copy.settings.model_copy(update={"runner": elsewhere}), lpips_backbone=None)
    kinds, needs = zip(*there, strict=True)
    assert kinds == ("process",) * 3
    assert [one.key_id for one in needs] == [None, copy.result.key_id, copy.result.key_id]
    assert needs[0].files == (str(copy.source),)
    record = load_run(store=copy.place.folder, gallery="people")
    assert record.settings.runner == elsewhere and record.on(None) is record
    assert record.on(LOCAL).settings == copy.settings.model_copy(update={"align": record.settings.align})
    checked: list[RunnerSettings] = []
    monkeypatch.setattr(nightly, "check", lambda runner, *, needs: checked.append(runner))
    nightly.nightly_reprotect(store=str(copy.store), gallery="people")
    nightly.nightly_reprotect(store=str(copy.store), gallery="people", runner=LOCAL)
    assert checked == [elsewhere, LOCAL]


@pytest.mark.usefixtures("prefect_server")
def test_what_a_worker_gets_with_a_task_holds_no_passphrase():
    @flow(name="hands-out", log_prints=False)
    def hands_out() -> bytes:
        return cloudpickle.dumps((serialize_context(), as_task(protect_shard, name="protect shard")))

    handed = hands_out()
    assert b"protect_shard" in handed and os.environ["AVIH_PASSPHRASE"].encode() not in handed


def test_the_line_of_progress_names_what_is_outstanding():
    counter = Counter(stage="protect", total=8)
    counter.advance("protect", 2)
    assert "outstanding" not in counter.described()[1]
    counter.outstanding = {"00003": "tcp://10.0.0.7:4012"} | {f"{number:05d}": "" for number in range(5, 10)}
    assert counter.described()[1].endswith(
        "outstanding shards: 00003 (tcp://10.0.0.7:4012), 00005, 00006, 00007, 2 more"
    )
