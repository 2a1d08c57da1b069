"""Faces of real photos, found by the real detector, lie where the template wants them."""

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.data import astronaut
from skimage.metrics import structural_similarity
from skimage.transform import rotate

from aligned import only, refusal
from avih import align
from avih.align import TEMPLATES, AlignedFace, Aligner, Photo
from avih.errors import ImageRefused, UsageError
from avih.recognisers import load_recogniser
from real_data import REAL_DATA


@pytest.fixture(scope="module")
def aligner() -> Aligner:
    return Aligner()


@pytest.fixture(scope="module")
def portrait() -> Photo:
    return astronaut()[:300, 80:380]


@pytest.fixture(scope="module")
def face(aligner: Aligner, portrait: Photo) -> AlignedFace:
    return only(aligner, portrait)


def similarity(first: AlignedFace, second: AlignedFace) -> float:
    return float(structural_similarity(first.pixels, second.pixels, channel_axis=2))


def test_the_eyes_of_a_real_face_are_where_the_template_wants_them(
    aligner: Aligner, face: AlignedFace
) -> None:
    assert face.confidence > 0.99
    assert (face.faces_found, face.note) == (1, "")
    # Twice as large, because the detector's own error is a part of the face that it finds.
    doubled = Image.fromarray(face.pixels).resize((192, 224), Image.Resampling.BILINEAR)
    again = aligner._detect([np.asarray(doubled)])[0]
    assert again is not None
    found = (again.landmarks[0] + 0.5) / 2 - 0.5
    distance = np.linalg.norm(found - TEMPLATES["112x96"].points, axis=1)
    assert (distance[:2] < 3).all()
    assert (distance < 8).all()  # a laughing mouth is wider than the template's


def test_a_turned_photo_gives_nearly_the_same_face(
    aligner: Aligner, portrait: Photo, face: AlignedFace
) -> None:
    turned = (rotate(portrait, 20) * 255).astype(np.uint8)
    assert similarity(face, only(aligner, turned)) > 0.7


def test_a_grey_photo_gives_the_same_face_in_grey(
    aligner: Aligner, portrait: Photo, face: AlignedFace
) -> None:
    grey = np.repeat(np.asarray(Image.fromarray(portrait).convert("L"))[..., None], 3, axis=2)
    pixels = only(aligner, grey).pixels
    assert (pixels == pixels[..., :1]).all()
    luma = np.asarray(Image.fromarray(face.pixels).convert("L"))
    assert structural_similarity(luma, pixels[..., 0]) > 0.7


@pytest.mark.parametrize("side", [150, 2048])
def test_a_photo_of_another_size_gives_nearly_the_same_face(
    aligner: Aligner, portrait: Photo, face: AlignedFace, side: int
) -> None:
    resized = np.asarray(Image.fromarray(portrait).resize((side, side), Image.Resampling.BICUBIC))
    assert similarity(face, only(aligner, resized)) > 0.7


def test_a_small_photo_that_the_face_fills_works(aligner: Aligner) -> None:
    crop = Image.fromarray(astronaut()[30:190, 150:290]).resize((64, 73), Image.Resampling.BOX)
    only(aligner, np.asarray(crop))


def test_of_two_faces_the_most_central_is_taken(aligner: Aligner) -> None:
    one = astronaut()[:256, 100:356]
    mirrored = one[:, ::-1]
    both = np.concatenate([mirrored, one, one[:, :60] * 0], axis=1)  # the right one is nearer to the middle
    face = only(aligner, both)
    assert face.faces_found == 2
    assert face.note == "2 faces found, the most central one taken"
    assert similarity(face, only(aligner, one)) > 0.7 > similarity(face, only(aligner, mirrored))


