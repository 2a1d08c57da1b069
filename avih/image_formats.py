"""What Pillow leaves open: is a file whole, what is it if not a photo, how does any mode become RGB."""

import re
import struct
import zlib
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from avih.errors import ImageRefused

Pixels = NDArray[np.uint8]

MID_GREY = (128, 128, 128)  # behind transparency: neither a dark nor a bright edge for the face finder
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
MOST_SCANS = 500  # of a JPEG; cameras and optimisers write at most a few dozen
HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")

# Signatures of what decode_photo reads; Pillow looks closer.
_READABLE = (
    b"\xff\xd8\xff",
    PNG_SIGNATURE,
    b"GIF8",
    b"RIFF",
    b"BM",
    b"II*\0",
    b"MM\0*",
    b"\0\0\0\x0cjP  ",
    b"\xff\x4f\xff\x51",
)
# A JPEG's markers that have a length; inside picture data FF is followed by 00 or a restart marker.
_MARKER = re.compile(rb"\xff+[\x02-\xcf\xd9-\xfe]")
_OTHER_IMAGES = {
    b"8BPS": "a Photoshop file",
    b"%!PS": "PostScript",
    b"\0\0\1\0": "an icon",
    b"\xff\x0a": "JPEG XL",
    b"\0\0\0\x0cJXL ": "JPEG XL",
    b"DDS ": "a DirectDraw surface",
    b"gimp xcf": "a GIMP file",
    b"v/1\x01": "OpenEXR",
    b"#?RADIANCE": "Radiance HDR",
    b"FUJIFILM": "a camera's raw file",
}
_OTHER_FILES = {
    b"%PDF": "a PDF document",
    b"PK\x03\x04": "a zip archive",
    b"PK\x05\x06": "an empty zip archive",
    b"\x1f\x8b": "gzip data",
    b"7z\xbc\xaf": "a 7z archive",
    b"\x7fELF": "a program",
    b"MZ": "a program",
    b"<!DOCTYPE html": "a web page",
    b"<html": "a web page",
}


def png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield (type, body) of every chunk of a PNG up to IEND, after checking length and CRC-32 of each.

    Pillow accepts a PNG without its end and skips the checksums of picture data; a stored picture may not.

    Raises:
        ImageRefused: ``truncated`` or, for a wrong checksum of a critical chunk, ``decode_error``.
    """
    position, kind = len(PNG_SIGNATURE), b""
    while kind != b"IEND":
        head = data[position : position + 8]
        if len(head) < 8:
            raise ImageRefused(
                "truncated", "Expected a PNG that ends with IEND; the file stops before. Copy it again."
            )
        length, kind = int.from_bytes(head[:4], "big"), head[4:]
        body = data[position + 8 : position + 8 + length]
        checksum = data[position + 8 + length : position + 12 + length]
        if len(checksum) < 4:
            raise ImageRefused(
                "truncated", f"The PNG chunk {kind!r} runs past the end of the file. Copy it again."
            )
        # Lowercase first letter: an optional chunk, which is not used here.
        if kind[:1].isupper() and zlib.crc32(body, zlib.crc32(kind)) != int.from_bytes(checksum, "big"):
            raise ImageRefused("decode_error", f"Wrong checksum in PNG chunk {kind!r}: the file was altered.")
        yield kind, body
        position += 12 + length


def check_scans(data: bytes) -> None:
    """Count the scans of a JPEG, each of which costs a pass over all pixels; other formats pass.

    Raises:
        ImageRefused: ``decode_error``: so many that a small file would keep the decoder busy for hours.
    """
    position, scans = 2, 0
    while data[:3] == _READABLE[0] and (marker := _MARKER.search(data, position)):
        kind, after = marker[0][-1], marker.end()
        if kind == 0xD9:  # the end; what follows is no part of the picture
            return
        scans += kind == 0xDA
        if scans > MOST_SCANS:
            raise ImageRefused(
                "decode_error",
                f"Expected at most {MOST_SCANS} scans in a JPEG, got more: it was made to keep its reader busy.",
            )
        position = after + int.from_bytes(data[after : after + 2], "big")


def bits_per_channel(data: bytes, image: Image.Image) -> int:
    """Return the bits per channel that the file says it has; 8 where its format cannot say another thing."""
    if image.format == "PNG":
        return data[24]
    if image.format == "TIFF":
        bits = getattr(image, "tag_v2", {}).get(258, 8)
        return int(max(bits)) if isinstance(bits, tuple) else int(bits)
    if image.format == "PPM" and (
        header := re.match(rb"P[2356](?:\s+|#[^\n]*\n)+\d+\s+\d+\s+(\d+)", data[:512])
    ):
        return 16 if int(header[1]) > 255 else 8
    return 16 if image.mode.startswith("I") else 8


def largest_area(image: Image.Image) -> int:
    """Return the most pixels that decoding has to hold at once, from the header alone.

    A small TIFF may declare huge tiles, and each is held whole.
    """
    tags = getattr(image, "tag_v2", {})
    tile = int(tags.get(322, 0)) * int(tags.get(323, 0))
    return max(image.width * image.height, tile)


def is_cut(data: bytes) -> bool:
    """Say whether a file's own lengths reach past its end (WebP; boxes of AVIF, HEIF, JPEG 2000; TIFF)."""
    if data[:4] == b"RIFF" and len(data) >= 8:
        return len(data) < 8 + int.from_bytes(data[4:8], "little")
    if data[:4] in (b"II*\0", b"MM\0*") and len(data) >= 8:
        return struct.unpack("<I" if data[:2] == b"II" else ">I", data[4:8])[0] + 2 > len(data)
    if data[4:8] not in (b"ftyp", b"jP  "):
        return False
    position = 0
    while position + 8 <= len(data):
        length = int.from_bytes(data[position : position + 4], "big")
        if length < 8:  # 0: up to the end; 1: a 64-bit length, not in a photo that fits our bounds
            return False
        position += length
    return position != len(data)


