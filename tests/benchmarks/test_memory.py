"""The memory benchmark: its steps do their work on a small gallery, and its report says what grew."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from avih.index_file import read_index
from avih.naming import Store
from benchmarks import memory, memory_steps


def test_all_steps_run_on_one_small_gallery(tmp_path: Path) -> None:
    for step in memory.STEPS:
        memory_steps.run(step, folder=tmp_path, rows=600, shard_size=100)
    first, second = (
        read_index(store=Store(tmp_path), gallery=memory_steps.GALLERY, version=version).set_index("path")
        for version in ("v0001", "v0002")
    )
    assert (len(first), len(second)) == (600, 600 + 6 - 7)
    both = first.index.intersection(second.index)
    assert (first.shard[both] == second.shard[both]).all()
    assert (first.content_mac[both] != second.content_mac[both]).sum() == 6
    assert not [path for path in tmp_path.rglob("*.part")]


def test_a_step_that_finds_something_wrong_says_so(tmp_path: Path) -> None:
    for step in memory.STEPS[:5]:
        memory_steps.run(step, folder=tmp_path, rows=60, shard_size=20)
    next(tmp_path.rglob("4_protected/**/00001.tar")).write_bytes(b"")
    with pytest.raises(SystemExit, match="whole version"):
        memory_steps.run("verify", folder=tmp_path, rows=60, shard_size=20)


def test_the_benchmark_and_its_steps_name_the_same_steps() -> None:
    assert list(memory_steps.STEPS) == list(memory.STEPS)


def test_growth_is_from_the_smallest_to_the_largest() -> None:
    results = [
        {"step": step, "rows": rows, "peak_mib": peak, "seconds": 1.0}
        for step, peaks in (("index", (30.0, 20.0, 25.5)), ("sign", (11.0, 10.0, 9.0)))
        for rows, peak in zip((1000, 10, 100), peaks, strict=True)
    ]
    assert memory.growth(results) == {"index": 10.0, "sign": 1.0}
    table = memory.as_table(results, [10, 100, 1000])
    assert "| index | 20 (1.0 s) | 26 (1.0 s) | 30 (1.0 s) | +10 |" in table


def test_a_step_in_a_fresh_process_reports_its_memory(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "benchmarks.memory",
        "--child",
        "index",
        "--rows",
        "50",
        "--folder",
        str(tmp_path),
    ]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert 0 < found["imported_mib"] <= found["peak_mib"]
