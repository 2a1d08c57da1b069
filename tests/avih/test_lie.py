"""LIE: exact both ways, equal to a slow loop over blocks, and as weak as its facts say."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import data
from skimage.transform import resize

from avih.errors import UsageError
from avih.methods.lie import FACTS, BlockCipher
from avih.mixing import keystream

SECRET = bytes(range(32))
OTHER = bytes(range(1, 33))


def pictures_of(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def photo() -> np.ndarray:
    """A photograph of 64x64 pixels, as a batch of one."""
    return (resize(data.astronaut()[:256, 100:356], (64, 64), anti_aliasing=True) * 255).astype(np.uint8)[
        None
    ]


def slow_key(secret: bytes, block: int) -> tuple[list[int], list[bool]]:
    """Order and reversals as plain numbers, from the bytes of the keystream."""
    count = 6 * block * block
    stream = keystream(secret=secret, label=f"lie v1 block {block}", length=9 * count)
    words = [int.from_bytes(stream[8 * i : 8 * i + 8], "little") for i in range(count)]
    return sorted(range(count), key=lambda i: words[i]), [bool(b & 1) for b in stream[8 * count :]]


def slow_encrypt(picture: np.ndarray, secret: bytes, block: int) -> np.ndarray:
    """One picture, block by block, value by value."""
    order, reversed_ = slow_key(secret, block)
    result = np.zeros_like(picture)
    for top, left in product(range(0, picture.shape[0], block), range(0, picture.shape[1], block)):
        values = []
        for row, column in product(range(block), range(block)):
            pixel = [int(v) for v in picture[top + row, left + column]]
            values += [v // 16 for v in pixel] + [v % 16 for v in pixel]
        values = [15 - v if turn else v for v, turn in zip(values, reversed_, strict=True)]
        values = [values[place] for place in order]
        for number, (row, column) in enumerate(product(range(block), range(block))):
            upper, lower = values[6 * number : 6 * number + 3], values[6 * number + 3 : 6 * number + 6]
            result[top + row, left + column] = [16 * u + v for u, v in zip(upper, lower, strict=True)]
    return result


@given(
    batch=st.integers(1, 3),
    down=st.integers(1, 4),
    right=st.integers(1, 4),
    block=st.integers(1, 5),
    secret=st.binary(min_size=32, max_size=32),
    seed=st.integers(0, 99),
)
@settings(deadline=None, max_examples=60)
def test_encryption_is_exact_both_ways(
    batch: int, down: int, right: int, block: int, secret: bytes, seed: int
) -> None:
    pictures = pictures_of((batch, down * block, right * block, 3), seed)
    cipher = BlockCipher.draw(secret=secret, block=block)
    encrypted = cipher.encrypt(pictures)
    assert encrypted.dtype == np.uint8
    assert encrypted.shape == pictures.shape
    assert np.array_equal(cipher.decrypt(encrypted), pictures)
    assert np.array_equal(cipher.encrypt(cipher.decrypt(pictures)), pictures)


@pytest.mark.parametrize("block", [4, 2, 1])
def test_a_slow_loop_over_blocks_gives_the_same(block: int) -> None:
    pictures = pictures_of((2, 8, 12, 3))
    found = BlockCipher.draw(secret=SECRET, block=block).encrypt(pictures)
    for picture, encrypted in zip(pictures, found, strict=True):
        assert np.array_equal(slow_encrypt(picture, SECRET, block), encrypted)


def test_the_key_shuffles_and_reverses_about_half() -> None:
    cipher = BlockCipher.draw(secret=SECRET)
    assert sorted(cipher.order.tolist()) == list(range(96))
    assert set(cipher.reversals.tolist()) == {0, 15}
    assert 28 <= (cipher.reversals > 0).sum() <= 68  # 48 expected, 4 standard deviations either way
    assert (cipher.order == np.arange(96)).sum() <= 8  # one expected


def test_another_secret_gives_other_pixels_and_does_not_decrypt() -> None:
    pictures = photo()
    mine, theirs = BlockCipher.draw(secret=SECRET), BlockCipher.draw(secret=OTHER)
    encrypted = mine.encrypt(pictures)
    assert (theirs.encrypt(pictures) != encrypted).mean() > 0.9
    assert (theirs.decrypt(encrypted) != pictures).mean() > 0.9
    assert np.array_equal(BlockCipher.draw(secret=SECRET).encrypt(pictures), encrypted)


def test_the_key_is_not_printed() -> None:
    assert repr(BlockCipher.draw(secret=SECRET)) == "BlockCipher(block=4)"


def test_equal_blocks_stay_equal_in_all_pictures() -> None:
    pictures = pictures_of((2, 8, 8, 3))
    pictures[1, 4:8, 0:4] = pictures[0, 0:4, 4:8]
    encrypted = BlockCipher.draw(secret=SECRET).encrypt(pictures)
    assert np.array_equal(encrypted[1, 4:8, 0:4], encrypted[0, 0:4, 4:8])


def halves(pictures: np.ndarray) -> np.ndarray:
    """All 4x4 blocks as rows of 96 values of 4 bits, independently of the library's order of work."""
    rows = []
    for picture in pictures:
        for top, left in product(range(0, picture.shape[0], 4), range(0, picture.shape[1], 4)):
            cut = picture[top : top + 4, left : left + 4]
            rows.append(np.dstack([cut // 16, cut % 16]).reshape(-1))
    return np.array(rows)


def test_one_known_pair_gives_the_key_away() -> None:
    """What ``FACTS.cannot`` warns of: one photograph and its encrypted form decrypt every other picture."""
    known = photo()
    cipher = BlockCipher.draw(secret=SECRET)
    before, after = halves(known), halves(cipher.encrypt(known))
    order, reversals = [], []
    for place in range(96):
        same = (before == after[:, place : place + 1]).all(axis=0)
        turned = (before == 15 - after[:, place : place + 1]).all(axis=0)
        assert same.sum() + turned.sum() == 1  # one source alone fits
        order.append(int((same | turned).argmax()))
        reversals.append(15 * int(turned.any()))
    by_source = np.zeros(96, dtype=np.uint8)
    by_source[order] = reversals
    stolen = BlockCipher(order=np.array(order), reversals=by_source)
    secret_pictures = pictures_of((3, 16, 16, 3), seed=9)
    assert np.array_equal(stolen.decrypt(cipher.encrypt(secret_pictures)), secret_pictures)
    assert "one known pair" in FACTS.cannot


@pytest.mark.parametrize(
    ("pictures", "words"),
    [
        (np.zeros((1, 8, 8, 3)), "float64"),
        (np.zeros((8, 8, 3), np.uint8), r"\(batch, H, W, 3\)"),
        (np.zeros((1, 8, 8, 4), np.uint8), r"\(1, 8, 8, 4\)"),
        (np.zeros((0, 8, 8, 3), np.uint8), r"\(0, 8, 8, 3\)"),
        (np.zeros((1, 8, 10, 3), np.uint8), "multiples of 4, got 8x10"),
        (np.zeros((1, 9, 8, 3), np.uint8), "multiples of 4, got 9x8"),
    ],
)
def test_what_has_no_whole_blocks_is_refused(pictures: np.ndarray, words: str) -> None:
    cipher = BlockCipher.draw(secret=SECRET)
    for work in (cipher.encrypt, cipher.decrypt):
        with pytest.raises(UsageError, match=words):
            work(pictures)


def test_a_small_secret_or_no_block_is_refused() -> None:
    with pytest.raises(UsageError, match="32 bytes"):
        BlockCipher.draw(secret=b"7")
    with pytest.raises(UsageError, match="at least 1 pixel"):
        BlockCipher.draw(secret=SECRET, block=0)


def test_the_facts_say_that_it_is_weak_and_needs_a_new_model() -> None:
    assert FACTS.name == "lie"
    assert "one key serves all blocks" in FACTS.cannot
    assert "trained anew" in FACTS.cannot
