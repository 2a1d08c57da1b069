"""Bad and odd files, each with the reason or the note that it must get; none may stop a run."""

import io
import os
import pickle
import struct
import tempfile
import warnings
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from avih.datasets import Photo, Skipped, open_source
from avih.errors import ImageRefused
from avih.images import decode_photo, encode_png

PIXELS = np.random.default_rng(2023).integers(0, 256, (48, 64, 3), dtype=np.uint8)
PHOTO = Image.fromarray(PIXELS)


def encoded(kind, image=PHOTO, **options):
    target = io.BytesIO()
    image.save(target, format=kind, **options)
    return target.getvalue()


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width, height, *, depth=8, colour=2, rows=b""):
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def bad_checksum(data, kind):
    at = data.index(kind) + 4 + int.from_bytes(data[data.index(kind) - 4 : data.index(kind)], "big")
    return data[:at] + bytes(4) + data[at + 4 :]


def animation(kind):
    frames = [Image.new("RGB", (32, 32), (shade, 0, 0)) for shade in (40, 120, 200)]
    return encoded(kind, frames[0], save_all=True, append_images=frames[1:], lossless=True)


def zipped():
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("photo.jpg", encoded("JPEG"))
    return target.getvalue()


def floats(value):
    values = np.full((20, 20), 0.5, dtype=np.float32)
    values[3, 4] = value
    return encoded("TIFF", Image.fromarray(values))


def bomb_bmp():
    return b"BM" + struct.pack("<IIIIiiHH", 0, 0, 54, 40, 50_000, 50_000, 1, 24) + bytes(24)


def tile_bomb():
    """A TIFF of 64x64 whose only tile claims 60000x60000."""
    numbers = {256: 64, 257: 64, 258: 8, 259: 1, 262: 1, 277: 1, 322: 60_000, 323: 60_000, 324: 8, 325: 100}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in numbers.items())
    return b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(numbers)) + entries + bytes(104)


REFUSED = {
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


@pytest.mark.parametrize(("data", "reason"), REFUSED.values(), ids=REFUSED.keys())
def test_a_bad_file_is_refused_with_its_reason(data, reason):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ImageRefused) as refused:
            decode_photo(data, name="photo.jpg")
    assert refused.value.reason == reason
    assert refused.value.detail.endswith(".")


def transparent_palette():
    image = Image.new("P", (32, 32), 1)
    image.putpalette([0, 0, 0, 250, 10, 10])
    image.paste(0, (0, 0, 16, 32))
    return encoded("PNG", image, transparency=0)


def rotated():
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded("JPEG", exif=exif)


def broken_animation():
    """A PNG that announces an animation of no frames: Pillow warns and shows the plain picture."""
    data = encoded("PNG")
    return data[:33] + chunk(b"acTL", bytes(8)) + data[33:]


gray = PHOTO.convert("L")
NOTED = {
    "CMYK JPEG": ("a.jpg", encoded("JPEG", PHOTO.convert("CMYK")), {"cmyk"}),
    "16-bit gray PNG": ("a.png", encoded("PNG", Image.new("I;16", (32, 32), 999)), {"16_bit", "grayscale"}),
    "16-bit RGB PNG": ("a.png", png(20, 20, depth=16, rows=(b"\0" + bytes(120)) * 20), {"16_bit"}),
    "RGBA": ("a.png", encoded("PNG", PHOTO.convert("RGBA")), {"alpha_dropped"}),
    "gray with alpha": ("a.png", encoded("PNG", gray.convert("LA")), {"grayscale", "alpha_dropped"}),
    "palette": ("a.png", encoded("PNG", PHOTO.convert("P")), {"palette"}),
    "palette with transparency": ("a.png", transparent_palette(), {"palette", "alpha_dropped"}),
    "gray JPEG": ("a.jpg", encoded("JPEG", gray), {"grayscale"}),
    "1-bit": ("a.png", encoded("PNG", PHOTO.convert("1")), {"1_bit"}),
    "1-bit TIFF": ("a.tif", encoded("TIFF", PHOTO.convert("1"), compression="group4"), {"1_bit"}),
    "float TIFF": ("a.tif", floats(1.0), {"float", "grayscale"}),
    "EXIF-rotated": ("a.JPG", rotated(), {"exif_rotated"}),
    "animated GIF": ("a.gif", animation("GIF"), {"palette", "first_frame_of_3"}),
    "animated PNG": ("a.png", animation("PNG"), {"first_frame_of_3"}),
    "animated WebP": ("a.webp", animation("WEBP"), {"first_frame_of_3"}),
    "TIFF of three pages": ("a.tiff", animation("TIFF"), {"first_frame_of_3"}),
    "PNG named .jpg": ("a.jpg", encoded("PNG"), {"extension_jpg_is_png"}),
    "JPEG named .PNG": ("a.b.PNG", encoded("JPEG"), {"extension_png_is_jpeg"}),
    "JPEG without ending": ("photo", encoded("JPEG"), set()),
    "JPEG with junk after its end": ("a.jpeg", encoded("JPEG") + b"junk" * 1000, set()),
    "PNG with junk after its end": ("a.png", encoded("PNG") + b"junk" * 1000, set()),
    "PNG with a broken animation": ("a.png", broken_animation(), set()),
    "progressive JPEG": ("a.jpg", encoded("JPEG", progressive=True), set()),
    "YCbCr TIFF": ("a.tif", encoded("TIFF", PHOTO.convert("YCbCr")), set()),
    "long strip": ("a.png", encoded("PNG", Image.new("RGB", (30_000, 20))), {"extreme_aspect_ratio"}),
}


