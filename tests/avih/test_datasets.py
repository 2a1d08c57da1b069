"""Readers, and how a layout is recognised."""

import re

import numpy as np
import pytest

from avih.datasets import Photo, layouts, open_source
from avih.datasets.base import IMAGE_ENDINGS
from avih.datasets.cards import load_card
from avih.datasets.folders import SyntheticSource
from avih.errors import ImageRefused, UsageError
from avih.images import decode_photo, decode_png, encode_png
from real_data import REAL_DATA

PICTURE = encode_png(np.full((24, 24, 3), 90, dtype=np.uint8))


def fill(root, *paths, content=PICTURE):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
    return root


def opened(root, layout="auto"):
    source = open_source(source=str(root), layout=layout)
    return source, [(photo.path, photo.person) for photo in source.photos()]


def test_lfw_is_recognised_by_its_names(tmp_path):
    fill(
        tmp_path,
        "Kim_Dong-tae/Kim_Dong-tae_0002.jpg",
        "Kim_Dong-tae/Kim_Dong-tae_0001.jpg",
        "Abe/Abe_0001.png",
    )
    source, photos = opened(tmp_path)
    assert source.layout == "lfw"
    assert photos == [
        ("Abe/Abe_0001.png", "Abe"),
        ("Kim_Dong-tae/Kim_Dong-tae_0001.jpg", "Kim_Dong-tae"),
        ("Kim_Dong-tae/Kim_Dong-tae_0002.jpg", "Kim_Dong-tae"),
    ]


def test_a_stray_photo_makes_it_an_image_folder_with_the_same_persons(tmp_path):
    fill(tmp_path, "Abe/Abe_0001.png", "Abe/holiday.png")
    source, photos = opened(tmp_path)
    assert source.layout == "image_folder"
    assert photos == [("Abe/Abe_0001.png", "Abe"), ("Abe/holiday.png", "Abe")]


def test_a_photo_outside_the_layout_that_was_asked_for_is_skipped_not_lost(tmp_path):
    fill(tmp_path, "Abe/Abe_0001.png", "Abe/holiday.png", "Bea/Abe_0001.png", "Abe/x/Abe_0001.png")
    source, photos = opened(tmp_path, layout="lfw")
    assert photos == [("Abe/Abe_0001.png", "Abe")]
    assert [one.path for one in source.skipped()] == [
        "Abe/holiday.png",
        "Abe/x/Abe_0001.png",
        "Bea/Abe_0001.png",
    ]
    assert {one.reason for one in source.skipped()} == {"not_in_layout"}


def test_orl_is_recognised(tmp_path):
    fill(tmp_path, "s1/10.pgm", "s1/2.pgm", "s12/1.pgm", content=b"P5 24 24 255\n" + bytes(576))
    fill(tmp_path, "README", content=b"Our Database of Faces")
    source, photos = opened(tmp_path)
    assert source.layout == "orl"
    assert photos == [("s1/10.pgm", "s1"), ("s1/2.pgm", "s1"), ("s12/1.pgm", "s12")]
    assert source.ignored() == ("README",)


@pytest.mark.parametrize(
    ("pictures", "identities"),
    [("img_align_celeba", "."), ("Img/img_align_celeba", "Anno"), ("img_align_celeba/img_align_celeba", ".")],
)
def test_celeba_is_recognised_in_its_usual_places(tmp_path, pictures, identities):
    fill(tmp_path, *(f"{pictures}/{name}.jpg" for name in ("000001", "000002", "000003")), "sample.png")
    lines = b"000001.jpg 2880\n000002.jpg 2937\n000009.jpg 1\n\n"
    fill(tmp_path, f"{identities}/identity_CelebA.txt", content=lines)
    source, photos = opened(tmp_path)
    assert source.layout == "celeba"
    assert photos == [(f"{pictures}/000001.jpg", "2880"), (f"{pictures}/000002.jpg", "2937")]
    # One photo without a line, one that is not in CelebA's folder.
    assert [one.path for one in source.skipped()] == [f"{pictures}/000003.jpg", "sample.png"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"000001.jpg\n", "line 1"),
        (b"000001.jpg 1\n2 000002.jpg\n", "line 2"),
        (b"\xff\xfe\xff", "text file"),
    ],
)
def test_broken_celeba_identities_are_named_with_their_line(tmp_path, content, message):
    fill(tmp_path, "img_align_celeba/000001.jpg")
    fill(tmp_path, "identity_CelebA.txt", content=content)
    with pytest.raises(UsageError, match=message):
        open_source(source=str(tmp_path))


