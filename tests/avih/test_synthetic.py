"""The synthetic data set: reproducible, independent of the request, varied, resumable, and full of faces."""

from pathlib import Path

import numpy as np
import pytest
import torch
from facenet_pytorch import MTCNN
from PIL import Image

from avih.datasets.synthetic import SyntheticFaces
from avih.datasets.synthetic_basics import SKIN_TONES, Canvas, Shot, Traits, draw, noise, tone
from avih.datasets.synthetic_drawing import face_outline
from avih.errors import UsageError


def difference(first: np.ndarray, second: np.ndarray) -> float:
    """Mean absolute difference in levels of 0 to 255."""
    return float(np.abs(first.astype(float) - second.astype(float)).mean())


def test_photo_is_a_colour_picture_of_the_size_asked_for() -> None:
    photo = SyntheticFaces(size=96).photo(3, 1)
    assert photo.shape == (96, 96, 3)
    assert photo.dtype == np.uint8
    assert photo.std() > 10


def test_photo_has_the_same_bytes_whatever_else_was_drawn_before() -> None:
    alone = SyntheticFaces().photo(5, 2)
    faces = SyntheticFaces()
    faces.photo(4, 0)
    faces.photo(5, 1)
    np.testing.assert_array_equal(alone, faces.photo(5, 2))


def test_photo_does_not_depend_on_how_many_persons_the_set_has_or_where_it_begins() -> None:
    small = SyntheticFaces(persons=2, photos_per_person=1, first_person=1000)
    large = SyntheticFaces(persons=5000, photos_per_person=20, first_person=0)
    np.testing.assert_array_equal(small.photo(1001, 3), large.photo(1001, 3))


def test_photo_depends_on_the_seed() -> None:
    assert difference(SyntheticFaces(seed=1).photo(0, 0), SyntheticFaces(seed=2).photo(0, 0)) > 10


def test_photos_of_one_person_are_visibly_different_pictures() -> None:
    photos = [SyntheticFaces().photo(12, index) for index in range(4)]
    distances = [difference(a, b) for i, a in enumerate(photos) for b in photos[:i]]
    assert min(distances) > 15


def test_the_size_changes_the_resolution_and_not_the_picture() -> None:
    large = Image.fromarray(SyntheticFaces(size=320).photo(7, 0)).resize((160, 160), Image.Resampling.BOX)
    assert difference(np.asarray(large), SyntheticFaces(size=160).photo(7, 0)) < 12


def test_persons_of_gallery_and_training_are_different_people() -> None:
    numbers = [*range(64), *range(1000, 1600)]
    people = [draw(Traits, np.random.default_rng([2023, number])) for number in numbers]
    table = np.asarray([list(vars(person).values()) for person in people])
    spread = table.std(axis=0)
    scaled = (table[:64, None] - table[None, 64:]) / spread
    assert np.sqrt((scaled**2).mean(axis=-1)).min() > 0.5
    assert difference(SyntheticFaces().photo(0, 0), SyntheticFaces().photo(1000, 0)) > 10


@pytest.mark.parametrize("kind", [Traits, Shot])
def test_every_draw_is_within_its_span_and_reaches_most_of_it(kind: type) -> None:
    draws = [draw(kind, np.random.default_rng(seed)) for seed in range(200)]
    for name, field in kind.__dataclass_fields__.items():
        low, high = field.metadata["span"]
        values = [getattr(one, name) for one in draws]
        assert low <= min(values) < max(values) <= high
        assert max(values) - min(values) > 0.9 * (high - low)


def test_tone_hits_the_ends_and_the_middle_between_neighbours() -> None:
    np.testing.assert_allclose(tone(SKIN_TONES, 0.0), SKIN_TONES[0], rtol=1e-6)
    np.testing.assert_allclose(tone(SKIN_TONES, 1.0), SKIN_TONES[-1], rtol=1e-6)
    halfway = (np.asarray(SKIN_TONES[0]) + np.asarray(SKIN_TONES[1])) / 2
    np.testing.assert_allclose(tone(SKIN_TONES, 0.125), halfway, rtol=1e-6)


