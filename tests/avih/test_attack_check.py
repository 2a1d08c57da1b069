"""The attack check on real pairs: it undoes an unmixed key, fails on a keyed one, and knows when it is weak."""

import secrets

import numpy as np
import pytest

from avih.attack.check import check_attack, planned_units
from avih.attack.control import unmixed_sample
from avih.attack.measure import Figures, Gauge, Scores, attack_figures, prior_figures
from avih.attack.network import Training
from avih.attack.pairs import split_images
from avih.attack.plot import curve_figure, curve_table
from avih.attack.prior import best_constant, noise_like
from avih.attack.second import Identifier, fit_descriptor, network_features
from avih.errors import UsageError
from avih.evaluation.metrics import ssim
from avih.generators.codec import CodecGenerator
from small_attack import PERSONS, PHOTOS, SMALL, SmallService, keyed, small_faces

SERVICE = SmallService()


@pytest.fixture(scope="module")
def faces():
    return small_faces()


@pytest.fixture(scope="module")
def unmixed(faces):
    """All faces under one unmixed key."""
    return unmixed_sample(faces, recogniser=SERVICE, settings=SMALL)


@pytest.fixture(scope="module")
def checked(faces, unmixed):
    """A whole check of a keyed gallery; the control's pairs come from the unmixed fixture."""
    told = []
    result = check_attack(
        old=keyed(faces, secret=secrets.token_bytes(32)), new=keyed(faces, secret=secrets.token_bytes(32)),
        recovery="keyed", settings=SMALL, recogniser=SERVICE, generator=CodecGenerator(width=8, blocks=1),
        sample=lambda pairs: unmixed.named(pairs.images), progress=told.append,
    )  # fmt: skip
    return result, sum(told)


def test_the_sample_hides_the_faces(unmixed):
    assert max(ssim(x, y) for x, y in zip(unmixed.originals, unmixed.protected, strict=True)) < 0.2


def test_the_attack_brings_unseen_unmixed_images_back(unmixed):
    """The positive control is real: pairs of the papers' method, images that the attack never saw."""
    settings = SMALL.model_copy(update={"fail_ssim_advantage": SMALL.control_ssim_advantage})
    result = check_attack(old=unmixed, new=None, recovery="unmixed", settings=settings, recogniser=SERVICE)
    assert result.control.ssim_advantage >= SMALL.control_ssim_advantage
    assert result.control == result.old_key == result.same_key_other_images
    assert result.recommended_budget is not None and result.recommended_budget < 30
    assert result.verdict == "warn" and result.new_key is None
    assert any("no older key" in note for note in result.notes)


def test_the_same_attack_fails_on_keyed_images(checked):
    result, steps = checked
    assert result.verdict == "pass"
    assert result.control.ssim_advantage >= SMALL.control_ssim_advantage
    assert result.same_key_other_images.ssim_advantage < 0.05
    for figures in (result.new_key, result.new_key.same_images, result.new_key.other_persons):
        assert figures.ssim_advantage < 0.05
    assert {(point.pairs, point.network) for point in result.curve} == {
        (pairs, network) for pairs in (8, result.curve[-1].pairs) for network in ("plain", "with generator")
    }
    assert result.recommended_budget is None
    assert 0 < steps <= planned_units(SMALL, recovery="keyed")


def test_training_stops_when_nothing_is_learned_but_not_before_the_control_had_settled(faces):
    noise = faces.with_inputs(noise_like(faces.protected))
    settings = SMALL.model_copy(update={"minimum_steps": 4, "check_every": 2, "learning_rate": 1e-9})
    early = Training(pairs=noise, settings=settings, recogniser=SERVICE).finish()
    late = Training(pairs=noise, settings=settings, recogniser=SERVICE, minimum_steps=11).finish()
    assert (early.settled, early.steps, late.steps) == (2, 6, 12)


def test_the_patch_judge_takes_part_where_it_has_a_weight(faces):
    settings = SMALL.model_copy(update={"steps": 2, "judge_width": 4})
    few = faces.named(faces.images[:8])
    without = Training(pairs=few, settings=settings, recogniser=SERVICE).finish()
    heavy = settings.model_copy(update={"adversarial_weight": 1.0})
    judged = Training(pairs=few, settings=heavy, recogniser=SERVICE).finish()
    assert not np.array_equal(without.guess(few.protected), judged.guess(few.protected))


