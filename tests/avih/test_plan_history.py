"""Past plans and past runs, from the files that hold them: private, whole, and damaged lines left out."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from avih.naming import ShardAddress, Store, version_number
from avih.plan_history import PlanLine, newest_protected, read_plans, read_runs, remember_plan
from avih.planning import PastRun
from avih.shards import settings_sha256
from small_shards import ADDRESS, KEY, Settings, Step, write

GALLERY = ADDRESS.gallery
LINE = PlanLine(
    time="2026-01-02T03:04:05+00:00", settings_sha256=settings_sha256(Settings()), recogniser="feedfacefeedface",
    card="synthetic", machine="processor", newest=0, images=4, seconds_each={"align": 0.5, "optimise": 2.0},
)  # fmt: skip


def timed(store: Store, version: str, number: int, **timing: object) -> ShardAddress:
    address = replace(ADDRESS, version=version, number=number)
    write(store, address)
    (store.folder("index", gallery=GALLERY, version=version)).mkdir(parents=True, exist_ok=True)
    store.shard(address, "timing.json").write_text(json.dumps(timing))
    return address


def test_plans_come_back_in_order_and_only_the_owner_may_read_them(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    assert read_plans(store=store, gallery=GALLERY) == []
    later = LINE.model_copy(update={"newest": 7})
    for line in (LINE, later):
        path = remember_plan(line, store=store, gallery=GALLERY)
    assert read_plans(store=store, gallery=GALLERY) == [LINE, later]
    assert path == store.plans(GALLERY)
    assert path.stat().st_mode & 0o777 == 0o600
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    assert store.versions(GALLERY) == []
    assert LINE.past().seconds_each == 2.0


@pytest.mark.parametrize("damaged", [b"", b"{}", b"no JSON", b"\xff\xfe", b'{"format_version": 2}', b"[1]"])
def test_a_damaged_line_is_left_out_and_kept_in_the_file(damaged: bytes, tmp_path: Path) -> None:
    store = Store(tmp_path)
    path = remember_plan(LINE, store=store, gallery=GALLERY)
    path.write_bytes(path.read_bytes() + damaged + b"\n")
    remember_plan(LINE, store=store, gallery=GALLERY)
    assert read_plans(store=store, gallery=GALLERY) == [LINE, LINE]
    assert damaged + b"\n" in path.read_bytes()


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), -1.0])
def test_seconds_are_numbers(seconds: float) -> None:
    with pytest.raises(ValueError, match="seconds_each"):
        PlanLine.model_validate(LINE.model_dump() | {"seconds_each": {"optimise": seconds}})


def test_a_run_is_the_sum_of_its_shards_without_what_was_taken_over(tmp_path: Path) -> None:
    store = Store(tmp_path)
    timed(store, "v0001", 0, seconds=6.0, images=4)
    timed(store, "v0001", 1, seconds=2.0, images=1)
    timed(store, "v0002", 0, seconds=0.1, images=0)
    timed(store, "v0002", 1, seconds=3.0, images=2, machine="processor")
    fixed = {"settings_sha256": settings_sha256(Settings()), "recogniser": "feedfacefeedface"}
    assert read_runs(store=store, gallery=GALLERY) == [
        PastRun(version=1, machine=None, seconds=8.0, images=5, **fixed),
        PastRun(version=2, machine="processor", seconds=3.0, images=2, **fixed),
    ]
    assert newest_protected(store=store, gallery=GALLERY) == 2


def test_a_run_on_two_machines_is_like_none_of_them(tmp_path: Path) -> None:
    store = Store(tmp_path)
    timed(store, "v0001", 0, seconds=6.0, images=4, machine="one")
    timed(store, "v0001", 1, seconds=6.0, images=4, machine="two")
    (run,) = read_runs(store=store, gallery=GALLERY)
    assert run.machine not in (None, "one", "two")


def test_versions_without_usable_timings_are_no_runs(tmp_path: Path) -> None:
    store = Store(tmp_path)
    timed(store, "v0001", 0, seconds=0.0, images=0)
    timed(store, "v0002", 0, seconds="many", images=4)
    store.shard(timed(store, "v0003", 0), "timing.json").write_text("{")
    store.shard(timed(store, "v0004", 0, seconds=1.0, images=1), "done.json").unlink()
    store.shard(timed(store, "v0005", 0), "timing.json").unlink()
    assert read_runs(store=store, gallery=GALLERY) == []
    assert read_runs(store=store, gallery="nobody") == []


def test_the_newest_protected_version_is_not_one_that_was_only_indexed(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert newest_protected(store=store, gallery=GALLERY) == 0
    timed(store, "v0003", 0, seconds=1.0, images=1)
    (tmp_path / "1_index" / GALLERY / "v0004").mkdir()
    assert newest_protected(store=store, gallery=GALLERY) == version_number("v0003")


def test_the_settings_of_a_run_are_those_of_its_shards(tmp_path: Path) -> None:
    store = Store(tmp_path)
    other = Settings(step=Step(count=9))
    address = ShardAddress("protected", GALLERY, "v0001", 0, KEY)
    write(store, address, settings=other)
    store.folder("index", gallery=GALLERY, version="v0001").mkdir(parents=True)
    store.shard(address, "timing.json").write_text('{"seconds": 1.0, "images": 2}')
    (run,) = read_runs(store=store, gallery=GALLERY)
    assert run.settings_sha256 == settings_sha256(other) != settings_sha256(Settings())
