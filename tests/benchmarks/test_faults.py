"""``python -m benchmarks.faults``: the quickest rows through the real command, and how losses are counted."""

import json
import subprocess
import sys
from pathlib import Path
from random import Random
from types import SimpleNamespace

import pytest

from benchmarks.faults import command
from benchmarks.faults.fault import Fault, Lost, Many, NotPossibleHere, try_fault
from benchmarks.faults.registry import all_faults
from command import ROOT

QUICKEST = ("SIGKILL of avih protect", "flipped bit: done", "disk full: avih protect", "stand-in")


@pytest.fixture(scope="module")
def report() -> dict:
    """What the command prints for a few rows."""
    words = [word for name in QUICKEST for word in ("--only", name)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.faults", "--json", "--seed", "5", "--attempts", "1", *words],
        capture_output=True, text=True, cwd=ROOT, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_few_faults_lose_nothing(report: dict) -> None:
    names = [row["fault"] for row in report["rows"]]
    assert [sum(part in name for name in names) for part in QUICKEST] == [1] * len(names)
    assert report["lost"] == 0 and report["seed"] == 5
    assert report["tried"] == report["survived"] == sum(row["tried"] for row in report["rows"])
    # A machine may forbid private mounts; all others can be tried anywhere.
    assert [row["tried"] for row in report["rows"] if "disk" not in row["fault"]] == [1, 1, 1]
    assert all(row["note"] for row in report["rows"])


def test_the_report_becomes_a_table_for_the_documentation(report: dict, tmp_path: Path, capsys) -> None:
    (tmp_path / "report.json").write_text(json.dumps(report))
    assert command.main(["--markdown", str(tmp_path / "report.json")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("| fault | tried ") and len(lines) == 2 + len(report["rows"]) + 1
    assert lines[2].startswith("| SIGKILL of avih protect | 1 | 1 | 0 | ")


def test_the_quick_profile_tries_every_family_and_the_full_one_a_hundred_kills() -> None:
    quick, full = (
        {fault.name: fault.attempts(profile) for fault in all_faults()} for profile in ("quick", "full")
    )
    assert len(quick) == len(all_faults())  # no two have one name
    kills = [name for name in full if name.startswith("SIGKILL of")]
    assert sum(full[name] for name in kills) >= 100 and sum(quick[name] for name in kills) >= 8
    assert min(full.values()) >= 1
    words = (
        "SIGKILL",
        "disk full",
        "read-only",
        "I/O",
        "clock",
        "two runs",
        "stale",
        "S3",
        "slow",
        "bit",
        "load",
    )
    assert [word for word in words if not any(word in name for name in quick if quick[name])] == []


def outcome(attempt, profile: str = "quick", attempts: int = 1):
    said: list[str] = []
    bench = SimpleNamespace(profile=profile, seed=3, say=said.append, tidy=lambda: said.append("tidied"))
    row = try_fault(Fault("a fault", "nothing", attempt, quick=attempts), bench)
    assert said.count("tidied") == attempts
    return row, said


def test_a_loss_is_counted_with_the_point_at_which_it_can_be_repeated() -> None:
    def attempt(_, draw: Random) -> str:
        if draw.random() < 0.5:
            raise Lost("a shard is gone")
        return "as before"

    row, said = outcome(attempt, attempts=20)
    assert (row.tried, row.survived + row.lost) == (20, 20) and 0 < row.lost < 20
    assert row.note == f"as before ({row.survived}x)"
    assert row.losses[0].endswith("seed 3: a shard is gone") and said[-1].startswith("LOST a fault, attempt ")
    assert outcome(attempt, attempts=20)[0].losses == row.losses


def test_what_breaks_down_is_lost_and_what_is_not_possible_is_not_tried() -> None:
    def breaks_down(*_) -> str:
        raise ZeroDivisionError("somewhere")

    def not_here(*_) -> str:
        raise NotPossibleHere("no private mounts")

    broken, _ = outcome(breaks_down)
    assert (broken.tried, broken.lost) == (1, 1) and "ZeroDivisionError: somewhere" in broken.losses[0]
    missing, _ = outcome(not_here)
    assert (missing.tried, missing.lost, missing.note) == (0, 0, "not possible here: no private mounts")
    many, _ = outcome(lambda *_: Many(4, ("one",), "five kinds"))
    assert (many.tried, many.survived, many.lost, many.note) == (5, 4, 1, "five kinds")


def test_the_exit_code_is_1_when_something_was_lost_and_2_for_an_unknown_fault(monkeypatch, capsys) -> None:
    report = {"tried": 1, "survived": 0, "lost": 1, "rows": []}
    monkeypatch.setattr(command, "run", lambda *_, **__: report)
    assert command.main(["--json", "--only", "stale lock"]) == 1
    assert json.loads(capsys.readouterr().out) == report
    assert command.main(["--only", "meteorite"]) == 2
    assert "stale lock" in capsys.readouterr().err