def test_an_attack_that_cannot_do_anything_says_so(faces, unmixed):
    weak = SMALL.model_copy(update={"steps": 1, "minimum_steps": 1, "check_every": 1, "pairs": ()})
    result = check_attack(
        old=keyed(faces, secret=bytes(32)), new=None, recovery="keyed", settings=weak, recogniser=SERVICE,
        sample=lambda pairs: unmixed.named(pairs.images),
    )  # fmt: skip
    assert result.verdict == "attack too weak"
    assert result.control.ssim_advantage < weak.control_ssim_advantage


def test_an_image_that_shows_its_original_fails_whatever_the_control(faces):
    """Protected images that hide nothing must be caught, even by a control that cannot learn."""
    noise = noise_like(faces.protected)
    result = check_attack(
        old=faces, new=faces, recovery="keyed", settings=SMALL.model_copy(update={"pairs": (), "steps": 80}),
        recogniser=SERVICE, sample=lambda pairs: faces.with_inputs(noise).named(pairs.images),
    )  # fmt: skip
    assert result.verdict == "fail" and result.control.ssim_advantage < 0.1
    assert result.new_key.ssim_advantage > 0.15 and result.recommended_budget == 0


def test_a_weak_second_recogniser_is_told_and_does_not_count(faces):
    result = check_attack(
        old=faces, new=None, recovery="unmixed", recogniser=SERVICE,
        settings=SMALL.model_copy(update={"pairs": (), "steps": 1, "second_minimum": 1.0}),
        second=lambda pictures: np.ones((len(pictures), 2)),
    )  # fmt: skip
    assert any("second recogniser too weak" in note for note in result.notes)


def test_without_photos_for_reference_similarity_alone_is_measured(faces):
    single = faces.named([image for image in faces.images if image.endswith("_0")])
    result = check_attack(
        old=single, new=single, recovery="unmixed", recogniser=SERVICE,
        settings=SMALL.model_copy(update={"pairs": (), "steps": 1}),
    )  # fmt: skip
    assert result.control.id_rate is None and result.control.images == 2
    assert any("identification not measured" in note for note in result.notes)
    assert any("only 2 images" in note for note in result.notes)


def test_a_keyed_check_without_a_control_is_refused(faces):
    with pytest.raises(UsageError, match="control"):
        check_attack(old=faces, new=None, recovery="keyed", settings=SMALL, recogniser=SERVICE)


def test_training_leaves_the_global_random_numbers_and_the_generator_alone(faces):
    import torch

    generator = CodecGenerator(width=8, blocks=1)
    before = {name: value.clone() for name, value in generator.state_dict().items()}
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    short = SMALL.model_copy(update={"steps": 2})
    Training(pairs=faces, settings=short, recogniser=SERVICE, generator=generator).finish()
    assert torch.rand(1) == expected
    assert all(torch.equal(value, before[name]) for name, value in generator.state_dict().items())


def test_one_pair_is_too_few_to_train_on(faces):
    with pytest.raises(UsageError, match="at least 2"):
        Training(pairs=faces.named(["0_0"]), settings=SMALL, recogniser=SERVICE)


def test_the_blank_guess_is_better_than_the_mean_face(faces):
    constant = best_constant(faces.originals, steps=60)
    mean = best_constant(faces.originals, steps=0)
    assert np.abs(mean - faces.originals.mean(axis=0)).max() <= 0.5 + 1e-3
    assert np.mean([ssim(constant, x) for x in faces.originals]) >= np.mean(
        [ssim(mean, x) for x in faces.originals]
    )


def test_noise_keeps_an_images_values_and_nothing_else(faces):
    noise = noise_like(faces.originals[:3])
    for before, after in zip(faces.originals, noise, strict=False):
        assert np.array_equal(np.bincount(before.ravel()), np.bincount(after.ravel()))
        assert abs(ssim(before, after)) < 0.1