def test_noise_is_periodic_centred_and_of_unit_deviation() -> None:
    y, x = np.meshgrid(np.arange(256, dtype=np.float32), np.arange(256, dtype=np.float32), indexing="ij")
    values = noise(x, y)
    assert abs(values.mean()) < 0.05
    assert 0.9 < values.std() < 1.1
    np.testing.assert_array_equal(values, noise(x + 256, y - 256))


def test_a_disc_covers_its_area_with_a_soft_edge() -> None:
    axis = np.linspace(-1, 1, 201, dtype=np.float32)
    y, x = np.meshgrid(axis, axis, indexing="ij")
    canvas = Canvas(np.zeros((201, 201, 3), np.float32), x, y, np.ones_like(x), 0.01)
    canvas.paint(canvas.shape((x / 0.5) ** 2 + (y / 0.5) ** 2 - 1), np.ones(3, np.float32))
    assert canvas.image[..., 0].sum() * 0.01**2 == pytest.approx(np.pi * 0.25, rel=0.01)
    assert np.any((canvas.image > 0.2) & (canvas.image < 0.8))


def test_the_outline_passes_through_crown_cheeks_and_chin() -> None:
    person = draw(Traits, np.random.default_rng(0))
    x = np.asarray([0.0, person.face_width, -person.face_width, 0.0, 0.0], np.float32)
    y = np.asarray([-person.face_height, 0.15, 0.15, person.chin, 0.5], np.float32)
    np.testing.assert_allclose(face_outline(x, y, person)[:4], 0, atol=1e-5)
    assert face_outline(x, y, person)[4] < 0


@pytest.mark.parametrize(("person", "index"), [(-1, 0), (0, -1)])
def test_negative_numbers_are_refused(person: int, index: int) -> None:
    with pytest.raises(UsageError, match="at least 0"):
        SyntheticFaces().photo(person, index)


def test_write_lays_the_photos_out_as_lfw_does(tmp_path: Path) -> None:
    faces = SyntheticFaces(persons=2, photos_per_person=2, first_person=7, size=48)
    assert faces.write(tmp_path / "new") == 4
    found = sorted(
        p.relative_to(tmp_path / "new").as_posix() for p in (tmp_path / "new").rglob("*") if p.is_file()
    )
    assert found == [
        "person_0007/person_0007_0001.png",
        "person_0007/person_0007_0002.png",
        "person_0008/person_0008_0001.png",
        "person_0008/person_0008_0002.png",
    ]
    with Image.open(tmp_path / "new/person_0008/person_0008_0002.png") as stored:
        np.testing.assert_array_equal(np.asarray(stored), faces.photo(8, 1))


def test_write_keeps_what_exists_and_adds_what_is_missing(tmp_path: Path) -> None:
    faces = SyntheticFaces(persons=1, photos_per_person=3, size=48)
    faces.write(tmp_path)
    kept, gone = tmp_path / "person_0000/person_0000_0001.png", tmp_path / "person_0000/person_0000_0003.png"
    expected = gone.read_bytes()
    kept.write_bytes(b"somebody else's file")
    gone.unlink()
    assert faces.write(tmp_path) == 3
    assert kept.read_bytes() == b"somebody else's file"
    assert gone.read_bytes() == expected


def test_a_write_that_fails_leaves_no_file_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def half(self: Image.Image, target: Path, **_: object) -> None:
        Path(target).write_bytes(b"half a picture")
        raise OSError("No space left on device")

    monkeypatch.setattr(Image.Image, "save", half)
    with pytest.raises(OSError, match="No space left"):
        SyntheticFaces(persons=1, photos_per_person=1, size=48).write(tmp_path)
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_mtcnn_finds_a_face_in_nearly_every_photo() -> None:
    photos = [Image.fromarray(SyntheticFaces().photo(person, person % 8)) for person in range(64)]
    detector = MTCNN(keep_all=True, post_process=False)
    with torch.inference_mode():
        boxes, _ = detector.detect(photos)
    assert sum(box is not None for box in boxes) >= 0.95 * len(photos)
