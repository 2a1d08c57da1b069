"""A key: its name, its secret, its recipe, and the bytes that are sealed."""

import copy
import hashlib
import hmac
import pickle

import pytest

from avih.errors import IntegrityError, UsageError
from avih.keys.key import Secret, compute_key_id, new_secret, pack_key, unpack_key
from small_keys import SEED, make_key


def slow_hkdf(secret, info, length):
    """RFC 5869 written out, with an empty salt."""
    pseudo_random_key = hmac.new(bytes(32), secret, hashlib.sha256).digest()
    block, output = b"", b""
    for counter in range(1, 256):
        block = hmac.new(pseudo_random_key, block + info + bytes([counter]), hashlib.sha256).digest()
        output += block
    return output[:length]


def test_the_key_id_is_a_fixed_function_of_secret_and_generator():
    secret = Secret(bytes(range(32)))
    label = slow_hkdf(bytes(range(32)), b"avih key id v1", 32)
    expected = hashlib.sha256(label + hashlib.sha256(b"generator").digest()).hexdigest()[:16]
    assert compute_key_id(secret=secret, generator_bytes=b"generator") == expected == "9a5ffc4207c611ae"
    assert compute_key_id(secret=secret, generator_bytes=b"generatoR") != expected
    assert compute_key_id(secret=Secret(bytes(31) + b"\1"), generator_bytes=b"generator") != expected


@pytest.mark.parametrize("length", [16, 32, 100])
def test_a_subkey_is_hkdf_of_the_secret(length):
    key = make_key()
    assert key.subkey("mixing", length) == slow_hkdf(key.secret.reveal(), b"avih/mixing", length)
    assert key.subkey("mixing") != key.subkey("veil")


def test_every_key_has_its_own_secret():
    first, second = make_key(), make_key()
    third = new_secret(first)
    assert len({first.secret, second.secret, third.secret}) == 3
    assert len({first.key_id, second.key_id, third.key_id}) == 3
    assert third.generator_bytes == first.generator_bytes
    assert (third.recipe, third.training_seed) == (first.recipe, SEED)


@pytest.mark.parametrize("length", [0, 4, 31, 33])
def test_a_secret_has_32_bytes(length):
    with pytest.raises(UsageError, match=f"32 bytes, got {length}"):
        Secret(bytes(length))


@pytest.mark.parametrize("seed", [0, 1234, 2**32 - 1, -(2**40)])
def test_a_seed_that_can_be_guessed_is_refused(seed):
    with pytest.raises(UsageError, match=r"2\*\*32") as caught:
        make_key(training_seed=seed)
    assert str(seed) not in str(caught.value).replace("2**32", "") or seed == 0
    assert make_key(training_seed=None).training_seed is None


@pytest.mark.parametrize(
    "recipe",
    [
        {"training_seed": 5},
        {"seed": 5},
        {"Data-Seed": 5},
        {"secret": "x"},
        {"note": f"made with {SEED}"},
        {"number": SEED},
        {"loss": float("nan")},
        {"list": [1]},
        {3: "x"},
    ],
)
def test_a_recipe_holds_only_public_facts(recipe):
    with pytest.raises(UsageError) as caught:
        make_key(recipe=recipe)
    assert str(SEED) not in str(caught.value)


@pytest.mark.parametrize("spill", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_key_and_its_secret_stay_in_the_process(spill):
    key = make_key()
    for part in (key.secret, key) if spill is not copy.copy else (key.secret,):
        with pytest.raises(TypeError):
            spill(part)


def test_a_key_shows_its_name_only():
    key = make_key()
    assert repr(key) == str(key) == f"Key({key.key_id})"
    assert repr(key.secret) == "Secret(********)"


def test_the_payload_round_trip_and_a_damaged_payload():
    key = make_key()
    record = {"created": key.created.isoformat(), "recipe": key.recipe, "more": 1}
    payload = pack_key(key, record=record)
    assert unpack_key(payload) == (key, record)
    for damaged in (
        b"",
        payload[:3],
        payload[:50],
        payload.replace(b'"version": 1', b'"version": 2'),
        b"\0\0\0\2[]",
    ):
        with pytest.raises(IntegrityError) as caught:
            unpack_key(damaged)
        assert key.secret.reveal().hex() not in str(caught.value)
        assert caught.value.__suppress_context__
