"""Attack 12, on the true mixing and on mixings that were weakened on purpose."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from avih.errors import UsageError
from avih.evaluation.metrics import ssim
from avih.generators.codec import encode, free_mask
from avih.images import to_tensor
from avih.lab.attack import Finding, Guess, Result
from avih.lab.attacks import keyed_mixing
from avih.lab.lab import Lab
from avih.lab.registry import attacks
from avih.lab.tools.mixing_attacks import (
    codes_of,
    fit_arrangements,
    shown,
)
from avih.lab.tools.mixing_chosen import chosen, chosen_pictures, public_generator, reuse, versions
from avih.mixing import Mixing
from small_lab import SMALL
from small_mixing import (
    FACES,
    SHAPE,
    TRAINED,
    VALUES,
    advantage,
    alike,
    drawn,
    one_nonce,
    small_lab,
)


@pytest.fixture(scope="module")
def true_lab() -> Lab:
    """The product as it is."""
    return small_lab()


@pytest.fixture(scope="module")
def true_results(true_lab: Lab) -> list[Result]:
    """The whole attack on the product as it is."""
    return list(keyed_mixing.run(true_lab))


def finding(results: list[Result], word: str) -> Finding:
    return next(one for one in results if isinstance(one, Finding) and word in one.label)


def guess(results: list[Result], word: str) -> Guess:
    return next(one for one in results if isinstance(one, Guess) and word in one.label)


def test_nothing_gets_through_the_true_mixing(true_lab: Lab, true_results: list[Result]) -> None:
    findings = [one for one in true_results if isinstance(one, Finding)]
    guesses = [one for one in true_results if isinstance(one, Guess)]
    assert {one.level for one in findings} == {"pass", None}
    assert len(guesses) == 8 and len(findings) == 8
    assert all(advantage(true_lab, one) < 0.03 for one in guesses)
    assert [one.kind for one in guesses] == [None] * 7 + ["by design"]
    assert guess(true_results, "chosen pictures").facts["found"] == 0


def test_only_keyed_galleries_are_attacked(true_lab: Lab) -> None:
    (attack,) = attacks(["keyed_mixing"])
    fits = {recovery: attack.facts.fits(method="avih", recovery=recovery) for recovery in ("keyed", "sealed")}
    assert fits == {"keyed": True, "sealed": False}
    without = replace(true_lab, subject=replace(true_lab.subject, generator=None))
    with pytest.raises(UsageError, match="Expected a keyed gallery"):
        public_generator(without)


def test_chosen_pictures_open_everything_under_a_constant_mixing(
    true_lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    one_nonce(monkeypatch)
    results = list(chosen(true_lab))
    assert finding(results, "protected 4 times").level == "fail"
    opened = guess(results, "chosen pictures")
    assert opened.facts["found"] == 1 and alike(opened.pictures, opened.targets) > 0.95
    assert advantage(true_lab, opened) > 0.5


def test_known_pairs_open_everything_under_a_constant_mixing(monkeypatch: pytest.MonkeyPatch) -> None:
    one_nonce(monkeypatch)
    lab = small_lab()
    results = list(keyed_mixing.run(lab))
    assert advantage(lab, guess(results, "known pairs")) > 0.5
    assert finding(results, "one nonce").level == "fail"
    assert finding(results, "one nonce").values["stored_again"] == len(FACES) - 1
    assert finding(results, "linking").level == "fail"
    assert finding(results, "correlation of a stored value").level == "warn"


def test_networks_read_a_mixing_that_leaves_values_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Mixing, "draw", drawn(places=False, shifts=False))
    results = keyed_mixing.run(lab := small_lab(SMALL.model_copy(update={"network": TRAINED})))
    plain, with_generator = next(results), next(results)
    assert isinstance(plain, Guess) and isinstance(with_generator, Guess)
    assert max(advantage(lab, plain), advantage(lab, with_generator)) > 0.15


def test_a_name_used_again_gets_another_nonce(true_lab: Lab) -> None:
    caught, stored, shown_only = reuse(true_lab)
    assert stored.level == "pass"
    assert caught.level == "pass"
    assert caught.values["different_nonces"] == caught.values["pictures_under_one_name"] == 4
    assert caught.values["same_picture_same_nonce"] == 1 and caught.values["stored_again"] == 0
    assert shown_only.level is None
    prior, opened = shown_only.values["prior"], shown_only.values["known_16"]
    assert prior is not None and prior < 0.5 and opened == 1


def test_a_stored_nonce_that_comes_twice_is_found(true_lab: Lab) -> None:
    nonces = (*true_lab.subject.nonces[:-1], true_lab.subject.nonces[0])
    caught = next(reuse(replace(true_lab, subject=replace(true_lab.subject, nonces=nonces))))
    assert caught.level == "fail" and caught.values["stored_again"] == 1


def test_code_is_the_same_bytes_before_and_after_the_features(true_lab: Lab) -> None:
    """The lab takes chosen pictures before the optimisation: nothing of the mixing is lost by that."""
    key = true_lab.scheme.key(1)
    started = replace(key, settings=key.settings.model_copy(update={"steps": 1}), stored={})
    few = true_lab.first(true_lab.targets, 3)
    moved, start = key.hide(few).protected, started.hide(few).protected
    nonces = key.nonces(few.images)
    for nonce, one, other, original in zip(nonces, moved, start, few.originals, strict=True):
        mixing = Mixing.draw(secret=key.secret, nonce=nonce, values=VALUES)
        free = mixing.scatter(free_mask(*SHAPE[:2]))
        assert np.array_equal(one[~free], other[~free]) and not np.array_equal(one, other)
        assert np.array_equal(mixing.apply(other), encode(original))


def test_codes_are_shown_by_the_generator(true_lab: Lab) -> None:
    pictures = shown(codes_of(FACES.originals[:2]), generator=public_generator(true_lab), shape=SHAPE)
    assert min(ssim(one, true) for one, true in zip(pictures, FACES.originals, strict=False)) > 0.95


def test_fit_makes_a_natural_face_of_noise_and_not_the_true_one(true_lab: Lab) -> None:
    few = true_lab.first(true_lab.targets, 2)
    mean = true_lab.leaked.originals.mean(axis=0).round().astype(np.uint8)
    means = np.broadcast_to(mean, few.originals.shape)
    reached = []
    for steps in (1, 40):
        fitted = fit_arrangements(
            protected=few.protected, generator=public_generator(true_lab), face=mean, steps=steps
        )
        reached.append(alike(fitted, replace(few, originals=means)))
    assert reached[0] < 0.05 and reached[1] > 0.3
    assert alike(fitted, few) < alike(means, few) + 0.02


def test_fit_reaches_the_features_where_it_is_given_them(true_lab: Lab) -> None:
    few, recogniser = true_lab.first(true_lab.targets, 2), true_lab.subject.recogniser
    cosines = []
    for given in (None, recogniser):
        fitted = fit_arrangements(
            protected=few.protected, generator=public_generator(true_lab), face=true_lab.blank, steps=30,
            recogniser=given,
        )  # fmt: skip
        with torch.no_grad():
            seen, wanted = (recogniser(to_tensor(one)) for one in (fitted, few.protected))
        cosines.append(float((seen * wanted).sum(dim=1).min()))
    assert cosines[1] > 0.98 > cosines[0]


def test_versions_of_too_few_photos_are_averaged_and_not_linked(true_lab: Lab) -> None:
    single = replace(true_lab, parts=replace(true_lab.parts, targets=true_lab.first(true_lab.targets, 1)))
    (mean,) = versions(single)
    assert isinstance(mean, Guess) and mean.pictures.shape == (1, *SHAPE)


def test_chosen_pictures_differ_and_tell_places_apart() -> None:
    pictures = chosen_pictures(shape=SHAPE, count=9, seed=0)
    assert pictures.shape == (9, *SHAPE) and pictures.dtype == np.uint8
    assert len(np.unique(codes_of(pictures).T, axis=0)) == VALUES // 2
    assert len(chosen_pictures(shape=SHAPE, count=2, seed=0)) == 8
