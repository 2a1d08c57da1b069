"""The scale-out benchmark: what it makes of its rounds, and a real run without a Prefect server."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from avih.errors import UsageError
from benchmarks.scale_out.__main__ import counts_of
from benchmarks.scale_out.cluster import Machine
from benchmarks.scale_out.measure import Round, figures
from command import ROOT

SCRIPT = ROOT / "benchmarks" / "scale_out" / "namespaces.sh"


def round_of(workers: int, shards: int, *, each: float, begin: float) -> Round:
    """A round whose shards take ``each`` seconds on a worker's clock, after a begin of its own."""
    used = {"flow": 0.01 * shards + 1, "scheduler": 0.0, "workers": 0.1 * shards + 2}
    return Round(workers=workers, shards=shards, seconds=begin + each * shards / workers, processor=used)


def test_the_cost_of_a_shard_is_told_from_that_of_a_run():
    done = [round_of(n, shards, each=1.25, begin=0.5) for n in (1, 4) for shards in (4 * n, 12 * n)]
    one, four = figures(done, seconds=1.0)
    assert (one.workers, one.speedup, one.efficiency, one.overhead_ms, one.begin_ms) == (
        1,
        1.0,
        0.8,
        250,
        500,
    )
    assert (four.workers, four.speedup, four.efficiency, four.overhead_ms, four.begin_ms) == (
        4,
        4.0,
        0.8,
        250,
        500,
    )
    assert four.shards_per_second == pytest.approx(3.2)
    assert four.processor_ms == {"flow": 10, "scheduler": 0, "workers": 100}


def test_counts_and_machines_are_read_and_what_cannot_be_is_refused():
    assert counts_of("1,2,8") == (1, 2, 8)
    for text in ("", "0,1", "2,1", "1,1", "one"):
        with pytest.raises(UsageError, match="rising counts"):
            counts_of(text)
    assert Machine.parse("10.0.0.1=host-a").command(["true"]) == ["ip", "netns", "exec", "host-a", "true"]
    assert Machine.parse("127.0.0.1").command(["true"]) == ["true"]


def test_a_real_run_serves_its_workers_from_the_temporary_server_of_its_own(tmp_path: Path):
    pytest.importorskip("prefect_dask")
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "AVIH_"))
    }
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.scale_out", "--workers", "1", "--shards", "1", "--seconds", "0.05",
         "--json"],
        capture_output=True, text=True, cwd=ROOT, env=inherited | {"TMPDIR": str(tmp_path)}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [(one["workers"], one["shards"]) for one in found["rounds"]] == [(1, 1), (1, 3)]
    assert found["figures"][0]["processor_ms"]["workers"] > 0
    assert not list(tmp_path.glob("avih-*"))


def test_without_root_the_script_of_several_hosts_says_what_it_needs(tmp_path: Path):
    (tmp_path / "id").write_text("#!/bin/sh\necho 1000\n")
    (tmp_path / "id").chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run([str(SCRIPT)], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 2 and "expected root" in done.stderr and "sudo" in done.stderr
