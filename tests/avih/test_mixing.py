"""The keyed mixing: exact both ways, derived as documented, and noise whatever the picture."""

import hashlib
import hmac

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import data
from skimage.transform import resize

from avih.errors import UsageError
from avih.mixing import Mixing, keystream, make_nonce

SECRET = bytes(range(32))
NONCE = "v0001/anna__1/00112233445566778899aabbccddeeff"
# What the lines below gave when the format was fixed: stored pictures depend on it.
PERMUTATION = [19, 39, 0, 30, 13, 47, 8, 36]
MIXED = "d74730f30880f1dd0194ca8f6c3f3275"
DIGEST = "bc676a253581da2cb840bb6610c69c7ed9ab85864c2dbc2d21ce800e571952d6"
SHAPES = st.tuples(st.integers(1, 12), st.integers(1, 12), st.just(3))


def photo() -> np.ndarray:
    face = resize(data.astronaut()[0:240, 120:340], (112, 96), anti_aliasing=True)
    return (face * 255).round().astype(np.uint8)


def derived(secret: bytes, label: str, length: int) -> bytes:
    """RFC 5869 by hand (one block), then ChaCha20 with block counter and nonce of zero."""
    extracted = hmac.new(bytes(32), secret, hashlib.sha256).digest()
    stream_key = hmac.new(extracted, b"avih mixing v1\0" + label.encode() + b"\x01", hashlib.sha256).digest()
    return Cipher(ChaCha20(stream_key, bytes(16)), mode=None).encryptor().update(bytes(length))


