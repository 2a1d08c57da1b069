"""Read photos from anywhere without trusting them, and keep our own pictures as plain 8-bit RGB PNG."""

import io
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

import numpy as np
import torch
from PIL import Image, ImageFile

from avih.errors import ImageRefused, IntegrityError, UsageError
from avih.image_formats import (
    PNG_SIGNATURE,
    Pixels,
    bits_per_channel,
    check_scans,
    largest_area,
    png_chunks,
    refusal,
    rgb_pixels,
    upright,
)

MIN_SIDE = 20  # pixels; no aligner finds a face in less
MAX_PIXELS = 64_000_000
LONG_STRIP = 20  # sides' ratio from which a picture is noted as extreme
ORIENTATION_TAG = 0x0112

# Only these decoders run: others start programs (PostScript) or read rare formats with little tested code.
FORMAT_ENDINGS: dict[str, tuple[str, ...]] = {
    "JPEG": (".jpg", ".jpeg"),
    "PNG": (".png",),
    "GIF": (".gif",),
    "WEBP": (".webp",),
    "BMP": (".bmp",),
    "TIFF": (".tif", ".tiff"),
    "PPM": (".pgm", ".ppm"),
    "JPEG2000": (".jp2",),
    "AVIF": (".avif", ".heic"),
}
_QUIET = ("ignore", None, Warning, re.compile(r"PIL\."), 0)  # an entry of warnings.filters
_ENDINGS = {ending for endings in FORMAT_ENDINGS.values() for ending in endings}


@dataclass(frozen=True, eq=False)
class DecodedPhoto:
    """A photo as plain pixels, and what was done to get there.

    Shape:
        - pixels: ``(H, W, 3)`` uint8 RGB, H and W at least 20.

    ``notes`` holds short words, for instance ``exif_rotated``, ``first_frame_of_12``, ``alpha_dropped``,
    ``cmyk``, ``16_bit``, ``grayscale``, ``extension_jpg_is_png``.
    """

    pixels: Pixels
    notes: tuple[str, ...]


def decode_photo(data: bytes, *, name: str = "", max_pixels: int = MAX_PIXELS) -> DecodedPhoto:
    """Decode one photo from bytes that may be anything; the first frame, upright, as 8-bit RGB.

    Args:
        data: the file's content.
        name: the file's name; only its ending is used, for a note where it does not fit the content.
        max_pixels: width times height above which the header alone refuses the photo.

    Raises:
        ImageRefused: with the reason ``empty``, ``truncated``, ``not_an_image``, ``too_large``,
            ``too_small``, ``unsupported_format``, ``bad_pixels`` or ``decode_error``. Nothing else escapes.
    """
    if not data:
        raise ImageRefused("empty", "The file has no bytes. Copy it again or leave it out.")
    _prepare_pillow()
    try:
        if data.startswith(PNG_SIGNATURE):
            for _ in png_chunks(data):
                pass
        check_scans(data)
        with Image.open(io.BytesIO(data), formats=_formats()) as image:
            return _decode(data, image, name=name, max_pixels=max_pixels)
    except ImageRefused:
        raise
    except Exception as error:  # a decoder may raise anything at all
        raise refusal(data, error) from error


def _prepare_pillow() -> None:
    """Keep Pillow's warnings out of callers' way and its tolerance of cut files off.

    A filter that stays, because ``warnings.catch_warnings`` is not safe with several threads.
    """
    if not warnings.filters or tuple(warnings.filters[0]) != _QUIET:
        warnings.filterwarnings("ignore", category=Warning, module=_QUIET[3].pattern)
    ImageFile.LOAD_TRUNCATED_IMAGES = False  # another library may have switched it on: half a face in grey


def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in FORMAT_ENDINGS if name in Image.OPEN)  # AVIF is missing in some builds


def _decode(data: bytes, image: Image.Image, *, name: str, max_pixels: int) -> DecodedPhoto:
    """Turn an opened, not yet decoded image into pixels and notes."""
    width, height = image.size
    if largest_area(image) > max_pixels:
        raise ImageRefused(
            "too_large", f"Expected at most {max_pixels:,} pixels, got {width}x{height}. Store it smaller."
        )
    if min(width, height) < MIN_SIDE:
        raise ImageRefused(
            "too_small", f"Expected sides of at least {MIN_SIDE} pixels, got {width}x{height}."
        )
    notes = _format_notes(image, name)
    if bits_per_channel(data, image) == 16:
        notes.append("16_bit")
    if max(width, height) >= LONG_STRIP * min(width, height):
        notes.append("extreme_aspect_ratio")
    before = _orientation(image, notes)
    image.load()
    # Pillow turns a TIFF while loading and takes the tag away; other formats keep it and are turned here.
    after = _orientation(image, notes) if before else 0
    pixels = upright(rgb_pixels(image, notes), after)
    if before:
        notes.append("exif_rotated")
    frames = _frame_count(image)
    if frames > 1:
        notes.append(f"first_frame_of_{frames}")
    return DecodedPhoto(pixels=np.ascontiguousarray(pixels), notes=tuple(dict.fromkeys(notes)))


