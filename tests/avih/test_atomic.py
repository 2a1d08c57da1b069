"""Files are written whole or not at all, and what dead processes left is removed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from avih.atomic import (
    atomic_file,
    maker_of,
    remove_leftovers,
    remove_leftovers_below,
    runs_here,
    write_bytes,
    write_json,
)
from avih.errors import UsageError

ROOT = Path(__file__).parents[2]


def test_an_error_while_writing_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_bytes(path, b"old")
    with pytest.raises(ZeroDivisionError), atomic_file(path) as temporary:
        temporary.write_bytes(b"new")
        assert temporary.parent == tmp_path
        assert temporary.name.startswith(".")
        assert temporary.name.endswith(".part")
        raise ZeroDivisionError
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_only_files_of_dead_processes_are_left_over(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    with atomic_file(tmp_path / "living") as mine:
        left = mine.with_name(mine.name.replace(f"-{os.getpid()}-", f"-{dead.pid}-"))
        elsewhere = left.with_name(f".file.00000000-{dead.pid}-00000000.part")
        foreign = tmp_path / ".other.part"
        for path in (left, elsewhere, foreign):
            path.write_bytes(b"1")
        deeper = tmp_path / "a" / "b" / left.name
        deeper.parent.mkdir(parents=True)
        deeper.write_bytes(b"1")
        assert remove_leftovers(tmp_path) == [left]
        assert remove_leftovers_below(tmp_path / "a", tmp_path / "nowhere") == [deeper]
        assert mine.exists()
    assert sorted(tmp_path.glob("*")) == sorted([elsewhere, foreign, tmp_path / "living", tmp_path / "a"])
    assert remove_leftovers(tmp_path / "nowhere") == []


def test_a_living_writer_is_told_by_its_lock_whatever_process_ids_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two containers of one host name: neither sees the other's processes, and each calls itself process 1."""
    half = "import os, sys; os.getpid = lambda: int(sys.argv[2]); from pathlib import Path\n"
    half += "from avih.atomic import atomic_file\n"
    half += "with atomic_file(Path(sys.argv[1])) as file:\n"
    half += "    file.write_bytes(b'1'); print(flush=True); input()\n"
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    for pid in (dead.pid, 1):
        with subprocess.Popen(
            [sys.executable, "-c", half, str(tmp_path / "file"), str(pid)], cwd=ROOT, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as writer:  # fmt: skip
            assert writer.stdout is not None
            writer.stdout.readline()
            (left,) = tmp_path.iterdir()
            assert (
                f"-{pid}-" in left.name and maker_of(left) == "running" and remove_leftovers(tmp_path) == []
            )
            writer.kill()
        assert maker_of(left) == "ended" and remove_leftovers(tmp_path) == [left]
    earlier = tmp_path / left.name.replace(left.name[-15:], "01234567.part")
    earlier.write_bytes(b"1")
    assert maker_of(earlier) == "running"  # of an earlier release, judged by its process id


def test_a_killed_process_that_nobody_asked_about_yet_is_dead() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        assert runs_here(child.pid)
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and stays as a zombie
        assert not runs_here(child.pid)


def test_json_is_sorted_and_ends_with_a_newline(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": [1, None], "a": "é"})
    assert (tmp_path / "a.json").read_text() == '{\n  "a": "é",\n  "b": [\n    1,\n    null\n  ]\n}\n'
    for content in (float("nan"), {1, 2}):
        with pytest.raises(UsageError, match="plain JSON"):
            write_json(tmp_path / "b.json", content)
    assert not (tmp_path / "b.json").exists()
