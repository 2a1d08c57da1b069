import copy
import hashlib
import io
import json
import os
import pickle
import stat
import sys

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

from avih.errors import IntegrityError, KeyRefused, UsageError
from avih.keys import passphrase as passphrase_module
from avih.keys import sealing
from avih.keys.passphrase import Passphrase, find_passphrase, forget_prompt, resolve_passphrase
from avih.keys.sealing import ScryptCost, open_sealed, seal, write_private, write_sealed

CHEAP = ScryptCost(log2_n=14)
WORDS = Passphrase(b"quiet copper lantern")
CANARY = b"CANARY-7f3a-the-plain-text"


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def sealed():
    return seal(CANARY, passphrase=WORDS, context="test", cost=CHEAP)


@pytest.fixture
def no_passphrase(monkeypatch):
    monkeypatch.delenv("AVIH_PASSPHRASE", raising=False)
    monkeypatch.delenv("AVIH_KEY_FILE", raising=False)
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    forget_prompt()
    yield
    forget_prompt()


@pytest.fixture
def answers(no_passphrase, monkeypatch):
    """A terminal whose user types these answers in turn."""
    typed = []
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(passphrase_module.getpass, "getpass", lambda question: typed.pop(0))
    return typed


# -- the format ------------------------------------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(data=st.binary(max_size=300), context=st.text(max_size=20))
def test_what_was_sealed_opens(data, context):
    blob = seal(data, passphrase=WORDS, context=context, cost=CHEAP)
    assert open_sealed(blob, passphrase=WORDS, context=context) == data


def test_the_format_is_what_the_docstring_says(sealed):
    # Independent reader: offsets by hand, scrypt from hashlib.
    assert sealed[:9] == b"AVIHSEAL\x01"
    assert list(sealed[9:12]) == [14, 8, 1]
    assert int.from_bytes(sealed[40:48], "big") == len(CANARY)
    assert len(sealed) == 48 + len(CANARY) + 16
    key = hashlib.scrypt(WORDS.reveal(), salt=sealed[12:28], n=2**14, r=8, p=1, dklen=32)
    assert AESGCM(key).decrypt(sealed[28:40], sealed[48:], sealed[:48] + b"test") == CANARY


def test_a_file_written_from_the_docstring_opens():
    header = b"AVIHSEAL\x01" + bytes([15, 8, 2]) + b"s" * 16 + b"n" * 12 + (5).to_bytes(8, "big")
    key = hashlib.scrypt(WORDS.reveal(), salt=b"s" * 16, n=2**15, r=8, p=2, dklen=32, maxmem=2**27)
    blob = header + AESGCM(key).encrypt(b"n" * 12, b"hello", header + b"by hand")
    assert open_sealed(blob, passphrase=WORDS, context="by hand") == b"hello"


def test_the_default_cost_is_two_to_the_seventeen():
    blob = seal(b"", passphrase=WORDS, context="")
    assert list(blob[9:12]) == [17, 8, 1]


def test_salt_and_nonce_are_fresh_each_time(sealed):
    again = seal(CANARY, passphrase=WORDS, context="test", cost=CHEAP)
    assert again[12:28] != sealed[12:28]
    assert again[28:40] != sealed[28:40]
    assert CANARY not in sealed


# -- refusals --------------------------------------------------------------------------------------------


def test_a_wrong_passphrase_is_refused_and_the_text_says_it_may_be_either(sealed):
    with pytest.raises(
        KeyRefused, match=r"passphrase is wrong or the file was altered.*cannot tell"
    ) as caught:
        open_sealed(sealed, passphrase=Passphrase(b"quiet copper lanterN"), context="test", name="abc.key")
    assert "abc.key" in str(caught.value)
    assert "lanter" not in str(caught.value)


def test_another_context_is_refused(sealed):
    with pytest.raises(KeyRefused):
        open_sealed(sealed, passphrase=WORDS, context="tests")


@pytest.mark.parametrize("flip", [0x01, 0x80, 0xFF])
def test_every_flipped_byte_is_refused(sealed, flip):
    for position in range(len(sealed)):
        altered = bytearray(sealed)
        altered[position] ^= flip
        with pytest.raises((KeyRefused, IntegrityError)):
            open_sealed(bytes(altered), passphrase=WORDS, context="test")