@pytest.mark.parametrize(("name", "data", "notes"), NOTED.values(), ids=NOTED.keys())
def test_an_odd_photo_is_decoded_with_its_notes(name, data, notes):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        photo = decode_photo(data, name=name)
    assert set(photo.notes) == notes
    assert photo.pixels.dtype == np.uint8
    assert photo.pixels.shape[2] == 3


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_the_first_frame_is_the_one_that_is_taken(kind):
    assert np.all(decode_photo(animation(kind)).pixels == [40, 0, 0])


def test_transparent_palette_shows_mid_grey_and_the_palette_s_colour():
    pixels = decode_photo(transparent_palette()).pixels
    assert np.all(pixels[:, :16] == 128)
    assert np.all(pixels[:, 16:] == [250, 10, 10])


def test_a_cut_photo_is_refused_even_where_another_library_made_pillow_tolerant(monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.raises(ImageRefused, match="truncated"):
        decode_photo(encoded("JPEG")[:1500])


def test_no_external_program_is_started_for_postscript(monkeypatch):
    def forbidden(*args, **kwargs):
        raise AssertionError(f"started {args}")

    monkeypatch.setattr("subprocess.check_call", forbidden)
    with pytest.raises(ImageRefused, match="unsupported_format"):
        decode_photo(encoded("EPS"), name="a.png")


# What only shows in a folder: the reader's cases.


@pytest.fixture
def folder(tmp_path):
    """A source with one good photo, and beside it a file that nobody may reach."""
    (tmp_path / "secret.png").write_bytes(encode_png(PIXELS))
    root = tmp_path / "photos"
    (root / "Ann").mkdir(parents=True)
    (root / "Ann" / "good.png").write_bytes(encode_png(PIXELS))
    return root


def only_skipped(root):
    """Open the source, check that the good photo alone is offered, and return the one entry that is not."""
    source = open_source(source=str(root))
    assert [photo.path for photo in source.photos()] == ["Ann/good.png"]
    (skipped,) = source.skipped()
    assert isinstance(skipped, Skipped)
    return skipped


def reason_to_refuse(root, path):
    with pytest.raises(ImageRefused) as refused:
        open_source(source=str(root)).read(Photo(path=path, person="Ann"))
    return refused.value.reason


def test_a_folder_named_like_a_photo_is_skipped(folder):
    (folder / "Ann" / "x.jpg").mkdir()
    skipped = only_skipped(folder)
    assert (skipped.path, skipped.reason) == ("Ann/x.jpg", "not_a_file")
    assert reason_to_refuse(folder, "Ann/x.jpg") == "not_a_file"


@pytest.mark.parametrize("target", ["../../secret.png", "/dev/zero", "/etc/passwd"])
def test_a_link_out_of_the_source_is_skipped_and_never_read(folder, target):
    (folder / "Ann" / "x.jpg").symlink_to(target)
    skipped = only_skipped(folder)
    assert (skipped.path, skipped.reason) == ("Ann/x.jpg", "outside_source")
    assert reason_to_refuse(folder, "Ann/x.jpg") == "outside_source"


@pytest.mark.parametrize("target", ["nowhere.jpg", "x.jpg"], ids=["to nothing", "to itself"])
def test_a_link_that_leads_nowhere_is_skipped(folder, target):
    (folder / "Ann" / "x.jpg").symlink_to(target)
    skipped = only_skipped(folder)
    assert (skipped.path, skipped.reason) == ("Ann/x.jpg", "missing")


def test_a_link_inside_the_source_is_a_photo(folder):
    (folder / "Ann" / "same.png").symlink_to("good.png")
    source = open_source(source=str(folder))
    first, second = source.photos()
    assert source.read(first) == source.read(second)


def test_a_link_to_a_folder_is_not_followed(folder):
    (folder / "Ann" / "again").symlink_to(folder, target_is_directory=True)
    skipped = only_skipped(folder)
    assert (skipped.path, skipped.reason) == ("Ann/again", "link_to_folder")


def test_a_pipe_does_not_make_the_reader_wait(folder):
    os.mkfifo(folder / "Ann" / "x.jpg")
    skipped = only_skipped(folder)
    assert (skipped.path, skipped.reason) == ("Ann/x.jpg", "not_a_file")
    assert reason_to_refuse(folder, "Ann/x.jpg") == "not_a_file"


def test_a_photo_replaced_by_a_pipe_after_listing_is_refused(folder):
    source = open_source(source=str(folder))
    (photo,) = source.photos()
    (folder / photo.path).unlink()
    os.mkfifo(folder / photo.path)
    with pytest.raises(ImageRefused, match="not_a_file"):
        source.read(photo)


def test_a_photo_deleted_after_listing_is_refused(folder):
    source = open_source(source=str(folder))
    (photo,) = source.photos()
    (folder / photo.path).unlink()
    with pytest.raises(ImageRefused, match="missing"):
        source.read(photo)


@pytest.mark.parametrize("path", ["../secret.png", "Ann/../../secret.png", "/etc/passwd"])
def test_a_path_from_a_record_cannot_leave_the_source(folder, path):
    assert reason_to_refuse(folder, path) == "outside_source"


@pytest.mark.parametrize("path", ["a\0b.png", "Ann/" + "x" * 5000 + ".png"], ids=["zero byte", "too long"])
def test_an_impossible_path_is_refused(folder, path):
    assert reason_to_refuse(folder, path) == "missing"


def test_a_name_that_is_not_utf8_is_skipped_with_a_printable_path(folder):
    (folder / "Ann" / os.fsdecode(b"caf\xe9.jpg")).write_bytes(b"")
    skipped = only_skipped(folder)
    assert (skipped.path, skipped.reason) == ("Ann/caf\\udce9.jpg", "name_not_utf8")
    skipped.path.encode("utf-8")


def test_folders_without_end_are_not_entered(folder):
    deep = folder.joinpath(*["d"] * 40)
    deep.mkdir(parents=True)
    assert only_skipped(folder).reason == "too_deep"


def test_a_file_larger_than_any_photo_is_not_read(folder):
    with (folder / "Ann" / "huge.jpg").open("wb") as file:
        file.truncate(300 * 2**20)  # a hole: takes no space
    assert reason_to_refuse(folder, "Ann/huge.jpg") == "too_large"


@pytest.fixture
def closed_folder():
    """A source with a closed file and a closed folder; root gives up its right to read everything."""
    with tempfile.TemporaryDirectory() as temporary:  # pytest's own folders are closed to other users
        root = Path(temporary)
        for name in ("Ann", "closed folder"):
            (root / name).mkdir()
        for name in ("Ann/closed.png", "Ann/open.png"):
            (root / name).write_bytes(encode_png(PIXELS))
        for name, mode in (("", 0o755), ("Ann", 0o755), ("Ann/closed.png", 0), ("closed folder", 0)):
            (root / name).chmod(mode)
        user = os.geteuid()
        os.seteuid(user or 65534)
        yield root
        os.seteuid(user)
        (root / "closed folder").chmod(0o755)


def test_what_may_not_be_read_is_refused_with_its_reason(closed_folder):
    source = open_source(source=str(closed_folder))
    assert [(one.path, one.reason) for one in source.skipped()] == [("closed folder", "no_permission")]
    closed, readable = source.photos()
    assert source.read(readable) == encode_png(PIXELS)
    with pytest.raises(ImageRefused) as refused:
        source.read(closed)
    assert refused.value.reason == "no_permission"