def refusal(data: bytes, error: Exception) -> ImageRefused:
    """Turn whatever Pillow raised for these bytes into one of our short reasons, with a sentence."""
    if isinstance(error, Image.DecompressionBombError | MemoryError):
        return ImageRefused("too_large", "The picture is larger than fits in memory. Store it smaller.")
    message = re.sub(r"\s*<[^>]*>", "", str(error))  # without object addresses: the same words at every run
    if is_cut(data) or re.search(r"truncat|EOF|only got|buffer is not large enough", message, re.IGNORECASE):
        return ImageRefused("truncated", f"The file stops before its end ({message}). Copy it again.")
    if not isinstance(error, UnidentifiedImageError):
        return ImageRefused(
            "decode_error", f"The picture data is broken ({type(error).__name__}: {message})."
        )
    return _not_opened(data)


def _not_opened(data: bytes) -> ImageRefused:
    """Explain a file whose header no decoder accepted."""
    advice = "Convert it to PNG or JPEG, or leave it out."
    if data[4:8] == b"ftyp" and data[8:12] in HEIF_BRANDS:
        return ImageRefused("unsupported_format", f"The file is HEIC/HEIF, which is not read. {advice}")
    if data[4:12] == b"ftypavif":
        return ImageRefused(
            "unsupported_format", f"This AVIF file cannot be read by the installed Pillow. {advice}"
        )
    start = data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n")
    if start.startswith(b"<svg") or (start.startswith(b"<?xml") and b"<svg" in start):
        return ImageRefused("unsupported_format", f"The file is an SVG drawing, not a photo. {advice}")
    for signature, what in _OTHER_IMAGES.items():
        if data.startswith(signature):
            return ImageRefused("unsupported_format", f"The file is {what}, which is not read. {advice}")
    for signature, what in _OTHER_FILES.items():
        if start.startswith(signature):
            return ImageRefused("not_an_image", f"Expected a photo, got {what}. Leave it out.")
    if data.startswith(_READABLE):
        if len(data) < 1024 and not data.startswith(PNG_SIGNATURE):  # a PNG's chunks were counted before
            return ImageRefused("truncated", f"Only {len(data)} bytes of a picture are there. Copy it again.")
        return ImageRefused("decode_error", f"The picture's header is broken or of a rare kind. {advice}")
    return ImageRefused("not_an_image", "Expected a photo, got bytes of no known image format. Leave it out.")


def upright(pixels: Pixels, orientation: int) -> Pixels:
    """Undo an EXIF orientation (Exif 2.32, tag 0x0112)."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


def rgb_pixels(image: Image.Image, notes: list[str]) -> Pixels:
    """Convert any mode of Pillow to RGB; transparency goes over mid-grey."""
    mode = image.mode
    if mode in ("1", "L", "LA", "La", "F") or mode.startswith("I"):
        notes.append("1_bit" if mode == "1" else "grayscale")
    if mode.startswith("I"):
        return _gray_to_rgb(_from_integers(np.asarray(image), image))
    if mode == "F":
        notes.append("float")
        return _gray_to_rgb(_from_floats(np.asarray(image)))
    if mode == "CMYK":
        notes.append("cmyk")
    if mode in ("P", "PA"):
        notes.append("palette")
    if image.has_transparency_data:
        notes.append("alpha_dropped")
        layer = image.convert("RGBA")
        under = Image.new("RGB", layer.size, MID_GREY)
        under.paste(layer, mask=layer.getchannel("A"))
        return np.array(under)
    try:
        return np.array(image.convert("RGB"))
    except ValueError as error:
        raise ImageRefused(
            "unsupported_format", f"Colours of kind {mode} are not read. Convert it to RGB."
        ) from error


def _gray_to_rgb(gray: Pixels) -> Pixels:
    return np.repeat(gray[..., None], 3, axis=-1)


def _from_integers(values: NDArray[np.generic], image: Image.Image) -> Pixels:
    """Scale 16-bit gray to 8 bits, rounded: 65535 becomes 255."""
    if image.mode == "I" and image.format not in ("PNG", "PPM"):
        raise ImageRefused(
            "unsupported_format", "32-bit whole numbers have no known white. Convert it to 8 bits."
        )
    return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _from_floats(values: NDArray[np.float32]) -> Pixels:
    """Scale float gray in [0, 1], or take float gray in [0, 255] as it is."""
    if not np.isfinite(values).all():
        raise ImageRefused("bad_pixels", "The float picture holds NaN or infinity. Repair or leave it out.")
    low, high = float(values.min()), float(values.max())
    if low < 0 or high > 255:
        raise ImageRefused("bad_pixels", f"Expected floats in [0, 1] or [0, 255], got {low:g} to {high:g}.")
    return np.rint(values * 255 if high <= 1 else values).astype(np.uint8)
