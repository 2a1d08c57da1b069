"""Bad and odd picture files, made in memory: each kind with the reason or the notes that it must get."""

import io
import pickle
import struct
import zipfile
import zlib
from dataclasses import dataclass

import numpy as np
from PIL import Image

PIXELS = np.random.default_rng(2023).integers(0, 256, (48, 64, 3), dtype=np.uint8)
PHOTO = Image.fromarray(PIXELS)
EXIF_ORIENTATION = 0x0112


def encoded(kind: str, image: Image.Image = PHOTO, **options: object) -> bytes:
    """Return the bytes of a picture file of one of Pillow's formats."""
    target = io.BytesIO()
    image.save(target, format=kind, **options)
    return target.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, *, depth: int = 8, colour: int = 2, rows: bytes = b"") -> bytes:
    """Return a PNG with this header, whatever its rows are."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def bad_checksum(data: bytes, kind: bytes) -> bytes:
    at = data.index(kind) + 4 + int.from_bytes(data[data.index(kind) - 4 : data.index(kind)], "big")
    return data[:at] + bytes(4) + data[at + 4 :]


def zipped() -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("photo.jpg", encoded("JPEG"))
    return target.getvalue()


def floats(value: float) -> bytes:
    values = np.full((20, 20), 0.5, dtype=np.float32)
    values[3, 4] = value
    return encoded("TIFF", Image.fromarray(values))


def bomb_bmp() -> bytes:
    return b"BM" + struct.pack("<IIIIiiHH", 0, 0, 54, 40, 50_000, 50_000, 1, 24) + bytes(24)


def tile_bomb() -> bytes:
    """A TIFF of 64x64 whose only tile claims 60000x60000."""
    numbers = {256: 64, 257: 64, 258: 8, 259: 1, 262: 1, 277: 1, 322: 60_000, 323: 60_000, 324: 8, 325: 100}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in numbers.items())
    return b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(numbers)) + entries + bytes(104)


REFUSED: dict[str, tuple[bytes, str]] = {
    "no bytes": (b"", "empty"),
    "JPEG cut in the middle": (encoded("JPEG")[:1500], "truncated"),
    "JPEG cut in the header": (encoded("JPEG")[:30], "truncated"),
    "PNG cut in the middle": (encoded("PNG")[:3000], "truncated"),
    "PNG without its end": (encoded("PNG")[:-12], "truncated"),
    "WebP cut": (encoded("WEBP")[:-20], "truncated"),
    "GIF cut": (encoded("GIF")[:900], "truncated"),
    "TIFF cut": (encoded("TIFF")[:4000], "truncated"),
    "BMP cut": (encoded("BMP")[:4000], "truncated"),
    "PGM cut": (b"P5 64 48 255\n" + bytes(100), "truncated"),
    "JPEG 2000 cut": (encoded("JPEG2000")[:2000], "truncated"),
    "text": (b"this is not a photo\n" * 20, "not_an_image"),
    "web page": (b"<!DOCTYPE html><html><body>404</body></html>", "not_an_image"),
    "PDF": (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "not_an_image"),
    "zip": (zipped(), "not_an_image"),
    "pickle": (pickle.dumps({"pixels": [1, 2, 3]}), "not_an_image"),
    "zeros": (bytes(5000), "not_an_image"),
    "SVG": (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "unsupported_format"),
    "HEIC": (struct.pack(">I", 24) + b"ftypheic" + bytes(4) + b"mif1heic" + bytes(500), "unsupported_format"),
    "PostScript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 48\n", "unsupported_format"),
    "Photoshop": (b"8BPS\0\1" + bytes(200), "unsupported_format"),
    "32-bit whole numbers": (encoded("TIFF", Image.new("I", (32, 32), 70_000)), "unsupported_format"),
    # The rows are missing: had anything been decoded before the size was checked, it would read "truncated".
    "bomb: PNG header of 100000x100000": (png(100_000, 100_000), "too_large"),
    "bomb: PNG header of 9000x9000": (png(9_000, 9_000), "too_large"),
    "bomb: BMP header of 50000x50000": (bomb_bmp(), "too_large"),
    "bomb: TIFF with one huge tile": (tile_bomb(), "too_large"),
    "1x1": (encoded("PNG", Image.new("RGB", (1, 1))), "too_small"),
    "19 pixels high": (encoded("PNG", Image.new("RGB", (100, 19))), "too_small"),
    "a line of 1x20000": (encoded("PNG", Image.new("RGB", (20_000, 1))), "too_small"),
    "PNG of no width": (png(0, 64), "decode_error"),
    "PNG, bad CRC in the header": (bad_checksum(encoded("PNG"), b"IHDR"), "decode_error"),
    "PNG, bad CRC in the data": (bad_checksum(encoded("PNG"), b"IDAT"), "decode_error"),
    "PNG, rows missing": (png(64, 48, rows=bytes(100)), "truncated"),
    "NaN": (floats(np.nan), "bad_pixels"),
    "infinity": (floats(np.inf), "bad_pixels"),
    "negative floats": (floats(-1.0), "bad_pixels"),
    "floats above 255": (floats(4000.0), "bad_pixels"),
}


@dataclass(frozen=True)
class Odd:
    """A picture in an unusual file that must still be read, and the notes that it must get."""

    name: str
    data: bytes
    notes: frozenset[str] = frozenset()


def animation(kind: str, first: Image.Image) -> bytes:
    """Return a file of three frames, or pages, that begins with ``first``."""
    more = [Image.new("RGB", first.size, (shade, 0, 0)) for shade in (120, 200)]
    return encoded(kind, first, save_all=True, append_images=more, lossless=True)


def deep_rgb(photo: Image.Image) -> bytes:
    """Return a PNG of 16 bits per channel; Pillow cannot write one."""
    pixels = np.repeat(np.asarray(photo), 2, axis=2)  # v * 257 is the byte v twice
    return png(*photo.size, depth=16, rows=b"".join(b"\0" + row.tobytes() for row in pixels))


def transparent_palette(photo: Image.Image) -> bytes:
    """Return a palette PNG whose left upper corner is transparent."""
    image = photo.quantize(255)
    image.putpalette(((image.getpalette() or []) + [0] * 768)[:768])
    image.paste(255, (0, 0, 16, 16))
    return encoded("PNG", image, transparency=255)


def rotated(photo: Image.Image) -> bytes:
    """Return a photo as a turned camera stores it, with the orientation that turns it back."""
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = 6
    return encoded("JPEG", photo.transpose(Image.Transpose.ROTATE_90), exif=exif)


def broken_animation(photo: Image.Image) -> bytes:
    """A PNG that announces an animation of no frames: Pillow warns and shows the plain picture."""
    data = encoded("PNG", photo)
    return data[:33] + chunk(b"acTL", bytes(8)) + data[33:]


def odd_formats(photo: Image.Image) -> dict[str, Odd]:
    """Return ``photo`` (RGB) in every unusual way of storing that keeps what it shows."""
    gray = photo.convert("L")
    deep = Image.fromarray(np.asarray(gray).astype(np.uint16) * 257)
    unit = Image.fromarray(np.asarray(gray, dtype=np.float32) / 255)
    alpha = frozenset({"alpha_dropped"})
    return {
        "CMYK JPEG": Odd("a.jpg", encoded("JPEG", photo.convert("CMYK")), frozenset({"cmyk"})),
        "16-bit gray PNG": Odd("a.png", encoded("PNG", deep), frozenset({"16_bit", "grayscale"})),
        "16-bit RGB PNG": Odd("a.png", deep_rgb(photo), frozenset({"16_bit"})),
        "RGBA": Odd("a.png", encoded("PNG", photo.convert("RGBA")), alpha),
        "gray with alpha": Odd("a.png", encoded("PNG", gray.convert("LA")), alpha | {"grayscale"}),
        "palette": Odd("a.png", encoded("PNG", photo.quantize()), frozenset({"palette"})),
        "palette with transparency": Odd("a.png", transparent_palette(photo), alpha | {"palette"}),
        "gray JPEG": Odd("a.jpg", encoded("JPEG", gray), frozenset({"grayscale"})),
        "float TIFF": Odd("a.tif", encoded("TIFF", unit), frozenset({"float", "grayscale"})),
        "EXIF-rotated": Odd("a.JPG", rotated(photo), frozenset({"exif_rotated"})),
        "animated GIF": Odd("a.gif", animation("GIF", photo), frozenset({"palette", "first_frame_of_3"})),
        "animated PNG": Odd("a.png", animation("PNG", photo), frozenset({"first_frame_of_3"})),
        "animated WebP": Odd("a.webp", animation("WEBP", photo), frozenset({"first_frame_of_3"})),
        "TIFF of three pages": Odd("a.tiff", animation("TIFF", photo), frozenset({"first_frame_of_3"})),
        "PNG named jpg": Odd("a.jpg", encoded("PNG", photo), frozenset({"extension_jpg_is_png"})),
        "JPEG named PNG": Odd("a.b.PNG", encoded("JPEG", photo), frozenset({"extension_png_is_jpeg"})),
        "JPEG with junk after its end": Odd("a.jpeg", encoded("JPEG", photo) + b"junk" * 1000),
        "PNG with junk after its end": Odd("a.png", encoded("PNG", photo) + b"junk" * 1000),
        "PNG with a broken animation": Odd("a.png", broken_animation(photo)),
        "progressive JPEG": Odd("a.jpg", encoded("JPEG", photo, progressive=True)),
        "YCbCr TIFF": Odd("a.tif", encoded("TIFF", photo.convert("YCbCr"))),
    }