def picture_of(shape: tuple[int, ...], seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@given(
    shape=SHAPES,
    secret=st.binary(min_size=32, max_size=32),
    nonce=st.text(max_size=20),
    seed=st.integers(0, 99),
)
@settings(deadline=None, max_examples=60)
def test_mixing_is_exact_both_ways(shape: tuple[int, int, int], secret: bytes, nonce: str, seed: int) -> None:
    picture = picture_of(shape, seed)
    mixing = Mixing.draw(secret=secret, nonce=nonce, values=picture.size)
    assert np.array_equal(mixing.apply(mixing.invert(picture)), picture)
    assert np.array_equal(mixing.invert(mixing.apply(picture)), picture)
    assert sorted(mixing.permutation.tolist()) == list(range(picture.size))
    assert set(mixing.flips.tolist()) <= {0, 255}
    assert len(mixing.flips) == len(mixing.shifts) == picture.size


@given(secret=st.binary(min_size=32, max_size=32), label=st.text(max_size=30), length=st.integers(1, 300))
@settings(deadline=None, max_examples=40)
def test_the_stream_is_hkdf_and_chacha20(secret: bytes, label: str, length: int) -> None:
    assert keystream(secret=secret, label=label, length=length) == derived(secret, label, length)


def test_the_mixing_is_read_from_the_stream_value_by_value() -> None:
    values = 30  # no multiple of eight, so the flips' last byte is cut
    stream = derived(SECRET, NONCE, 8 * values + 4 + values)
    words = [int.from_bytes(stream[8 * i : 8 * i + 8], "little") for i in range(values)]
    order = sorted(range(values), key=words.__getitem__)
    flips = [(stream[240 + i // 8] >> (7 - i % 8)) & 1 for i in range(values)]
    stored = picture_of((2, 5, 3), 1)
    flat, expected = stored.reshape(-1).tolist(), [0] * values
    for i in range(values):
        expected[order[i]] = (flat[i] - stream[244 + i]) % 256
    expected = [255 - v if flip else v for v, flip in zip(expected, flips, strict=True)]
    mixed = Mixing.draw(secret=SECRET, nonce=NONCE, values=values).apply(stored)
    assert mixed.shape == stored.shape
    assert mixed.reshape(-1).tolist() == expected


def test_the_mixing_never_changes_from_release_to_release() -> None:
    mixing = Mixing.draw(secret=SECRET, nonce=NONCE, values=48)
    mixed = mixing.apply(np.arange(48, dtype=np.uint8).reshape(4, 4, 3))
    assert mixing.permutation[:8].tolist() == PERMUTATION
    assert mixed.tobytes()[:16].hex() == MIXED
    assert hashlib.sha256(mixed.tobytes()).hexdigest() == DIGEST


def test_about_half_is_turned_and_shifts_are_uniform() -> None:
    mixing = Mixing.draw(secret=SECRET, nonce=NONCE, values=112 * 96 * 3)
    assert abs((mixing.flips == 255).mean() - 0.5) < 0.015
    assert chi_square(mixing.shifts) < 400
    moved = np.corrcoef(mixing.permutation, np.arange(mixing.permutation.size))[0, 1]
    assert abs(moved) < 0.03


def chi_square(values: np.ndarray) -> float:
    """Against the uniform distribution: 255 degrees of freedom, so 255 +- 23; 400 is six sigma off."""
    counts = np.bincount(values.reshape(-1), minlength=256)
    expected = values.size / 256
    return float(((counts - expected) ** 2 / expected).sum())


@pytest.mark.parametrize("level", [0, 200, None])
def test_any_picture_becomes_uniform_noise(level: int | None) -> None:
    picture = photo() if level is None else np.full((112, 96, 3), level, np.uint8)
    mixing = Mixing.draw(secret=SECRET, nonce=NONCE, values=picture.size)
    for noise in (mixing.invert(picture), mixing.apply(picture)):
        assert chi_square(noise) < 400
        if picture.std() > 0:
            assert abs(np.corrcoef(noise.reshape(-1), picture.reshape(-1))[0, 1]) < 0.02
        assert abs(np.corrcoef(noise[:, 1:].reshape(-1), noise[:, :-1].reshape(-1))[0, 1]) < 0.03


def test_secret_and_nonce_decide_the_mixing() -> None:
    picture = photo()

    def stored(secret: bytes, nonce: str) -> np.ndarray:
        return Mixing.draw(secret=secret, nonce=nonce, values=picture.size).invert(picture)

    reference = stored(SECRET, NONCE)
    assert np.array_equal(reference, stored(SECRET, NONCE))
    one_bit = bytes([SECRET[0] ^ 1]) + SECRET[1:]
    for other in (stored(one_bit, NONCE), stored(SECRET, NONCE[:-1] + "0"), stored(SECRET, "")):
        assert abs(np.corrcoef(other.reshape(-1), reference.reshape(-1))[0, 1]) < 0.02
        assert (other == reference).mean() < 0.01


@pytest.mark.parametrize("length", [0, 8, 31, 33, 64])
def test_a_secret_of_another_length_is_refused_and_not_shown(length: int) -> None:
    secret = b"\x41" * length
    with pytest.raises(UsageError, match="32 bytes") as refused:
        Mixing.draw(secret=secret, nonce=NONCE, values=12)
    assert length == 0 or (secret.hex() not in str(refused.value) and "AAAA" not in str(refused.value))


@pytest.mark.parametrize("picture", [np.zeros((2, 2, 3), np.float32), np.zeros((2, 3, 3), np.uint8)])
def test_pictures_of_another_type_or_size_are_refused(picture: np.ndarray) -> None:
    mixing = Mixing.draw(secret=SECRET, nonce=NONCE, values=12)
    for way in (mixing.apply, mixing.invert):
        with pytest.raises(UsageError, match="uint8 picture of 12"):
            way(picture)


def test_a_view_with_strides_is_mixed_like_its_copy() -> None:
    picture = picture_of((8, 8, 3), 3)
    mixing = Mixing.draw(secret=SECRET, nonce=NONCE, values=96)
    view = picture[::2]
    assert np.array_equal(mixing.apply(view), mixing.apply(view.copy()))


def test_a_nonce_changes_with_everything_it_names() -> None:
    picture = photo()
    changed = picture.copy()
    changed[60, 40, 1] ^= 1  # one grey level
    parts = {"secret": SECRET, "version": "v0001", "image": "anna__1", "pixels": picture}
    first = make_nonce(**parts)
    assert make_nonce(**parts) == first
    others = [
        make_nonce(**(parts | change))
        for change in (
            {"secret": SECRET[::-1]},
            {"version": "v0002"},
            {"image": "anna__2"},
            {"pixels": changed},
            {"pixels": picture.reshape(96, 112, 3)},
        )
    ]
    assert len({first, *others}) == 6
    tags = {nonce.rsplit("/", 1)[1] for nonce in (first, *others)}
    assert len(tags) == 6
    assert all(len(tag) == 32 for tag in tags)
    assert first.startswith("v0001/anna__1/")


@given(shape=SHAPES, seed=st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=40)
def test_scatter_marks_exactly_what_invert_takes_from_marked_places(
    shape: tuple[int, ...], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    mixed, mask = picture_of(shape, seed), rng.random(shape) < 0.4
    mixing = Mixing.draw(secret=SECRET, nonce=str(seed), values=mixed.size)
    altered = np.where(mask, mixed ^ rng.integers(1, 256, shape, dtype=np.uint8), mixed)
    assert np.array_equal(mixing.invert(altered) != mixing.invert(mixed), mixing.scatter(mask))
