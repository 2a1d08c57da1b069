"""The aligner against dots whose places are known by arithmetic, in place of a detector."""

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from aligned import only, refusal
from avih.align import TEMPLATES, AlignedFace, Aligner, Photo
from avih.errors import ImageRefused

COLOURS = np.array([(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (0, 255, 255)])

GREY = 60


def dotted(*, height: int, width: int, points: NDArray[np.float64], radius: float) -> Photo:
    """Draw one dot of each colour at points (x, y), with soft edges, so that its centre is exact."""
    photo = np.full((height, width, 3), GREY, dtype=np.uint8)
    for (x, y), colour in zip(points, COLOURS, strict=True):
        left, top = max(0, int(x - radius) - 2), max(0, int(y - radius) - 2)
        part = photo[top : int(y + radius) + 3, left : int(x + radius) + 3]
        rows, columns = np.mgrid[: part.shape[0], : part.shape[1]]
        inside = np.clip(radius + 0.5 - np.hypot(columns + left - x, rows + top - y), 0, 1)[..., None]
        part[:] = (part * (1 - inside) + colour * inside).round()
    return photo


def find_dots(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Find the centre (x, y) of each colour's dot: pixels weighted by how much they are of that colour."""
    y, x = np.nonzero(image.max(axis=2) > 155)
    difference = image[y, x][:, None].astype(float) - COLOURS
    weight = np.clip(1 - np.abs(difference).max(axis=2) / 100, 0, 1)
    assert (weight.sum(axis=0) > 0).all()
    return (weight.T @ np.stack([x, y], axis=1)) / weight.sum(axis=0)[:, None]


class DotDetector:
    """Stands in for MTCNN: takes lists of pictures of one size and returns object arrays, as it does."""

    def __init__(self, confidence: float = 0.99, fail_on: int = -1) -> None:
        self.confidence, self.fail_on = confidence, fail_on
        self.min_face_size = 20.0
        self.sizes: list[list[tuple[int, int]]] = []

    def detect(self, images: Sequence[Image.Image], *, landmarks: bool) -> tuple[object, object, object]:
        assert landmarks
        self.sizes.append([image.size for image in images])
        if len(set(self.sizes[-1])) > 1:
            raise ValueError("only equal sizes")
        boxes, points = [], []
        for image in images:
            pixels = np.asarray(image)
            if (pixels == self.fail_on).all(axis=2).any():
                raise RuntimeError("broken")
            found = find_dots(pixels)
            boxes.append(np.array([[*found.min(axis=0), *found.max(axis=0)]], dtype=object))
            points.append(found[None].astype(object))
        return np.array(boxes, dtype=object), [np.array([self.confidence])] * len(images), points


def with_dots(template: str = "112x96", **options: object) -> Aligner:
    aligner = Aligner(template=template)
    aligner._detector = DotDetector(**options)
    return aligner


@pytest.mark.parametrize("template", ["112x96", "112x112"])
@pytest.mark.parametrize(
    ("scale", "degrees", "size"),
    [
        (0.4, 0, (100, 90)),
        (1, 25, (300, 280)),
        (2.6, -40, (700, 640)),
        (9, 10, (1500, 2100)),
        (5, 100, (1100, 1100)),
    ],
)
def test_landmarks_land_on_the_template(
    template: str, scale: float, degrees: float, size: tuple[int, int]
) -> None:
    wanted = np.array(TEMPLATES[template].points)
    turn = np.deg2rad(degrees)
    centred = (wanted - wanted.mean(axis=0)) * scale
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    points = centred @ rotation.T + np.array(size)[::-1] / 2
    photo = dotted(height=size[0], width=size[1], points=points, radius=max(3 * scale, 2))
    aligner = with_dots(template)
    face = only(aligner, photo)
    assert face.pixels.shape == (112, int(template.split("x")[1]), 3)
    assert face.pixels.dtype == np.uint8
    error = np.abs(find_dots(face.pixels) - wanted).max()
    assert error < 0.35
    (seen,) = aligner._detector.sizes
    assert max(seen[0]) <= 1024 * 1.4 + 1


def test_the_warp_is_the_least_squares_similarity() -> None:
    """A face of another shape than the template: compare with the closed form in complex numbers."""
    wanted = np.array(TEMPLATES["112x96"].points)
    points = wanted * (1.3, 1.6) + 20 + np.array([(0, 0), (3, 0), (0, 5), (-4, 0), (0, 0)])
    face = only(with_dots(), dotted(height=220, width=200, points=points, radius=4))
    z, w = points @ (1, 1j), wanted @ (1, 1j)
    factor = np.vdot(z - z.mean(), w - w.mean()) / np.vdot(z - z.mean(), z - z.mean())
    expected = factor * (z - z.mean()) + w.mean()
    assert np.abs(find_dots(face.pixels) @ (1, 1j) - expected).max() < 0.5
    assert np.abs(expected - w).max() > 2  # the dots cannot all lie on the template


def test_a_strong_reduction_does_not_alias() -> None:
    wanted = np.array(TEMPLATES["112x96"].points)
    photo = dotted(height=1120, width=960, points=wanted * 10, radius=25)
    striped = photo.copy()
    background = (photo == GREY).all(axis=2)
    background[::2] = False
    striped[background] = 180  # every second row; the mean of both is 120
    pixels = only(with_dots(), striped).pixels[5:30, 5:90].astype(int)
    assert np.abs(pixels - 120).max() <= 2


def test_outside_the_photo_its_edge_is_repeated() -> None:
    points = np.array(TEMPLATES["112x96"].points) - (20, 40)
    photo = dotted(height=75, width=60, points=points, radius=3)
    photo[0] = (200, 10, 90)
    pixels = only(with_dots(), photo).pixels
    assert (np.abs(pixels[:38, 25:70].astype(int) - (200, 10, 90)) <= 1).all()


def test_too_small_and_too_uncertain_faces_are_refused() -> None:
    points = np.array(TEMPLATES["112x96"].points)
    small = dotted(height=90, width=90, points=points * 0.25 + 30, radius=1.2)
    assert refusal(with_dots(), small) == "face_too_small"
    fine = dotted(height=112, width=96, points=points, radius=3)
    assert refusal(with_dots(confidence=0.89), fine) == "low_confidence"
    assert only(with_dots(confidence=0.91), fine).confidence == pytest.approx(0.91)


def test_landmarks_in_one_place_are_refused() -> None:
    aligner = with_dots()
    aligner._detector.detect = lambda images, landmarks: (
        [np.ones((1, 4))],
        [np.ones(1)],
        [np.ones((1, 5, 2))],
    )
    assert refusal(aligner, np.zeros((64, 64, 3), np.uint8)) == "bad_landmarks"


def test_sizes_are_grouped_and_the_order_stays() -> None:
    points = np.array(TEMPLATES["112x96"].points)
    photos = [
        dotted(height=112 + 10 * (n % 3), width=96, points=points, radius=3) + np.uint8(n) for n in range(9)
    ]
    aligner = with_dots()
    aligner.batch_size = 2
    faces = aligner.align(photos)
    assert [face.pixels[0, 0, 0] - GREY for face in faces if isinstance(face, AlignedFace)] == list(range(9))
    assert [len(batch) for batch in aligner._detector.sizes] == [2, 1] * 3


def test_a_photo_that_breaks_the_detector_costs_only_itself() -> None:
    points = np.array(TEMPLATES["112x96"].points)
    photos = [dotted(height=112, width=96, points=points, radius=3) for _ in range(4)]
    photos[2][0, 0] = 7
    results = with_dots(fail_on=7).align(photos)
    assert [isinstance(result, AlignedFace) for result in results] == [True, True, False, True]
    assert isinstance(results[2], ImageRefused)
    assert results[2].reason == "detector_failed"
    assert "broken" not in results[2].detail


def test_memory_bounds_the_batch() -> None:
    batches = []

    def detect(images: list[Image.Image], landmarks: bool) -> tuple[object, object, object]:
        batches.append(len(images))
        return [None] * len(images), [[None]] * len(images), [None] * len(images)

    aligner = with_dots()
    aligner._detector.detect = detect
    aligner.align([np.zeros((1024, 1024, 3), np.uint8)] * 5)
    assert batches[:2] == [4, 1]


def test_where_the_first_margin_shows_no_face_others_are_tried() -> None:
    points = np.array(TEMPLATES["112x96"].points)
    photo = dotted(height=112, width=96, points=points, radius=3)
    aligner, seen = with_dots(), []
    find = aligner._detector.detect

    def detect(images: list[Image.Image], landmarks: bool) -> tuple[object, object, object]:
        seen.append(images[0].size)
        found = find(images, landmarks=landmarks)
        return found if images[0].size == photo.shape[1::-1] else ([None], [[None]], [None])

    aligner._detector.detect = detect
    assert np.abs(find_dots(only(aligner, photo).pixels) - points).max() < 0.35
    assert seen == [(96 + 2 * 22, 112 + 2 * 22), (96 + 2 * 45, 112 + 2 * 45), (96, 112)]
