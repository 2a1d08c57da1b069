"""Contact sheets are legible, lossless and private."""

import os
import stat
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from avih.errors import UsageError
from avih.evaluation import contact_sheet as sheets
from avih.evaluation.contact_sheet import contact_sheet, write_private_png


def pictures(count: int, *, seed: int = 0, height: int = 20, width: int = 16) -> list[np.ndarray]:
    generator = np.random.default_rng(seed)
    return [generator.integers(0, 256, size=(height, width, 3), dtype=np.uint8) for _ in range(count)]


def places(sheet: np.ndarray, picture: np.ndarray, *, scale: int) -> list[tuple[int, int]]:
    """Top left corners of all places where the enlarged picture stands unharmed."""
    large = picture.repeat(scale, axis=0).repeat(scale, axis=1)
    height, width = large.shape[:2]
    starts = np.argwhere((sheet == large[0, 0]).all(axis=2))
    return [
        (int(y), int(x)) for y, x in starts if np.array_equal(sheet[y : y + height, x : x + width], large)
    ]


@pytest.mark.parametrize("scale", [1, 2, 3])
@pytest.mark.parametrize("captions", [(), ("one", "two " * 40, "three")])
def test_a_sheet_holds_every_picture_once_in_its_row_and_column(
    scale: int, captions: tuple[str, ...]
) -> None:
    columns = [
        (name, pictures(3, seed=seed, height=50, width=44))
        for seed, name in enumerate(("original", "protected"))
    ]
    sheet = contact_sheet(columns, captions, scale=scale)
    assert sheet.dtype == np.uint8
    found = [[places(sheet, picture, scale=scale) for picture in column] for _, column in columns]
    assert all(len(place) == 1 for column in found for place in column)
    tops = [[place[0][0] for place in column] for column in found]
    lefts = [[place[0][1] for place in column] for column in found]
    assert tops[0] == tops[1] == sorted(tops[0])
    assert all(len(set(column)) == 1 for column in lefts)
    assert lefts[0][0] + 44 * scale < lefts[1][0]
    if not captions:
        between = sheet[tops[0][0] + 50 * scale : tops[0][1]]
        assert (between == 255).all()


def test_text_stays_inside_the_sheet_and_beside_the_pictures() -> None:
    long = "Anunbrokenwordthatismuchlongerthananycolumniswide and more"
    flat = [np.full((40, 40, 3), 255, np.uint8)] * 2  # white, so that all ink on the sheet is text
    sheet = contact_sheet([(long, flat), ("short", flat)], [long * 2, ""], scale=2)
    ink = (sheet < 128).any(axis=2)
    assert ink.any()
    edge = sheets.MARGIN - 2  # a letter may overhang by a pixel
    assert not ink[:edge].any()
    assert not ink[-edge:].any()
    assert not ink[:, :edge].any()
    assert not ink[:, -edge:].any()
    plain = contact_sheet([("", flat), ("", flat)], scale=2)
    assert not (plain < 128).any()


def test_pictures_of_other_sizes_are_centred_and_not_stretched() -> None:
    small, large = pictures(1, height=20, width=10)[0], pictures(1, seed=1, height=40, width=40)[0]
    sheet = contact_sheet([("a", [small]), ("b", [large])], scale=2)
    ((small_top, small_left),) = places(sheet, small, scale=2)
    ((large_top, large_left),) = places(sheet, large, scale=2)
    assert small_top - large_top == 20
    assert small_left == sheets.MARGIN + 30
    assert large_left == sheets.MARGIN + 80 + sheets.GAP


@pytest.mark.parametrize(
    ("columns", "options", "said"),
    [
        ([], {}, "no columns"),
        ([("a", [])], {}, r"got \[0\]"),
        ([("a", pictures(2)), ("b", pictures(1))], {}, "equally many"),
        ([("a", pictures(2)), ("a", pictures(1))], {}, "equally many"),
        ([("a", pictures(2))], {"captions": ["one"]}, "got 1 for 2 rows"),
        ([("a", pictures(2))], {"scale": 0}, "got 0"),
        ([("a", [np.zeros((4, 4))])], {}, "picture 0 of column 'a'"),
        ([("a", pictures(2))], {"scale": 2000}, "smaller scale"),
    ],
)
def test_sheets_that_cannot_be_drawn_say_why(columns, options, said: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UsageError, match=said):
        contact_sheet(columns, **options)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_private_png_is_private_from_its_first_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, (picture,) = tmp_path / "sheets" / "sheet.png", pictures(1)
    made: list[tuple[int, int]] = []
    real_open = os.open

    def watched(name, flags, file_mode=0o777, **rest):  # type: ignore[no-untyped-def]
        if flags & os.O_CREAT:
            made.append((flags & os.O_EXCL, file_mode))
        return real_open(name, flags, file_mode, **rest)

    monkeypatch.setattr(os, "open", watched)
    before = os.umask(0)
    try:
        write_private_png(path, picture)
    finally:
        os.umask(before)
    assert made == [(os.O_EXCL, 0o600)]
    assert (mode(path), mode(path.parent)) == (0o600, 0o700)
    with Image.open(path) as stored:
        assert np.array_equal(np.asarray(stored), picture)
        assert stored.info == {}


def test_a_new_sheet_replaces_the_old_one_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, third = pictures(3)
    path = tmp_path / "sheets" / "sheet.png"
    write_private_png(path, first)
    write_private_png(path, second)
    assert np.array_equal(np.asarray(Image.open(path)), second)

    def full(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        write_private_png(path, third)
    assert np.array_equal(np.asarray(Image.open(path)), second)
    assert [entry.name for entry in path.parent.iterdir()] == ["sheet.png"]


def test_a_shared_folder_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o755)
    (shared / "notes.txt").write_text("of somebody else")
    with pytest.raises(UsageError, match="chmod 700"):
        write_private_png(shared / "sheet.png", pictures(1)[0])
    assert mode(shared) == 0o755
    assert [entry.name for entry in shared.iterdir()] == ["notes.txt"]
    (shared / "notes.txt").unlink()
    write_private_png(shared / "sheet.png", pictures(1)[0])  # an empty one is nobody's yet
    assert mode(shared) == 0o700


def test_a_tile_is_even_grey_with_a_word_in_its_middle() -> None:
    like = np.zeros((112, 96, 3), np.uint8)
    drawn = sheets.tile("refused", like=like)
    assert (drawn.shape, drawn.dtype) == (like.shape, np.uint8)
    written = (drawn != np.array(sheets.GREY)).any(axis=2)
    rows, columns = np.nonzero(written)
    assert 45 < rows.min() < rows.max() < 67 and 10 < columns.min() < columns.max() < 86
    assert not np.array_equal(drawn, sheets.tile("another", like=like))


def test_sheets_are_lossless_pictures(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"ends in \.png, got sheet\.jpg"):
        write_private_png(tmp_path / "a" / "sheet.jpg", pictures(1)[0])
    with pytest.raises(UsageError, match="float64"):
        write_private_png(tmp_path / "a" / "sheet.png", pictures(1)[0] / 255)
    assert not (tmp_path / "a").exists()