def test_celeba_without_identities_says_what_is_missing(tmp_path):
    fill(tmp_path, "img_align_celeba/000001.jpg")
    with pytest.raises(UsageError, match=r"Expected one identity_CelebA.txt .* got 0"):
        open_source(source=str(tmp_path), layout="celeba")
    assert opened(tmp_path, layout="coco")[1] == [("img_align_celeba/000001.jpg", "")]


def test_any_folder_is_read_with_the_first_folder_or_the_stem_as_person(tmp_path):
    fill(tmp_path, "Zoë Müller/2019/a b.JPG", "J. R. Smith/x.y.jpeg", "李雷/一.png", "Portrait of Ann.webp")
    source, photos = opened(tmp_path)
    assert source.layout == "image_folder"
    assert photos == [
        ("J. R. Smith/x.y.jpeg", "J. R. Smith"),
        ("Portrait of Ann.webp", "Portrait of Ann"),
        ("Zoë Müller/2019/a b.JPG", "Zoë Müller"),
        ("李雷/一.png", "李雷"),
    ]
    assert all(source.read(photo) == PICTURE for photo in source.photos())


def test_every_file_is_a_photo_or_skipped_or_ignored(tmp_path):
    fill(tmp_path, *(f"p/photo{ending}" for ending in IMAGE_ENDINGS))
    fill(tmp_path, "p/notes.txt", "p/.hidden.jpg", "p/Thumbs.db", ".DS_Store", "p/clip.mp4", "p/noending")
    fill(tmp_path, ".cache/a.png", "__MACOSX/._a.png")
    (tmp_path / "p" / "gone.png").symlink_to("nowhere")
    source, photos = opened(tmp_path)
    assert {path for path, _ in photos} == {f"p/photo{ending}" for ending in IMAGE_ENDINGS}
    assert [one.path for one in source.skipped()] == ["p/gone.png"]
    assert source.ignored() == (
        ".DS_Store",
        ".cache",
        "__MACOSX/._a.png",
        "p/.hidden.jpg",
        "p/Thumbs.db",
        "p/clip.mp4",
        "p/noending",
        "p/notes.txt",
    )


def test_a_folder_with_a_dot_in_its_name_is_a_person(tmp_path):
    fill(tmp_path, "anna.jpg/one.png")
    source, photos = opened(tmp_path)
    assert photos == [("anna.jpg/one.png", "anna.jpg")]
    assert source.skipped() == ()


def test_the_order_does_not_depend_on_the_order_of_writing(tmp_path):
    names = [f"{person}/{number}.png" for person in "bca" for number in (2, 10, 1)]
    first = opened(fill(tmp_path / "one", *names))[1]
    second = opened(fill(tmp_path / "two", *reversed(names)))[1]
    assert first == second == sorted(first)


def test_a_source_behind_a_link_is_read(tmp_path):
    fill(tmp_path / "real", "a/1.png")
    (tmp_path / "link").symlink_to("real")
    source, photos = opened(tmp_path / "link")
    assert photos == [("a/1.png", "a")]
    assert source.read(Photo("a/1.png", "a")) == PICTURE


def _nothing(root):
    return root / "nothing"


def _file(root):
    return fill(root, "a.png") / "a.png"


