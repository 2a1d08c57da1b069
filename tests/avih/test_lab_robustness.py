import io
from functools import cache

import numpy as np
import pytest
from PIL import Image

from avih.errors import IntegrityError
from avih.evaluation.metrics import ssim
from avih.lab.attacks import robustness
from avih.lab.subject import Subject
from avih.lab.tools.distortions import BITS, NOISE, SALT_AND_PEPPER, distortions
from avih.lab.tools.inversion import features_of
from avih.settings import KeySettings
from small_attack import SmallService
from small_attack import small_faces as drawn_faces
from small_lab import SMALL, lab_of, protect_settings

BY_NAME = {one.name: one for one in distortions()}
GREY = np.full((4, 56, 48, 3), 128, dtype=np.uint8)


@cache
def small_faces():
    return drawn_faces()


def lab_about(protected, recover, *, recovery="keyed"):
    subject = Subject(
        gallery="people", version="v0001", pairs=small_faces().with_inputs(protected), nonces=("",) * 48,
        others=None, recogniser=SmallService(), protect=protect_settings("avih", recovery),
        key=KeySettings(architecture="none"), generator=None, recover=recover, data="drawn faces",
    )  # fmt: skip
    return lab_of(subject, SMALL)


@pytest.fixture(scope="module")
def told():
    """Pictures that are their own protection: what a distortion does to them is known."""
    lab = lab_about(small_faces().originals, lambda names, pictures: pictures)
    return {one.label: one.values for one in robustness.run(lab)}


@pytest.mark.parametrize("name", BY_NAME)
def test_a_distortion_keeps_the_size_and_repeats_itself(name):
    pictures = small_faces().originals[:3]
    before = pictures.copy()
    seen = BY_NAME[name].apply(pictures, seed=5)
    assert seen.shape == pictures.shape and seen.dtype == np.uint8
    assert np.array_equal(seen, BY_NAME[name].apply(pictures, seed=5))
    assert np.array_equal(pictures, before)
    assert np.array_equal(seen, pictures) == (name == "nothing")


@pytest.mark.parametrize("sigma", NOISE)
def test_noise_is_as_strong_as_it_says(sigma):
    spread = BY_NAME[f"noise, sigma {sigma}/255"].apply(GREY, seed=1).astype(float) - 128
    rounding = 1 / 12  # variance of rounding to whole levels
    assert spread.std() == pytest.approx((sigma**2 + rounding) ** 0.5, rel=0.03)
    assert abs(spread.mean()) < 0.05 * sigma + 0.02


@pytest.mark.parametrize("share", SALT_AND_PEPPER)
def test_salt_and_pepper_hit_their_share(share):
    seen = BY_NAME[f"salt and pepper, {share:.1%}"].apply(GREY, seed=1)
    changed = seen[seen != 128]
    assert set(changed.tolist()) == {0, 255}
    assert len(changed) / seen.size == pytest.approx(share, rel=0.4)


@pytest.mark.parametrize("bits", BITS)
def test_fewer_bits_move_no_value_by_more_than_half_a_step(bits):
    every = np.arange(256, dtype=np.uint8).repeat(3).reshape(1, 16, 16, 3)
    seen = BY_NAME[f"{bits} bits per value"].apply(every, seed=1)
    assert len(np.unique(seen)) == 2**bits
    assert np.abs(seen.astype(int) - every).max() <= 2 ** (7 - bits)


def test_a_moved_picture_is_moved_and_a_median_is_a_median():
    picture = small_faces().originals[:1]
    moved = BY_NAME["moved by 1 pixel"].apply(picture, seed=1)
    assert np.array_equal(moved[:, :, 1:], picture[:, :, :-1])
    median = BY_NAME["median filter, 3x3"].apply(picture, seed=1)
    assert np.array_equal(median[0, 10, 20], np.median(picture[0, 9:12, 19:22], axis=(0, 1)))


def test_cropping_takes_the_edge_away():
    framed = GREY.copy()
    framed[:, [0, -1]] = 255
    framed[:, :, [0, -1]] = 255
    seen = BY_NAME["cropped by 1 pixel and resized"].apply(framed, seed=1)
    assert np.array_equal(seen, GREY)


def test_jpeg_is_what_a_reader_gets():
    picture = small_faces().originals[0]
    target = io.BytesIO()
    Image.fromarray(picture).save(target, format="JPEG", quality=75)
    wanted = np.array(Image.open(io.BytesIO(target.getvalue())))
    assert np.array_equal(BY_NAME["JPEG, quality 75"].apply(picture[None], seed=1)[0], wanted)


def test_undistorted_pictures_are_the_measure(told):
    nothing = told["nothing"]
    assert nothing["cosine"] == pytest.approx(1) and nothing["ssim"] == 1.0 and nothing["matched"] == 1.0


def test_more_noise_leaves_less(told):
    for name in ("cosine", "ssim"):
        levels = [told[f"noise, sigma {sigma}/255"][name] for sigma in NOISE]
        assert levels == sorted(levels, reverse=True) and levels[-1] < 1, name


def test_figures_are_those_of_each_distorted_picture(told):
    faces = small_faces()
    lab = lab_about(faces.originals, lambda names, pictures: pictures)
    seen = BY_NAME["resized to 50% and back"].apply(lab.targets.originals, seed=0)
    pairs = (features_of(SmallService(), one).numpy() for one in (seen, lab.targets.originals))
    cosines = [float(a @ b) for a, b in zip(*pairs, strict=True)]
    values = told["resized to 50% and back"]
    assert values["cosine"] == pytest.approx(np.mean(cosines), abs=1e-5)
    assert values["matched"] == pytest.approx(np.mean([one > values["threshold"] for one in cosines]))
    few = 2 * SMALL.fit_pictures
    similar = [ssim(a, b) for a, b in zip(seen[:few], lab.targets.originals, strict=False)]
    assert values["ssim"] == pytest.approx(np.mean(similar))


def test_sealed_recovery_does_not_look_at_the_pixels():
    originals = dict(zip(small_faces().images, small_faces().originals, strict=True))
    lab = lab_about(
        255 - small_faces().originals, lambda names, _: np.stack([originals[name] for name in names]),
        recovery="sealed",
    )  # fmt: skip
    found = list(robustness.run(lab))
    assert {one.values["ssim"] for one in found} == {1.0}
    assert all("ciphertext" in one.text for one in found)


def test_a_refused_recovery_is_told_and_the_recogniser_still_measured():
    def refuse(names, pictures):
        raise IntegrityError("Expected the stored bytes, got others.")

    found = list(robustness.run(lab_about(small_faces().originals, refuse)))
    assert all(one.values["ssim"] is None and "refused" in one.text for one in found)
    assert found[0].values["matched"] == 1.0
