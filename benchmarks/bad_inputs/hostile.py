"""Pictures that are made to break a decoder: small files that ask for much memory, time or trust."""

import io
import struct
import zlib
from collections.abc import Callable
from functools import cache

import numpy as np
from PIL import Image

from benchmarks.bad_inputs.pictures import PHOTO, chunk, encoded, odd_formats

TINY = Image.new("RGB", (64, 48), (90, 120, 150))
PIECE = bytes(2**20)


@cache
def squeezed(mebibytes: int) -> bytes:
    """Return zlib data of so many MiB of zeros."""
    packer = zlib.compressobj(1)
    return b"".join(packer.compress(PIECE) for _ in range(mebibytes)) + packer.flush()


def png_with(kind: bytes, body: bytes) -> bytes:
    """Return a sound PNG with one more chunk after its header."""
    data = encoded("PNG", TINY)
    return data[:33] + chunk(kind, body) + data[33:]


def endless_rows() -> bytes:
    """A PNG of 64x48 whose picture data go on for 300 MiB."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 64, 48, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", squeezed(300)) + chunk(b"IEND", b"")


def many_scans(count: int = 20_000) -> bytes:
    """A progressive JPEG that draws itself over and over; every scan costs a pass over all pixels."""
    data = encoded("JPEG", Image.new("RGB", (2000, 2000), (120, 120, 120)), progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:-2] + data[last:-2] * count + data[-2:]


def exif_circle() -> bytes:
    """A JPEG whose EXIF folder names itself as its next and as its sub-folder."""
    folder = (
        struct.pack("<H", 2) + struct.pack("<HHII", 0x8769, 4, 1, 8) + struct.pack("<HHII", 0x0112, 3, 1, 6)
    )
    return jpeg_with(b"Exif\0\0II*\0" + struct.pack("<I", 8) + folder + struct.pack("<I", 8))


def exif_count() -> bytes:
    """A JPEG whose EXIF orientation claims to have four billion values."""
    folder = struct.pack("<H", 1) + struct.pack("<HHII", 0x0112, 3, 2**32 - 1, 8)
    return jpeg_with(b"Exif\0\0II*\0" + struct.pack("<I", 8) + folder + bytes(4))


def jpeg_with(segment: bytes) -> bytes:
    """Return a sound JPEG with a first metadata segment of its own."""
    data = encoded("JPEG", TINY)
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + data[2:]


def tiff(entries: dict[int, int], *, following: int = 0, rest: bytes = b"") -> bytes:
    """Return a TIFF of these whole-number tags."""
    body = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(entries.items()))
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + body + struct.pack("<I", following) + rest


GRAY = {256: 64, 257: 64, 258: 8, 259: 1, 262: 1, 277: 1, 278: 64}


def jpeg_of(width: int, height: int) -> bytes:
    """Return a JPEG whose header claims another size."""
    data = bytearray(encoded("JPEG", TINY))
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack(">HH", height, width)
    return bytes(data)


def gif_of(width: int, height: int) -> bytes:
    """Return a GIF whose screen claims another size."""
    data = bytearray(encoded("GIF", TINY))
    data[6:10] = struct.pack("<HH", width, height)
    return bytes(data)


def many_frames(count: int = 50_000) -> bytes:
    """A GIF of so many frames of one pixel each."""
    data = encoded("GIF", TINY)
    frame = b"\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\0"
    return data[:-1] + frame * count + b";"


def webp_of(width: int, height: int) -> bytes:
    """Return a lossless WebP whose header claims another size."""
    bits = (width - 1) | (height - 1) << 14
    body = b"VP8L" + struct.pack("<I", 6) + b"\x2f" + struct.pack("<I", bits) + b"\0"
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def jp2_of(width: int, height: int) -> bytes:
    """Return a JPEG 2000 code stream whose header claims another size."""
    target = io.BytesIO()
    TINY.save(target, "JPEG2000", no_jp2=True)
    data = bytearray(target.getvalue())
    at = data.index(b"\xff\x51") + 6
    data[at : at + 8] = struct.pack(">II", width, height)
    return bytes(data)


def avif_cut_box() -> bytes:
    """An AVIF whose boxes claim lengths of their own."""
    data = bytearray(encoded("AVIF", TINY))
    at = data.index(b"iloc") - 4
    data[at : at + 4] = struct.pack(">I", 2**31)
    return bytes(data)


def apng(frames: int) -> bytes:
    """A PNG that announces so many frames."""
    return png_with(b"acTL", struct.pack(">II", frames, 0))


def one_line(side: int = 1_000_000) -> bytes:
    """A PNG of 20 rows that are a million pixels long; it is within the bound of pixels."""
    return encoded("PNG", Image.fromarray(np.zeros((20, side), np.uint8)))


# Name -> what makes it, and the reason it must get, or "read".
HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "PNG, 300 MiB of rows for 64x48": (endless_rows, "read|decode_error"),
    "PNG, colour profile that unpacks to 300 MiB": (
        lambda: png_with(b"iCCP", b"icc\0\0" + squeezed(300)),
        "read|decode_error",
    ),
    "PNG, text that unpacks to 300 MiB": (
        lambda: png_with(b"zTXt", b"note\0\0" + squeezed(300)),
        "read|decode_error",
    ),
    "PNG, colour profile of noise": (lambda: png_with(b"iCCP", b"icc\0\0noise"), "read"),
    "PNG, four billion frames": (lambda: apng(2**32 - 1), "read|decode_error"),
    "PNG, chunk longer than the file": (
        lambda: encoded("PNG", TINY)[:33] + struct.pack(">I", 2**31 - 1) + b"IDAT",
        "truncated",
    ),
    "PNG, a line of a million pixels": (one_line, "read"),
    "JPEG, 20,000 scans": (many_scans, "decode_error"),
    "JPEG, header of 65500x65500": (lambda: jpeg_of(65_500, 65_500), "too_large"),
    "JPEG, EXIF folder inside itself": (exif_circle, "read"),
    "JPEG, EXIF with four billion orientations": (exif_count, "read"),
    "JPEG, colour profile of noise": (lambda: encoded("JPEG", TINY, icc_profile=b"noise" * 99), "read"),
    "GIF, screen of 65535x65535": (lambda: gif_of(65_535, 65_535), "too_large"),
    "GIF, 50,000 frames": (many_frames, "read"),
    "WebP, header of 16383x16383": (lambda: webp_of(16_383, 16_383), "too_large"),
    "JPEG 2000, header of 2^31 pixels a side": (lambda: jp2_of(2**31 - 1, 2**31 - 1), "too_large|decode_error"),
    "AVIF, box longer than the file": (avif_cut_box, "truncated|decode_error|unsupported_format"),
    "TIFF, folder that comes after itself": (
        lambda: tiff({**GRAY, 273: 200, 279: 4096}, following=8, rest=bytes(5000)),
        "read",
    ),
    "TIFF, picture beyond the end of the file": (
        lambda: tiff({**GRAY, 273: 2**31, 279: 4096}),
        "truncated|decode_error",
    ),
    "TIFF, 60,000 rows of 60,000 pixels": (
        lambda: tiff({**GRAY, 256: 60_000, 257: 60_000, 273: 200, 279: 2**31}, rest=bytes(500)),
        "too_large",
    ),
    "PGM, sides of 19 digits": (
        lambda: b"P5 9999999999999999999 9999999999999999999 255\n",
        "too_large|decode_error",
    ),
    "PGM, white is 0": (lambda: b"P5 64 48 0\n" + bytes(3072), "decode_error"),
    "BMP, height below zero by 2^31": (
        lambda: b"BM" + struct.pack("<IIIIiiHH", 0, 0, 54, 40, 64, -(2**31), 1, 24) + bytes(24),
        "too_large|decode_error|truncated",
    ),
    "picture and program in one file": (lambda: encoded("JPEG", PHOTO) + b"MZ" + b"PK\x03\x04" * 50, "read"),
    "turned four ways at once": (lambda: odd_formats(PHOTO)["EXIF-rotated"].data, "read"),
}  # fmt: skip


def cut_everywhere() -> dict[str, bytes]:
    """Return a photo of every format, cut at each tenth of its length."""
    return {
        f"{kind.lower()}_{tenth}": data[: len(data) * tenth // 10]
        for kind in ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "PPM", "JPEG2000", "AVIF")
        for data in [encoded(kind, TINY if kind == "AVIF" else PHOTO)]
        for tenth in range(1, 10)
    }