def _empty(root):
    return root


def _texts(root):
    return fill(root, "a.txt", "b.txt", "c.csv", content=b"")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_nothing, r"Expected a folder of photos .* got nothing"),
        (_file, r"Expected a folder of photos .* got a file"),
        (_empty, r"Expected photos \(.avif .* is empty"),
        (_texts, r"holds 3 other files \(2 with .txt, 1 with .csv\)"),
    ],
)
def test_a_source_without_photos_says_what_is_there(tmp_path, make, message):
    with pytest.raises(UsageError, match=message):
        open_source(source=str(make(tmp_path)))


def test_an_unknown_layout_lists_the_known_ones(tmp_path):
    with pytest.raises(UsageError, match=re.escape(", ".join(layouts()))):
        open_source(source=str(fill(tmp_path, "a.png")), layout="vggface")


def test_a_layout_that_does_not_fit_says_what_it_expects_and_what_came(tmp_path):
    fill(tmp_path, "ann/1.png")
    with pytest.raises(UsageError, match=r"Expected s1/1.pgm.*'ann/1.png' in 1 image files.*image_folder"):
        open_source(source=str(tmp_path), layout="orl")


def test_a_folder_of_links_out_says_so(tmp_path):
    (tmp_path / "a.png").symlink_to("/etc/passwd")
    with pytest.raises(UsageError, match=r"all 1 entries are skipped; the first is a.png \(outside_source\)"):
        open_source(source=str(tmp_path))


def test_the_synthetic_source_draws_the_picture_that_its_path_names():
    source = SyntheticSource(persons=2, photos_per_person=2, first_person=9999, size=40)
    photos = list(source.photos())
    assert [photo.path for photo in photos] == [
        "person_10000/person_10000_0001.png",
        "person_10000/person_10000_0002.png",
        "person_9999/person_9999_0001.png",
        "person_9999/person_9999_0002.png",
    ]
    assert photos[2].person == "person_9999"
    assert np.array_equal(decode_png(source.read(photos[3])), source.faces.photo(9999, 1))
    with pytest.raises(ImageRefused, match="no such photo"):
        source.read(Photo("person_9999/person_9999_0003.png", "person_9999"))


def test_the_word_synthetic_opens_the_drawn_data_set():
    source = open_source(source="synthetic")
    photos = list(source.photos())
    card = load_card("synthetic")
    assert (len(photos), len({photo.person for photo in photos})) == (card.photos, card.persons)
    assert (source.name, source.layout, source.skipped(), source.ignored()) == (
        "synthetic",
        "synthetic",
        (),
        (),
    )


@pytest.mark.parametrize(("source", "layout"), [("synthetic", "lfw"), (".", "synthetic")])
def test_synthetic_and_a_folder_s_layout_do_not_mix(source, layout):
    with pytest.raises(UsageError, match="do not go together"):
        open_source(source=source, layout=layout)


# Real photos, where they are.


def real(name):
    folder = REAL_DATA / "data" / name
    if not folder.is_dir():
        pytest.skip(f"needs the photos in {folder}; set AVIH_REAL_DATA")
    return open_source(source=str(folder))


@pytest.mark.parametrize(
    ("folder", "layout", "photos", "persons", "shape"),
    [("lfw-gray", "lfw", 1584, 592, (350, 350, 3)), ("orl", "orl", 400, 40, (112, 92, 3))],
)
def test_real_photos_are_recognised_counted_and_decoded(folder, layout, photos, persons, shape):
    source = real(folder)
    found = list(source.photos())
    assert source.layout == layout
    assert (len(found), len({photo.person for photo in found})) == (photos, persons)
    assert source.skipped() == ()
    assert source.ignored() == ()
    for photo in found[:: len(found) // 50]:
        decoded = decode_photo(source.read(photo), name=photo.path)
        assert decoded.pixels.shape == shape
        assert decoded.notes == ("grayscale",)
