"""Filters without a key: they clear noise, and get nothing where nothing is; statistics are never judged."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from avih.attack.pairs import Pictures
from avih.evaluation.metrics import ssim
from avih.lab.attack import Finding, Guess
from avih.lab.attacks import classical
from avih.lab.attacks.classical import blind_restoration, exposed, filters, gaussian_kernel, stretched
from avih.lab.lab import Lab
from avih.lab.scheme import Scheme
from avih.lab.subject import Subject, draw_parts
from avih.lab.tools.statistics import pixel_statistics
from avih.settings import ARCHITECTURE_OF, KeySettings
from small_attack import small_faces
from small_lab import SMALL, Service, protect_settings

FACES = small_faces()


def noisy(pictures: Pictures) -> Pictures:
    """Bury pictures under independent noise: classical denoising must bring them back."""
    shaken = pictures + np.random.default_rng(1).normal(0, 70, pictures.shape)
    return shaken.clip(0, 255).astype(np.uint8)


def noise(pictures: Pictures) -> Pictures:
    return np.random.default_rng(2).integers(0, 256, pictures.shape, dtype=np.uint8)


def lab_about(hide: Callable[[Pictures], Pictures]) -> Lab:
    pairs = FACES.with_inputs(hide(FACES.originals))
    protect = protect_settings("avih", "sealed")
    subject = Subject(
        gallery="people", version="v0001", pairs=pairs, nonces=("",) * len(pairs), others=None,
        recogniser=Service(), protect=protect, key=KeySettings(architecture=ARCHITECTURE_OF[protect.recovery]),
        generator=None, recover=lambda names, pictures: pictures, data="drawn faces",
    )  # fmt: skip
    parts = draw_parts(subject, targets=8, leaked=SMALL.most_leaked)
    return Lab(subject, parts, SMALL, Scheme(subject, SMALL, lambda text: None), lambda text: None)


def similar(pictures: Pictures, originals: Pictures) -> float:
    return float(np.mean([ssim(one, true) for one, true in zip(pictures, originals, strict=True)]))


@pytest.fixture(scope="module")
def buried() -> list[Guess | Finding]:
    return list(classical.run(lab_about(noisy)))


def test_every_filter_is_tried_once_with_a_blind_guess(buried: list[Guess | Finding]) -> None:
    labels = [one.label for one in buried if isinstance(one, Guess)]
    assert labels == [*filters(), "contrast stretch"] and len(set(labels)) == len(labels)
    assert all(len(one.blind) == 1 for one in buried if isinstance(one, Guess))


def test_filters_bring_back_what_noise_buries(buried: list[Guess | Finding]) -> None:
    for one in buried:
        if not isinstance(one, Guess) or one.label in ("contrast stretch", "low-pass, 8 pixels"):
            continue
        seen, got = (similar(some, one.targets.originals) for some in (one.targets.protected, one.pictures))
        assert got > seen + 0.1, one.label
        assert got > similar(one.blind[0], one.targets.originals) + 0.1, one.label


def test_nothing_comes_out_of_noise() -> None:
    for one in classical.run(lab_about(noise)):
        if isinstance(one, Guess):
            true = one.targets.originals
            assert similar(one.pictures, true) < similar(one.blind[0], true) + 0.05, one.label


def test_statistics_are_shown_beside_originals_and_noise_and_never_judged(
    buried: list[Guess | Finding],
) -> None:
    told = [one for one in buried if isinstance(one, Finding)]
    assert len(told) == 6
    for one in told:
        assert one.level is None and one.text.startswith("No evidence of security")
        assert set(one.values) == {"stored", "originals", "uniform noise"}


def test_statistics_agree_with_their_definitions() -> None:
    noise_pictures = noise(np.zeros((6, 60, 60, 3), dtype=np.uint8))
    of_noise = pixel_statistics(noise_pictures)
    assert of_noise["entropy"] > 7.9 and 0.8 < of_noise["chi-square against uniform"] < 1.2
    assert max(abs(of_noise[f"correlation of {way} neighbours"]) for way in ("horizontal", "vertical")) < 0.02
    levels = np.arange(256, dtype=np.uint8).repeat(3).reshape(1, 16, 16, 3)  # every level as often
    even = pixel_statistics(levels)
    assert even["entropy"] == 8 and even["histogram flatness"] == 0 == even["chi-square against uniform"]
    single = pixel_statistics(np.full((1, 16, 16, 3), 7, dtype=np.uint8))
    assert single["entropy"] == 0
    # One level 768 times where 3 are expected of each: ((768 - 3)^2 + 255 * 3^2) / 3, over 255.
    assert single["chi-square against uniform"] == pytest.approx((765**2 + 255 * 9) / 3 / 255)


def test_an_exposed_picture_has_the_brightness_and_the_sign_of_a_face() -> None:
    face = FACES.originals.mean(axis=0).astype(np.uint8)
    weak = (0.5 - 0.1 * (FACES.originals[:4] / 255.0 - 0.5)).astype(np.float32)  # a faint negative
    got = exposed(weak, face, float(FACES.originals[:4].std(axis=(1, 2, 3)).mean()))
    assert similar(got, FACES.originals[:4]) > 0.8
    assert np.abs(got.mean(axis=(1, 2, 3)) - face.mean()).max() < 10  # a few values are cut at black


def test_a_flat_picture_is_exposed_without_error() -> None:
    face = FACES.originals[0]
    got = exposed(np.zeros((1, 56, 48, 3), dtype=np.float32), face, 50.0)
    assert np.ptp(got) == 0
    assert np.ptp(stretched(np.full((1, 56, 48, 3), 9, dtype=np.uint8))) == 0


def test_a_stretch_fills_the_range() -> None:
    got = stretched((FACES.originals[:3] // 4 + 90).astype(np.uint8))
    assert got.min() == 0 and got.max() == 255


def test_blind_restoration_sharpens_a_blurred_picture() -> None:
    true = FACES.originals[0] / 255.0
    blurred = gaussian_filter(true, (1.5, 1.5, 0)).astype(np.float32)
    got = blind_restoration(blurred)
    inside = np.s_[6:-6, 6:-6]

    def sharpness(picture: np.ndarray) -> float:
        return float(np.abs(np.diff(picture[inside], axis=0)).mean())

    assert sharpness(got) > 1.05 * sharpness(blurred)
    assert (
        np.abs(got - true)[inside].mean() < np.abs(gaussian_filter(blurred, (2, 2, 0)) - true)[inside].mean()
    )


def test_the_blur_kernel_is_symmetric_and_whole() -> None:
    kernel = gaussian_kernel(2.0)
    assert kernel.sum() == pytest.approx(1) and np.allclose(kernel, kernel[::-1, ::-1])
    assert kernel.argmax() == kernel.size // 2