@pytest.mark.parametrize(
    ("photo", "reason"),
    [
        (np.full((80, 80, 3), 128, np.uint8), "no_face"),
        (np.random.default_rng(0).integers(0, 256, (90, 70, 3), dtype=np.uint8), "no_face"),
        (np.zeros((39, 200, 3), np.uint8), "photo_too_small"),
        (np.zeros((0, 0, 3), np.uint8), "photo_too_small"),
        (np.zeros((80, 80), np.uint8), "not_rgb"),
        (np.zeros((80, 80, 4), np.uint8), "not_rgb"),
        (np.zeros((80, 80, 3), np.float32), "not_rgb"),
    ],
)
def test_photos_without_a_usable_face_are_refused(aligner: Aligner, photo: Photo, reason: str) -> None:
    assert refusal(aligner, photo) == reason


def test_bad_photos_do_not_change_their_neighbours(aligner: Aligner) -> None:
    good = astronaut()[:256, 100:356]
    alone = only(aligner, good)
    noise = np.random.default_rng(1).integers(0, 256, good.shape, dtype=np.uint8)
    results = aligner.align([noise, good, np.zeros((3, 3, 3), np.uint8), np.zeros_like(good)])
    assert [type(result) for result in results] == [ImageRefused, AlignedFace, ImageRefused, ImageRefused]
    assert isinstance(results[1], AlignedFace)
    assert np.abs(results[1].pixels.astype(int) - alone.pixels).max() <= 1


def test_no_photo_gives_no_face(aligner: Aligner) -> None:
    assert aligner.align([]) == []


@pytest.mark.parametrize(
    "options",
    [{"template": "126x128"}, {"minimum_confidence": 1.1}, {"minimum_confidence": -1}, {"batch_size": 0}],
)
def test_options_out_of_range_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="Expected"):
        Aligner(**options)


# --- Real photos ---------------------------------------------------------------------------------------------


def real(folder: str, pattern: str, count: int, per_person: int = 1) -> dict[str, list[Photo]]:
    """Read photos of the first persons of a data set, or skip."""
    root = REAL_DATA / "data" / folder
    persons = sorted(root.iterdir()) if root.is_dir() else []
    if not persons:
        pytest.skip(f"needs {folder} under {REAL_DATA}/data; set AVIH_REAL_DATA")
    photos = {}
    for person in persons:
        paths = sorted(person.glob(pattern))[:per_person]
        if len(paths) == per_person and len(photos) < count:
            photos[person.name] = [np.asarray(Image.open(path).convert("RGB")) for path in paths]
    return photos


def test_real_photos_align_and_do_not_depend_on_their_neighbours(aligner: Aligner) -> None:
    photos = [found[0] for found in real("lfw-gray", "*.jpg", 40).values()]
    together = aligner.align(photos)
    assert len(photos) == 40
    assert sum(isinstance(result, AlignedFace) for result in together) >= 39
    for photo, result in list(zip(photos, together, strict=True))[::8]:
        (alone,) = aligner.align([photo])
        assert isinstance(alone, AlignedFace) and isinstance(result, AlignedFace)
        assert np.abs(alone.pixels.astype(int) - result.pixels).max() <= 1


def test_faces_that_fill_the_picture_match_better_with_the_margin(
    aligner: Aligner, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = real("orl", "*.pgm", 6, per_person=4)
    weights = REAL_DATA / "models" / "mobilefacenet_arcface.safetensors"
    if not weights.exists():
        pytest.skip(f"needs {weights}; set AVIH_REAL_DATA")
    recogniser = load_recogniser(card="mobilefacenet", weights=weights)

    def same_person_cosine() -> float:
        faces = aligner.align([photo for four in photos.values() for photo in four])
        pixels = np.stack([face.pixels for face in faces if isinstance(face, AlignedFace)])
        assert len(pixels) == 24
        images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
        features = recogniser(images).reshape(6, 4, -1)
        return float((features @ features.transpose(1, 2)).mean())

    with_margin = same_person_cosine()
    monkeypatch.setattr(align, "MARGINS", (0.0,))
    assert with_margin > same_person_cosine() + 0.01