def _format_notes(image: Image.Image, name: str) -> list[str]:
    """Note an ending that promises another format than the content has."""
    kind = "JPEG" if image.format == "MPO" else str(image.format)  # MPO: a JPEG with a second picture
    ending = PurePath(name).suffix.lower()
    if ending in _ENDINGS and ending not in FORMAT_ENDINGS.get(kind, ()):
        return [f"extension_{ending[1:]}_is_{kind.lower()}"]
    return []


def _orientation(image: Image.Image, notes: list[str]) -> int:
    """Return the EXIF orientation 2 to 8, or 0 for upright or unreadable metadata."""
    try:
        value = image.getexif().get(ORIENTATION_TAG, 1)
    except Exception:  # broken metadata is no reason to lose the photo
        notes.append("exif_unreadable")
        return 0
    return int(value) if isinstance(value, int) and 2 <= value <= 8 else 0


def _frame_count(image: Image.Image) -> int:
    try:
        return int(getattr(image, "n_frames", 1))
    except Exception:  # later frames are not used, so they may be broken
        return 2


def encode_png(pixels: Pixels) -> bytes:
    """Encode pixels as 8-bit RGB PNG without metadata; same pixels, same bytes (per Pillow build).

    Shape:
        - pixels: ``(H, W, 3)`` uint8 RGB.

    Raises:
        UsageError: other dtype or shape.
    """
    _check_pixels(pixels, dimensions=3)
    target = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(target, format="PNG", compress_level=6)
    return target.getvalue()


def decode_png(data: bytes) -> Pixels:
    """Decode a picture that :func:`encode_png` stored; anything else is a damaged or foreign file.

    Shape:
        - result: ``(H, W, 3)`` uint8 RGB.

    Raises:
        IntegrityError: not an 8-bit RGB PNG without metadata, cut, altered, or with bytes after its end.
    """
    if not data.startswith(PNG_SIGNATURE):
        raise IntegrityError("Expected a stored PNG, got other bytes. Verify the shard and make it again.")
    try:
        chunks = list(png_chunks(data))
        kinds, header = {kind for kind, _ in chunks}, chunks[0][1]
        # Depth 8, colour type 2 (RGB), plain compression and filtering, not interlaced.
        plain = kinds == {b"IHDR", b"IDAT", b"IEND"} and header[8:] == bytes((8, 2, 0, 0, 0))
        large = int.from_bytes(header[:4], "big") * int.from_bytes(header[4:8], "big") > MAX_PIXELS
        end = len(PNG_SIGNATURE) + sum(12 + len(body) for _, body in chunks)
        if large or not plain or end != len(data):
            raise ImageRefused("unsupported_format", "Expected 8-bit RGB without metadata or trailing bytes.")
        _prepare_pillow()
        with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
            return np.array(image)
    except Exception as error:
        raise IntegrityError(
            f"A stored PNG is damaged: {error} Verify the shard and make it again."
        ) from error


def to_tensor(pixels: Pixels | Sequence[Pixels]) -> torch.Tensor:
    """Turn pictures of one size into a network's input.

    Shape:
        - pixels: ``(H, W, 3)`` or ``(batch, H, W, 3)`` uint8, or a sequence of ``(H, W, 3)``.
        - result: ``(batch, 3, H, W)`` float32 in [0, 1].

    Raises:
        UsageError: no picture, other dtype or shape, or pictures of several sizes.
    """
    if not isinstance(pixels, np.ndarray):
        sizes = sorted({np.shape(one) for one in pixels})
        if len(sizes) != 1:
            raise UsageError(
                f"Expected pictures of one size, got {sizes or 'none'}. Align or resize them first."
            )
        pixels = np.stack(list(pixels))
    batch = pixels[None] if pixels.ndim == 3 else pixels
    _check_pixels(batch, dimensions=4)
    return torch.from_numpy(np.array(batch.transpose(0, 3, 1, 2), dtype=np.float32, order="C")) / 255


def to_pixels(images: torch.Tensor) -> Pixels:
    """Turn a network's output into 8-bit pictures: clamped to [0, 1], then rounded, not cut off.

    Shape:
        - images: ``(batch, 3, H, W)`` float, nominally in [0, 1].
        - result: ``(batch, H, W, 3)`` uint8 RGB.

    Raises:
        UsageError: other shape, integers, or NaN.
    """
    if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
        raise UsageError(f"Expected float images (batch, 3, H, W), got {images.dtype} {tuple(images.shape)}.")
    values = images.detach().to(device="cpu", dtype=torch.float32)
    if bool(values.isnan().any()):
        raise UsageError("Expected images without NaN; a step before this one diverged. Lower its step size.")
    rounded = (values.clamp(0, 1) * 255).round().to(torch.uint8)
    return np.ascontiguousarray(rounded.permute(0, 2, 3, 1).numpy())


def _check_pixels(pixels: Pixels, *, dimensions: int) -> None:
    good = isinstance(pixels, np.ndarray) and pixels.dtype == np.uint8 and pixels.ndim == dimensions
    if not good or pixels.shape[-1] != 3 or pixels.size == 0:
        got = f"{getattr(pixels, 'dtype', type(pixels).__name__)} {getattr(pixels, 'shape', '')}"
        raise UsageError(f"Expected uint8 RGB pixels (H, W, 3), got {got}. Convert them first.")
