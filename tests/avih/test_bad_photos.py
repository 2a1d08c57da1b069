"""Bad and odd files, each with the reason or the note that it must get; none may stop a run."""

import os
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from avih.datasets import Photo, Skipped, open_source
from avih.errors import ImageRefused
from avih.images import decode_photo, encode_png
from benchmarks.bad_inputs.pictures import (
    PHOTO,
    PIXELS,
    REFUSED,
    Odd,
    animation,
    encoded,
    odd_formats,
    rotated,
    transparent_palette,
)


@pytest.mark.parametrize(("data", "reason"), REFUSED.values(), ids=REFUSED.keys())
def test_a_bad_file_is_refused_with_its_reason(data, reason):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ImageRefused) as refused:
            decode_photo(data, name="photo.jpg")
    assert refused.value.reason == reason
    assert refused.value.detail.endswith(".")


NOTED = odd_formats(PHOTO) | {
    "1-bit": Odd("a.png", encoded("PNG", PHOTO.convert("1")), {"1_bit"}),
    "1-bit TIFF": Odd("a.tif", encoded("TIFF", PHOTO.convert("1"), compression="group4"), {"1_bit"}),
    "JPEG without ending": Odd("photo", encoded("JPEG")),
    "long strip": Odd("a.png", encoded("PNG", Image.new("RGB", (30_000, 20))), {"extreme_aspect_ratio"}),
}


@pytest.mark.parametrize("odd", NOTED.values(), ids=NOTED.keys())
def test_an_odd_photo_is_decoded_with_its_notes(odd):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        photo = decode_photo(odd.data, name=odd.name)
    assert set(photo.notes) == odd.notes
    assert photo.pixels.dtype == np.uint8
    assert photo.pixels.shape[2] == 3


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_the_first_frame_is_the_one_that_is_taken(kind):
    first = Image.new("RGB", (32, 32), (40, 0, 0))
    assert np.all(decode_photo(animation(kind, first)).pixels == [40, 0, 0])


def test_transparent_palette_shows_mid_grey_and_the_palette_s_colours():
    pixels = decode_photo(transparent_palette(Image.new("RGB", (32, 32), (250, 10, 10)))).pixels
    assert np.all(pixels[:16, :16] == 128)
    assert np.all(pixels[16:] == [250, 10, 10])


def test_a_photo_of_a_turned_camera_comes_back_upright():
    pixels = decode_photo(rotated(Image.linear_gradient("L").convert("RGB"))).pixels
    assert pixels[:8].mean() < 10 and pixels[-8:].mean() > 245  # dark above, bright below


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
