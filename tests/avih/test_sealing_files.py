"""Sealed files: private, whole or not there, and never over another."""

import os
import stat

import pytest

from avih.errors import UsageError
from avih.keys.passphrase import Passphrase
from avih.keys.sealing import ScryptCost, open_sealed, write_private, write_sealed

CHEAP = ScryptCost(log2_n=14)
WORDS = Passphrase(b"quiet copper lantern")
CANARY = b"CANARY-7f3a-the-plain-text"


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("umask", [0, 0o022, 0o777])
def test_files_and_folders_are_private_under_any_umask(tmp_path, umask):
    path = tmp_path / "keys" / "a.key"
    before = os.umask(umask)
    try:
        write_sealed(path, CANARY, passphrase=WORDS, context="test", cost=CHEAP)
    finally:
        os.umask(before)
    assert mode(path) == 0o600
    assert mode(path.parent) == 0o700
    assert [p.name for p in path.parent.iterdir()] == ["a.key"]
    assert open_sealed(path.read_bytes(), passphrase=WORDS, context="test") == CANARY


def test_the_temporary_file_is_private_from_its_first_moment(tmp_path, monkeypatch):
    opened = []

    def watching(path, flags, *arguments, **keywords):
        descriptor = original(path, flags, *arguments, **keywords)
        if flags & os.O_CREAT:
            opened.append((stat.S_IMODE(os.fstat(descriptor).st_mode), bool(flags & os.O_EXCL)))
        return descriptor

    original = os.open
    monkeypatch.setattr(os, "open", watching)
    before = os.umask(0)
    try:
        write_private(tmp_path / "keys" / "a", b"x")
    finally:
        os.umask(before)
    assert opened == [(0o600, True)]


def test_an_open_folder_is_tightened(tmp_path):
    folder = tmp_path / "keys"
    folder.mkdir()
    folder.chmod(0o755)
    write_private(folder / "a", b"x")
    assert mode(folder) == 0o700


def test_nothing_is_ever_overwritten(tmp_path):
    path = tmp_path / "keys" / "a.key"
    write_private(path, b"first")
    with pytest.raises(FileExistsError):
        write_sealed(path, b"second", passphrase=WORDS, context="", cost=CHEAP)
    assert path.read_bytes() == b"first"
    assert len(list(path.parent.iterdir())) == 1


def test_nothing_is_overwritten_where_there_are_no_hard_links(tmp_path, monkeypatch):
    def no_links(source, target):
        raise PermissionError("no hard links here")

    monkeypatch.setattr(os, "link", no_links)
    path = tmp_path / "keys" / "a.key"
    write_private(path, b"first")
    with pytest.raises(FileExistsError):
        write_private(path, b"second")
    assert path.read_bytes() == b"first"
    assert len(list(path.parent.iterdir())) == 1


def test_the_file_is_on_the_disk_before_its_name_and_the_name_before_the_return(tmp_path, monkeypatch):
    steps = []
    sync, link = os.fsync, os.link
    monkeypatch.setattr(
        os,
        "fsync",
        lambda fd: (steps.append("folder" if stat.S_ISDIR(os.fstat(fd).st_mode) else "file"), sync(fd)),
    )
    monkeypatch.setattr(os, "link", lambda *names: (steps.append("name"), link(*names)))
    write_private(tmp_path / "keys" / "a.key", b"x")
    assert steps == ["file", "name", "folder"]


def test_a_full_disk_leaves_no_file(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_private(tmp_path / "keys" / "a.key", b"x")
    assert list((tmp_path / "keys").iterdir()) == []


def test_a_file_in_place_of_the_folder_is_said(tmp_path):
    (tmp_path / "keys").write_text("in the way")
    with pytest.raises(UsageError, match="file in its way"):
        write_private(tmp_path / "keys" / "a.key", b"x")
