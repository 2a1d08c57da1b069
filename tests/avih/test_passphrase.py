"""The passphrase: where it comes from, what is refused, and that it shows nothing."""

import copy
import io
import json
import pickle
import sys

import pytest

from avih.errors import KeyRefused
from avih.keys import passphrase as passphrase_module
from avih.keys.passphrase import Passphrase, find_passphrase, forget_prompt, resolve_passphrase

WORDS = Passphrase(b"quiet copper lantern")


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