def test_every_truncation_and_any_longer_file_is_damage_not_a_wrong_passphrase(sealed):
    for length in range(len(sealed)):
        with pytest.raises(IntegrityError):
            open_sealed(sealed[:length], passphrase=WORDS, context="test")
    with pytest.raises(IntegrityError, match=r"truncated or altered"):
        open_sealed(sealed + b"\0", passphrase=WORDS, context="test")


def test_a_newer_version_is_named(sealed):
    with pytest.raises(IntegrityError, match=r"format 2.*newer avih"):
        open_sealed(sealed[:8] + b"\x02" + sealed[9:], passphrase=WORDS, context="test")


def test_another_file_is_named():
    with pytest.raises(IntegrityError, match=r"AVIHSEAL"):
        open_sealed(b"\x89PNG\r\n\x1a\n" * 20, passphrase=WORDS, context="test")


@pytest.mark.parametrize(
    "parameters",
    [
        (13, 8, 1),
        (21, 8, 1),
        (255, 8, 1),
        (0, 8, 1),
        (17, 0, 1),
        (17, 7, 1),
        (17, 17, 1),
        (17, 8, 0),
        (17, 8, 5),
    ],
)
def test_absurd_parameters_are_refused_before_any_work(sealed, parameters, monkeypatch):
    def too_late(**kwargs):
        raise AssertionError("scrypt was about to run")

    monkeypatch.setattr(sealing, "Scrypt", too_late)
    with pytest.raises(IntegrityError, match=r"header .* was altered"):
        open_sealed(sealed[:9] + bytes(parameters) + sealed[12:], passphrase=WORDS, context="test")
    with pytest.raises(UsageError):
        ScryptCost(*parameters)


def test_the_derivation_runs_once_per_file_and_passphrase(sealed, monkeypatch):
    runs = []

    def counting(**kwargs):
        runs.append(kwargs["salt"])
        return original(**kwargs)

    original = sealing.Scrypt
    monkeypatch.setattr(sealing, "Scrypt", counting)
    sealing._file_key.cache_clear()
    for _ in range(3):
        open_sealed(sealed, passphrase=Passphrase(WORDS.reveal()), context="test")
    assert runs == [sealed[12:28]]
    with pytest.raises(KeyRefused):
        open_sealed(sealed, passphrase=Passphrase(b"another passphrase"), context="test")
    assert len(runs) == 2


def test_too_little_memory_is_said(sealed, monkeypatch):
    class Hungry:
        def __init__(self, **kwargs):
            pass

        def derive(self, secret):
            raise MemoryError

    monkeypatch.setattr(sealing, "Scrypt", Hungry)
    sealing._file_key.cache_clear()
    with pytest.raises(KeyRefused, match=r"16 MiB"):
        open_sealed(sealed, passphrase=WORDS, context="test")


def test_a_short_passphrase_opens_nothing_new():
    with pytest.raises(KeyRefused, match=r"at least 8 characters"):
        seal(b"data", passphrase=Passphrase(b"sieben7"), context="", cost=CHEAP)
    with pytest.raises(KeyRefused):  # characters count, not bytes
        seal(b"data", passphrase=Passphrase("äöüäöüä".encode()), context="", cost=CHEAP)


# -- files -----------------------------------------------------------------------------------------------


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


# -- the passphrase --------------------------------------------------------------------------------------


def test_a_passphrase_shows_nothing():
    shown = [repr(WORDS), str(WORDS), f"{WORDS}", repr([WORDS]), str([str(WORDS)])]
    assert set(shown[:3]) == {"Passphrase(********)"}
    assert not any("copper" in text for text in shown)
    assert not hasattr(WORDS, "__dict__")


@pytest.mark.parametrize(
    "spill", [pickle.dumps, copy.copy, copy.deepcopy, json.dumps, lambda p: p.__getstate__()]
)
def test_a_passphrase_cannot_leave_the_process(spill):
    with pytest.raises(TypeError) as caught:
        spill(WORDS)
    assert "copper" not in str(caught.value)


def test_passphrases_compare_by_content():
    first, second = Passphrase(b"one and the same"), Passphrase(b"one and the same")
    assert first == second
    assert hash(first) == hash(second)
    assert first != Passphrase(b"another")
    assert first != first.reveal()


def test_without_any_passphrase_the_three_ways_are_told(no_passphrase):
    with pytest.raises(KeyRefused) as caught:
        find_passphrase()
    for way in ("AVIH_PASSPHRASE", "AVIH_KEY_FILE", "prompt"):
        assert way in str(caught.value)