def test_the_classical_recogniser_knows_faces_it_was_not_fitted_on(faces):
    split = split_images(images=faces.images, persons=faces.persons, settings=SMALL)
    references, asked = faces.named(split.references), faces.named(split.others)
    embed = fit_descriptor(references.originals, references.persons)
    identifier = Identifier.build(embed=embed, pictures=references.originals, persons=references.persons)
    assert identifier.chance == 1 / 8
    gauge = Gauge(identifier)
    assert gauge.scores(asked.originals, asked).id_rate >= 0.5  # 56x48, not aligned
    assert gauge.scores(noise_like(asked.originals), asked).id_rate < 0.5


def test_identification_is_by_the_most_similar_reference():
    red, blue = np.zeros((2, 40, 40, 3), np.uint8), np.zeros((1, 40, 40, 3), np.uint8)
    red[..., 0], blue[..., 2] = 200, 200
    identifier = Identifier.build(
        embed=lambda pictures: pictures.mean(axis=(1, 2)), pictures=np.concatenate([red[:1], blue]),
        persons=["red", "blue"],
    )  # fmt: skip
    found, true = identifier.identify(np.concatenate([red, blue]), ["red", "blue", "nobody"])
    assert (found.tolist(), true.tolist()) == (["red", "red"], ["red", "blue"])


def test_without_two_photos_of_a_person_the_descriptor_is_pca_alone(faces):
    embed = fit_descriptor(faces.originals[::PHOTOS], [f"p{number}" for number in range(PERSONS)])
    assert embed(faces.originals[:5]).shape == (5, 7)


def test_pictures_too_small_for_gradient_histograms_are_refused():
    with pytest.raises(UsageError, match="at least 24x24"):
        fit_descriptor(np.zeros((4, 16, 16, 3), np.uint8), ["a", "a", "b", "b"])


def test_a_recogniser_network_can_be_the_second(faces):
    features = network_features(SERVICE)(faces.originals[:40])
    assert features.shape == (40, 32) and np.allclose(np.linalg.norm(features, axis=1), 1)


def test_figures_are_set_against_the_strongest_blank_guess(faces):
    asked = faces.named(faces.images[:2])
    gauge = Gauge(None, lpips=lambda a, b: float(np.abs(a.astype(int) - b).mean()))
    blank = [gauge.scores(np.full_like(asked.originals, level), asked) for level in (0, 128)]
    prior = prior_figures(blank, chance=0.5)
    assert prior.ssim == max(scores.ssim.mean() for scores in blank) and prior.id_rate is None
    exact = attack_figures(gauge.scores(asked.originals, asked), prior)
    assert exact.ssim == 1 and exact.ssim_advantage == 1 - prior.ssim and exact.lpips == 0 < prior.lpips
    true = np.array(["a", "b", "c", "d"])
    lucky = Scores(np.ones(4), np.array(["a", "x", "c", "d"]), true, None)
    unlucky = Scores(np.ones(4), np.array(["a", "x", "x", "x"]), true, None)
    assert attack_figures(lucky, prior_figures([unlucky], chance=0.1)).id_advantage == pytest.approx(0.5)
    assert prior_figures([unlucky], chance=0.4).id_rate == 0.4


def test_naming_one_frequent_person_all_the_time_is_no_advantage():
    true = np.array(["a", "a", "a", "b"])
    stuck = Scores(np.ones(4), np.array(["a"] * 4), true, None)
    blank = prior_figures([Scores(np.ones(4), np.array(["c"] * 4), true, None)], chance=0.1)
    figures = attack_figures(stuck, blank)
    assert figures.id_rate == 0.75 and figures.id_advantage == 0 and blank.id_rate == 0.1
    seeing = attack_figures(Scores(np.ones(4), true, true, None), blank)
    assert seeing.id_advantage == 1 - 3 * 2 / (4 * 3)  # dealt out to the other pictures


def test_the_chart_shows_both_networks_and_all_limits(checked):
    result, _ = checked
    figure = curve_figure(result, gallery="people", settings=SMALL)
    left, right = figure.axes
    labels = [text.get_text() for text in left.get_legend().get_texts()]
    assert labels[:2] == ["plain", "with generator"] and any(label.startswith("fail") for label in labels)
    assert not left.images and not right.images
    plain = curve_table(result).query("network == 'plain'")
    assert left.lines[0].get_xdata().tolist() == plain.pairs.tolist()
    assert left.lines[0].get_ydata().tolist() == plain.ssim_advantage.tolist()
    assert all(isinstance(figures, Figures) for figures in (result.prior, result.control))
