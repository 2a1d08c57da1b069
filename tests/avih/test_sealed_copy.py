"""The sealed copy: it opens whole under its own key, in its own place, or not at all."""

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from avih import sealed_copy
from avih.errors import IntegrityError, KeyRefused, UsageError
from avih.mixing import make_nonce
from avih.sealed_copy import TAG_BYTES, open_copy, seal_copy

SECRET = bytes(range(32))
SHAPE = (12, 10, 3)
IMAGE = "ada__ada_0001"


def picture(seed: int = 0, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def nonce_of(pixels: np.ndarray, *, image: str = IMAGE, version: str = "v0001") -> str:
    return make_nonce(secret=SECRET, version=version, image=image, pixels=pixels)


PICTURE = picture()
NONCE = nonce_of(PICTURE)
PLACE = {"secret": SECRET, "image": IMAGE, "nonce": NONCE}
BLOB = seal_copy(PICTURE, **PLACE)


def test_what_is_sealed_comes_back_exactly() -> None:
    back = open_copy(BLOB, **PLACE, shape=SHAPE)
    assert (back.shape, back.dtype) == (SHAPE, np.uint8)
    assert np.array_equal(back, PICTURE)
    back[0] = 0  # a picture of one's own, not a window on bytes
    strided = np.ascontiguousarray(PICTURE[:, ::-1])[:, ::-1]
    assert seal_copy(strided, **PLACE) == BLOB


def test_the_same_input_gives_the_same_bytes_and_the_length_tells_the_size_alone() -> None:
    assert seal_copy(PICTURE, **PLACE) == BLOB
    black = np.zeros(SHAPE, np.uint8)
    other = seal_copy(black, secret=SECRET, image=IMAGE, nonce=nonce_of(black))
    assert len(other) == len(BLOB) == PICTURE.size + TAG_BYTES
    assert PICTURE.tobytes()[:16] not in BLOB


@pytest.mark.parametrize(
    "change",
    [
        {"secret": bytes([1]) + SECRET[1:]},
        {"image": "ada__ada_0002"},
        {"nonce": nonce_of(PICTURE, version="v0002")},
        {"nonce": nonce_of(picture(1))},
        {"shape": (10, 12, 3)},
    ],
    ids=["secret", "image", "version", "another picture's nonce", "shape"],
)
def test_another_key_or_place_is_refused_and_told_what_to_do(change: dict[str, object]) -> None:
    with pytest.raises(KeyRefused, match=r"key is another one.*avih verify.*backup"):
        open_copy(BLOB, **(PLACE | {"shape": SHAPE} | change))


def test_every_flipped_byte_is_refused() -> None:
    for position in range(len(BLOB)):
        damaged = bytearray(BLOB)
        damaged[position] ^= 1
        with pytest.raises(KeyRefused, match=IMAGE):
            open_copy(bytes(damaged), **PLACE, shape=SHAPE)


@pytest.mark.parametrize("blob", [None, b"", BLOB[:-1], BLOB[:TAG_BYTES], BLOB + b"\0"])
def test_a_missing_or_truncated_copy_is_told_as_such(blob: bytes | None) -> None:
    with pytest.raises(
        IntegrityError, match=rf"copy of {PICTURE.size + 16} bytes.*protect the gallery again"
    ):
        open_copy(blob, **PLACE, shape=SHAPE)


def test_no_two_messages_share_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """GCM's nonce is always zero, so whatever differs must have another key."""
    used: list[tuple[bytes, bytes]] = []
    real = AESGCM.encrypt

    class Spy:
        def __init__(self, key: bytes) -> None:
            self.key = key

        def encrypt(self, nonce: bytes, data: bytes, place: bytes) -> bytes:
            assert nonce == bytes(12)
            used.append((self.key, data))
            return real(AESGCM(self.key), nonce, data, place)

    monkeypatch.setattr(sealed_copy, "AESGCM", Spy)
    wide = PICTURE.reshape(10, 12, 3)  # the same bytes in another shape
    for pixels in (PICTURE, picture(1), wide):
        for image in (IMAGE, "bert"):
            for version in ("v0001", "v0002"):
                for secret in (SECRET, bytes(32)):
                    nonce = make_nonce(secret=secret, version=version, image=image, pixels=pixels)
                    seal_copy(pixels, secret=secret, image=image, nonce=nonce)
    assert len({key for key, _ in used}) == len(used) == 24
    assert SECRET not in {key for key, _ in used}
    seal_copy(PICTURE, **PLACE)  # made again, it is the same message under the same key
    assert used[-1] in used[:-1]


def test_what_is_no_picture_or_no_secret_is_refused() -> None:
    for wrong in (PICTURE.astype(float), PICTURE[0], PICTURE[:, :, :2]):
        with pytest.raises(UsageError, match="picture"):
            seal_copy(wrong, **PLACE)
    with pytest.raises(UsageError, match="32 bytes, got 4"):
        seal_copy(PICTURE, **(PLACE | {"secret": b"seed"}))


def test_no_error_quotes_the_secret_or_the_picture() -> None:
    for blob in (BLOB[:-1], bytes(len(BLOB))):
        with pytest.raises((IntegrityError, KeyRefused)) as caught:
            open_copy(blob, **PLACE, shape=SHAPE)
        assert SECRET.hex() not in str(caught.value) and repr(SECRET)[2:-1] not in str(caught.value)
        assert caught.value.__cause__ is None
