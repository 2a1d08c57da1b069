"""Pixels in, pixels out: exact conversions against hand-worked values; at worst bytes raise ImageRefused."""

import io

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from avih.errors import ImageRefused, IntegrityError, UsageError
from avih.images import decode_photo, decode_png, encode_png, to_pixels, to_tensor


def random_pixels(height=24, width=32, seed=2023):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def encoded(image, kind, **options):
    target = io.BytesIO()
    image.save(target, format=kind, **options)
    return target.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM"])
def test_a_lossless_photo_is_decoded_exactly(kind):
    pixels = random_pixels()
    photo = decode_photo(encoded(Image.fromarray(pixels), kind), name=f"a.{kind.lower()}")
    assert np.array_equal(photo.pixels, pixels)
    assert photo.pixels.flags.c_contiguous
    assert photo.notes == ()


# Where the stored top-left, top-right and bottom-left corner have to be shown, by the Exif standard's
# table: it says for each orientation what side the stored first row and first column are.
SHOWN_AT = {
    1: ("top left", "top right", "bottom left"),
    2: ("top right", "top left", "bottom right"),
    3: ("bottom right", "bottom left", "top right"),
    4: ("bottom left", "bottom right", "top left"),
    5: ("top left", "bottom left", "top right"),
    6: ("top right", "bottom right", "top left"),
    7: ("bottom right", "top right", "bottom left"),
    8: ("bottom left", "top left", "bottom right"),
}
PLACES = {"top left": (0, 0), "top right": (0, -1), "bottom left": (-1, 0), "bottom right": (-1, -1)}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_exif_orientation_puts_each_corner_where_the_standard_says(orientation, kind):
    stored = np.full((20, 30, 3), 128, dtype=np.uint8)
    stored[0, 0], stored[0, -1], stored[-1, 0] = 10, 60, 240
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if kind == "WEBP" else {}
    photo = decode_photo(encoded(Image.fromarray(stored), kind, exif=exif, **options))
    assert photo.pixels.shape == ((30, 20, 3) if orientation >= 5 else (20, 30, 3))
    shown = [int(photo.pixels[PLACES[place]][0]) for place in SHOWN_AT[orientation]]
    assert shown == [10, 60, 240]
    assert ("exif_rotated" in photo.notes) == (orientation != 1)


def test_broken_exif_does_not_lose_the_photo():
    data = encoded(
        Image.fromarray(random_pixels()), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\xff" * 40
    )
    assert decode_photo(data).pixels.shape == (24, 32, 3)


def test_16_bit_gray_is_scaled_with_rounding():
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    expected = np.array([round(int(v) * 255 / 65535) for v in range(65536)], dtype=np.uint8).reshape(256, 256)
    for kind in ("PNG", "TIFF"):
        photo = decode_photo(encoded(Image.fromarray(values), kind))
        assert np.array_equal(photo.pixels, np.repeat(expected[..., None], 3, axis=2))
        assert photo.notes == ("16_bit", "grayscale")


def test_16_bit_colour_is_scaled_not_clipped():
    values = np.random.default_rng(2024).integers(0, 65536, (20, 20, 3))
    photo = decode_photo(b"P6 20 20 65535\n" + values.astype(">u2").tobytes())
    assert np.abs(photo.pixels - values * 255 / 65535).max() <= 1
    assert photo.notes == ("16_bit",)


@pytest.mark.parametrize("top", [1.0, 255.0])
def test_float_gray_is_scaled_by_its_range(top):
    values = np.linspace(0, top, 400, dtype=np.float32).reshape(20, 20)
    photo = decode_photo(encoded(Image.fromarray(values), "TIFF"))
    assert np.array_equal(photo.pixels[..., 0], np.rint(values * (255 / top)).astype(np.uint8))
    assert photo.notes == ("grayscale", "float")


def test_transparency_is_laid_over_mid_grey():
    layer = np.zeros((20, 20, 4), dtype=np.uint8)
    layer[..., :3], layer[:10, :, 3], layer[10:15, :, 3] = 200, 255, 128
    photo = decode_photo(encoded(Image.fromarray(layer), "PNG"))
    assert np.all(photo.pixels[:10] == 200)
    # 128/255 of 200 over 127/255 of 128
    assert np.all(np.abs(photo.pixels[10:15].astype(int) - 164) <= 1)
    assert np.all(photo.pixels[15:] == 128)
    assert photo.notes == ("alpha_dropped",)


def test_cmyk_colours_come_out_right():
    # A saturated blue: cyan and magenta full, no yellow, no black.
    photo = decode_photo(encoded(Image.new("CMYK", (32, 32), (255, 255, 0, 0)), "JPEG", quality=95))
    assert np.all(np.abs(photo.pixels.astype(int) - [0, 0, 255]) <= 3)
    assert photo.notes == ("cmyk",)


def test_the_bound_on_pixels_is_inclusive_and_can_be_set():
    data = encode_png(random_pixels(30, 40))
    assert decode_photo(data, max_pixels=1200).pixels.shape == (30, 40, 3)
    with pytest.raises(ImageRefused, match="1,199 pixels, got 40x30") as refused:
        decode_photo(data, max_pixels=1199)
    assert refused.value.reason == "too_large"


@settings(max_examples=150, deadline=None)
@given(
    start=st.sampled_from(
        [b"", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"II*\0", b"P5 30 30 255\n", b"BM"]
    ),
    rest=st.binary(max_size=400),
)
def test_random_bytes_are_refused_or_decoded_but_never_raise_anything_else(start, rest):
    _decode_or_refuse(start + rest)


ORIGINALS = {
    kind: encoded(Image.fromarray(random_pixels()), kind)
    for kind in ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "JPEG2000")
}


