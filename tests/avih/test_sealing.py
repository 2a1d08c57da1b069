"""Sealed bytes: the format, read and written by hand, and everything that is refused."""

import hashlib

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

from avih.errors import IntegrityError, KeyRefused, UsageError
from avih.keys import sealing
from avih.keys.passphrase import Passphrase
from avih.keys.sealing import ScryptCost, open_sealed, seal

CHEAP = ScryptCost(log2_n=14)
WORDS = Passphrase(b"quiet copper lantern")
CANARY = b"CANARY-7f3a-the-plain-text"


@pytest.fixture
def sealed():
    return seal(CANARY, passphrase=WORDS, context="test", cost=CHEAP)


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
    blob = seal(b"", passphrase=WORDS, context="", cost=ScryptCost())
    assert list(blob[9:12]) == [17, 8, 1]


def test_salt_and_nonce_are_fresh_each_time(sealed):
    again = seal(CANARY, passphrase=WORDS, context="test", cost=CHEAP)
    assert again[12:28] != sealed[12:28]
    assert again[28:40] != sealed[28:40]
    assert CANARY not in sealed


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
