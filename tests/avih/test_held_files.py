"""Who made a file and lives is told by its lock, whatever process ids say."""

import os
from pathlib import Path

import pytest

from avih import held_files
from avih.held_files import let_go, make_held, nobody_holds
from avih.mirror.makers import Makers


def test_a_maker_lives_while_its_lock_is_held_and_a_child_of_it_is_another(tmp_path: Path) -> None:
    mine, others = Makers(tmp_path / "makers"), Makers(tmp_path / "makers")
    me, other = mine.me(), others.me()
    assert me == mine.me() != other and others.lives(me) and mine.lives(me)
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.write(writing, f"{mine.me()}".encode())
        os._exit(0)
    os.waitpid(child, 0)
    ended = os.read(reading, 100).decode()
    assert ended not in (me, other) and not others.lives(ended) and others.lives(me)
    (tmp_path / "makers" / me).unlink()
    assert not others.lives(me) and not others.lives("../makers/" + other)
    del others
    assert not mine.lives(other)
    assert Makers(tmp_path / "makers").me() and not (tmp_path / "makers" / ended).exists()


def test_makers_of_earlier_releases_and_of_disks_without_locks_are_told_by_process_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Makers(tmp_path).lives(os.getpid()) and Makers(tmp_path).lives(str(os.getpid()))
    assert not Makers(tmp_path).lives(2**22 + 1)

    def none(*_: object) -> None:
        raise OSError("no locks here")

    monkeypatch.setattr(held_files.fcntl, "flock", none)
    assert Makers(tmp_path / "makers").me() == str(os.getpid()) and not list((tmp_path / "makers").iterdir())
    with nobody_holds(tmp_path) as free:
        assert free is None


def test_a_file_that_somebody_looks_at_before_it_is_held_is_given_up(tmp_path: Path) -> None:
    path, real = tmp_path / "file", os.fchmod

    def looked_at(descriptor: int, mode: int) -> None:
        real(descriptor, mode)
        looking.enter(path)

    class Looking:
        def enter(self, what: Path) -> None:
            self.block = nobody_holds(what)
            assert self.block.__enter__() is True

    looking = Looking()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(held_files.os, "fchmod", looked_at)
        with pytest.raises(FileExistsError, match="before its lock was held"):
            make_held(path)
    looking.block.__exit__(None, None, None)
    assert not path.exists()
    descriptor, locked = make_held(path)
    assert locked and path.stat().st_mode & 0o777 == 0o600
    with nobody_holds(path) as free:
        assert free is False
    let_go(descriptor)
    with nobody_holds(path) as free:
        assert free is True