@settings(max_examples=300, deadline=None)
@given(
    kind=st.sampled_from(sorted(ORIGINALS)),
    where=st.integers(0, 5000),
    value=st.integers(0, 255),
    cut=st.booleans(),
)
def test_a_photo_with_one_wrong_byte_or_a_missing_end_never_raises_anything_else(kind, where, value, cut):
    data = bytearray(ORIGINALS[kind])
    where %= len(data)
    data[where] = value
    _decode_or_refuse(bytes(data[: where + 1] if cut else data))


REASONS = (
    *("empty", "truncated", "not_an_image", "decode_error"),
    *("too_large", "too_small", "unsupported_format", "bad_pixels"),
)


def _decode_or_refuse(data):
    try:
        photo = decode_photo(data, max_pixels=1_000_000)
    except ImageRefused as refused:
        assert refused.reason in REASONS
        assert " object at 0x" not in refused.detail
    else:
        assert photo.pixels.dtype == np.uint8
        assert photo.pixels.ndim == 3
        assert min(photo.pixels.shape[:2]) >= 20


def test_png_round_trip_is_exact_and_repeatable():
    pixels = random_pixels(33, 21)
    data = encode_png(pixels)
    assert np.array_equal(decode_png(data), pixels)
    assert encode_png(np.asfortranarray(pixels)) == data
    # An independent reader sees the same picture, 8-bit RGB, without metadata.
    with Image.open(io.BytesIO(data)) as image:
        assert (image.format, image.mode, image.info) == ("PNG", "RGB", {})
        assert np.array_equal(np.asarray(image), pixels)


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((20, 20, 3)),
        np.zeros((20, 20), np.uint8),
        np.zeros((20, 20, 4), np.uint8),
        np.zeros((0, 20, 3), np.uint8),
        np.zeros((2, 20, 20, 3), np.uint8),
    ],
    ids=["float", "gray", "four channels", "no rows", "batch"],
)
def test_encode_png_takes_only_rgb_bytes(wrong):
    with pytest.raises(UsageError, match="Expected uint8 RGB pixels"):
        encode_png(wrong)


def _altered(data, position):
    return data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]


@pytest.mark.parametrize(
    "make",
    [
        lambda data: b"",
        lambda data: data[:-1],
        lambda data: data + b"\0",
        lambda data: _altered(data, data.index(b"IDAT") + 40),
        lambda data: _altered(data, 19),
        lambda data: encoded(Image.fromarray(random_pixels()), "JPEG"),
        lambda data: encoded(Image.fromarray(random_pixels()).convert("L"), "PNG"),
        lambda data: encoded(Image.fromarray(random_pixels()).convert("RGBA"), "PNG"),
        lambda data: encoded(Image.fromarray(random_pixels()).convert("P"), "PNG"),
        lambda data: encoded(Image.fromarray(random_pixels()), "PNG", dpi=(72, 72)),
    ],
    ids=["empty", "cut", "longer", "data", "size", "jpeg", "gray", "alpha", "palette", "metadata"],
)
def test_decode_png_takes_only_what_encode_png_wrote(make):
    with pytest.raises(IntegrityError, match="make it again"):
        decode_png(make(encode_png(random_pixels())))


def test_tensor_and_back_is_exact_for_every_value():
    every = np.arange(256, dtype=np.uint8).reshape(16, 16)
    pixels = np.stack([every, every.T, 255 - every], axis=-1)
    tensor = to_tensor(pixels)
    assert tensor.shape == (1, 3, 16, 16)
    assert tensor.dtype == torch.float32
    # channel 0, row 3, column 5 by hand: value 3 * 16 + 5 = 53
    assert float(tensor[0, 0, 3, 5]) == pytest.approx(53 / 255)
    assert np.array_equal(to_pixels(tensor)[0], pixels)


def test_to_tensor_takes_one_picture_a_batch_or_a_list():
    first, second = random_pixels(seed=2025), random_pixels(seed=2026)
    as_list, as_batch = to_tensor([first, second]), to_tensor(np.stack([first, second]))
    assert torch.equal(as_list, as_batch)
    assert torch.equal(as_list[1:], to_tensor(second))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ([], "got none"),
        ([random_pixels(20, 20), random_pixels(20, 21)], "one size"),
        (random_pixels().astype(np.float32), "uint8"),
        (np.zeros((20, 20), np.uint8), "uint8 RGB"),
    ],
)
def test_to_tensor_says_what_is_wrong(wrong, message):
    with pytest.raises(UsageError, match=message):
        to_tensor(wrong)


def test_to_pixels_rounds_and_clamps():
    values = torch.tensor([-0.5, 0.0, 0.4 / 255, 0.6 / 255, 254.4 / 255, 254.6 / 255, 1.0, 7.0, float("inf")])
    images = values.reshape(1, 1, 1, 9).expand(1, 3, 1, 9).requires_grad_()
    assert to_pixels(images)[0, 0, :, 0].tolist() == [0, 0, 0, 1, 254, 255, 255, 255, 255]


@pytest.mark.parametrize(
    "wrong",
    [torch.zeros(3, 4, 4), torch.zeros(1, 4, 4, 3), torch.zeros(1, 3, 4, 4, dtype=torch.uint8)],
    ids=["no batch", "channels last", "integers"],
)
def test_to_pixels_takes_only_float_batches(wrong):
    with pytest.raises(UsageError, match=r"\(batch, 3, H, W\)"):
        to_pixels(wrong)


def test_to_pixels_refuses_nan():
    with pytest.raises(UsageError, match="NaN"):
        to_pixels(torch.full((1, 3, 2, 2), float("nan")))