def test_the_environment_gives_the_passphrase_and_accents_are_composed(no_passphrase, monkeypatch):
    monkeypatch.setenv("AVIH_PASSPHRASE", "cafe\u0301 noir et fort")
    assert find_passphrase(confirm=True).reveal() == "caf\u00e9 noir et fort".encode()


def test_two_sources_at_once_are_refused(no_passphrase, monkeypatch, tmp_path):
    monkeypatch.setenv("AVIH_PASSPHRASE", "quiet copper lantern")
    monkeypatch.setenv("AVIH_KEY_FILE", str(tmp_path / "file"))
    with pytest.raises(KeyRefused, match="got both") as caught:
        find_passphrase()
    assert "copper" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"quiet copper lantern", b"quiet copper lantern"),
        (b"quiet copper lantern\n", b"quiet copper lantern"),
        (b"quiet copper lantern\r\n", b"quiet copper lantern"),
        (b"quiet copper lantern\n\n", b"quiet copper lantern\n"),
        (bytes(range(128, 160)), bytes(range(128, 160))),
    ],
)
def test_a_key_file_gives_its_bytes_less_one_newline(no_passphrase, monkeypatch, tmp_path, content, expected):
    file = tmp_path / "pass"
    file.write_bytes(content)
    file.chmod(0o600)
    monkeypatch.setenv("AVIH_KEY_FILE", str(file))
    assert find_passphrase(confirm=True).reveal() == expected


@pytest.mark.parametrize("bits", [0o640, 0o604, 0o620, 0o644])
def test_a_key_file_that_others_can_reach_is_refused(no_passphrase, monkeypatch, tmp_path, bits):
    file = tmp_path / "pass"
    file.write_bytes(b"quiet copper lantern")
    file.chmod(bits)
    monkeypatch.setenv("AVIH_KEY_FILE", str(file))
    with pytest.raises(KeyRefused, match=f"chmod 600 {file}"):
        find_passphrase()


@pytest.mark.parametrize("content", [b"", b"\n", b"x" * (64 * 1024 + 1), None])
def test_an_unusable_key_file_is_refused(no_passphrase, monkeypatch, tmp_path, content):
    file = tmp_path / "pass"
    if content is not None:
        file.write_bytes(content)
        file.chmod(0o600)
    monkeypatch.setenv("AVIH_KEY_FILE", str(file))
    with pytest.raises(KeyRefused, match=r"key file|readable file"):
        find_passphrase()


def test_a_short_passphrase_may_open_but_not_create(no_passphrase, monkeypatch):
    monkeypatch.setenv("AVIH_PASSPHRASE", "seven 7")
    assert find_passphrase().reveal() == b"seven 7"
    with pytest.raises(KeyRefused, match="at least 8 characters to seal a key, got 7"):
        find_passphrase(confirm=True)


def test_the_prompt_asks_once_and_remembers(answers):
    answers += ["quiet copper lantern"]
    assert find_passphrase() == WORDS
    assert find_passphrase() == WORDS  # a second question would find no answer
    forget_prompt()
    answers += ["another passphrase"]
    assert find_passphrase() == Passphrase(b"another passphrase")


def test_a_new_passphrase_is_typed_twice(answers):
    answers += ["quiet copper lantern", "quiet copper lantern"]
    assert find_passphrase(confirm=True) == WORDS
    assert find_passphrase(confirm=True) == WORDS
    assert answers == []


def test_two_different_answers_are_refused_and_not_remembered(answers):
    answers += ["quiet copper lantern", "quiet copper lanterm"]
    with pytest.raises(KeyRefused, match="twice"):
        find_passphrase(confirm=True)
    answers += ["the second attempt", "the second attempt"]
    assert find_passphrase(confirm=True) == Passphrase(b"the second attempt")


def test_an_empty_answer_is_refused(answers):
    answers += [""]
    with pytest.raises(KeyRefused, match="empty answer"):
        find_passphrase()


def test_a_given_passphrase_or_function_is_used_before_any_search(no_passphrase):
    assert resolve_passphrase(WORDS) == WORDS
    assert resolve_passphrase(lambda: WORDS) == WORDS
    with pytest.raises(KeyRefused):
        resolve_passphrase(None)
