"""Attacks with keys of the lab's own: they open weak schemes, and nothing where each key stands for itself."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from avih.generators.codec import CodecGenerator
from avih.lab.attack import Finding, Guess
from avih.lab.attacks import cross_key_network, external_keys, seed_guessing, zero_leak
from avih.lab.lab import Lab, Lesson
from avih.lab.scheme import Scheme
from avih.settings import KeySettings
from small_attack import small_faces
from weak_keys import HASTY, SETTINGS, Times, WeakKey, advantage, halved, masked, mixed, shuffled, weak_lab


def test_every_key_is_tried_on_every_other() -> None:
    lab = weak_lab(masked)
    guesses = list(cross_key_network.run(lab))
    names = ["the gallery's key", "lab key 1", "lab key 2"]
    assert [one.label for one in guesses] == [
        f"trained on {a}, tried on {b}" for a in names for b in names if a != b
    ]
    # One mask for all: a change of keys heals nothing.
    assert all(advantage(lab, one) > 0.2 for one in guesses)
    whole, leaked = len(lab.targets), len(lab.leaked)
    assert [len(one.targets) for one in guesses] == [4, 4, whole, 4, whole, 4]
    assert [one.facts["pairs"] for one in guesses] == [leaked, leaked, 8, 8, 8, 8]


def test_a_network_does_not_carry_over_between_unrelated_keys() -> None:
    lab = weak_lab(shuffled, settings=SETTINGS.model_copy(update={"own_keys": 1}))
    guesses = list(cross_key_network.run(lab))
    assert len(guesses) == 2
    assert all(advantage(lab, one) < 0.05 for one in guesses)


def test_pictures_of_a_shorter_recipe_decide_nothing() -> None:
    whole, cheap = (SETTINGS.model_copy(update={"network": HASTY, "cheap_keys": on}) for on in (False, True))
    own = list(cross_key_network.run(weak_lab(masked, recovery="unmixed", settings=whole)))
    assert {one.kind for one in own} == {None}
    short = list(cross_key_network.run(weak_lab(masked, recovery="unmixed", settings=cheap)))
    for one in short:
        assert one.kind == (None if one.label.endswith("tried on the gallery's key") else "no evidence")
    assert [one.facts["pairs"] for one in short[2:]] == [4, 4, 4, 4]


def test_what_lies_under_a_key_is_not_hidden_twice() -> None:
    lab = weak_lab(masked)
    key = lab.scheme.key(1)
    assert isinstance(key, WeakKey)
    first = cross_key_network.hidden_under(lab, 1, lab.first(lab.leaked, 3))
    more = cross_key_network.hidden_under(lab, 1, lab.first(lab.leaked, 5))
    assert key.hidden == 5
    np.testing.assert_array_equal(first.protected, more.protected[:3])
    key.hide(lab.first(lab.leaked, 2), version="another")
    cross_key_network.hidden_under(lab, 1, lab.first(lab.leaked, 5))
    assert key.hidden == 9  # the two under another version were replaced


def test_own_keys_open_a_scheme_whose_keys_are_alike_and_no_other() -> None:
    weak, many = weak_lab(masked), SETTINGS.model_copy(update={"many_keys": (2,)})
    strong = weak_lab(shuffled, settings=many)
    alike = list(zero_leak.run(weak))
    assert [one.label for one in alike] == ["1 own key", "2 own keys"]
    assert [one.facts["pairs"] for one in alike] == [8, 16]
    assert all(advantage(weak, one) > 0.2 for one in alike)
    assert all(one.targets is weak.targets for one in alike)
    assert all(advantage(strong, one) < 0.05 for one in zero_leak.run(strong))


def test_a_network_stops_by_originals_that_it_was_not_trained_on(monkeypatch: pytest.MonkeyPatch) -> None:
    lab, seen = weak_lab(masked, public=nn.Identity()), []
    train_all = Lab.train_all

    def watched(self: Lab, lessons: Sequence[Lesson]) -> object:
        seen.extend(lessons)
        return train_all(self, [lesson._replace(network=HASTY) for lesson in lessons])

    monkeypatch.setattr(Lab, "train_all", watched)
    labels = [one.label for one in zero_leak.run(lab)]
    assert labels[-1] == "2 own keys and the generator"
    assert [lesson.generator is lab.subject.generator for lesson in seen] == [False, False, True]
    images = seen[1].pairs.images
    assert images[0::2] == images[1::2] == lab.leaked.images[:8]


def test_another_key_opens_what_it_can_and_combinations_are_what_they_say() -> None:
    made = {77: Times(1.0), 1: Times(1.0), 2: Times(0.0, 0.2), 3: Times(0.0, 0.4)}
    lab = weak_lab(
        lambda key, pictures, nonces: pictures, recovery="unmixed", generator_of=made.__getitem__,
        settings=SETTINGS.model_copy(update={"own_keys": 3}),
    )  # fmt: skip
    guesses = {one.label: one for one in external_keys.run(lab)}
    true = lab.targets.originals
    stack = np.stack([true, np.full_like(true, 51), np.full_like(true, 102)]).astype(float)
    np.testing.assert_array_equal(guesses["lab key 1"].pictures, true)
    assert advantage(lab, guesses["lab key 1"]) > 0.3
    np.testing.assert_array_equal(guesses["lab key 2"].pictures, stack[1])
    np.testing.assert_array_equal(guesses["mean of 3 outputs"].pictures, np.rint(stack.sum(axis=0) / 3))
    np.testing.assert_array_equal(guesses["median of 3 outputs"].pictures, np.sort(stack, axis=0)[1])
    np.testing.assert_array_equal(guesses["smoothest of 3 outputs"].pictures, stack[1])
    alike = guesses["most alike to the recogniser of 3 outputs"].pictures
    np.testing.assert_array_equal(alike, true)  # it alone shows what the recogniser sees
    assert advantage(lab, guesses["distilled average of 3 keys"]) > 0.05  # a third of the mean is the picture


def test_without_the_secret_no_other_key_undoes_the_mixing() -> None:
    lab = weak_lab(mixed, recovery="keyed", public=Times(1.0))
    guesses = list(external_keys.run(lab))
    assert [one.label for one in guesses if one.label.endswith("not un-mixed")][:3] == [
        "lab key 1, not un-mixed", "lab key 2, not un-mixed", "the gallery's generator, not un-mixed",
    ]  # fmt: skip
    assert all(advantage(lab, one) < 0.05 for one in guesses)
    key = lab.scheme.key(1)
    hidden = key.hide(lab.targets)
    back = external_keys.through_key(lab, key, hidden.protected, key.nonces(hidden.images))
    np.testing.assert_array_equal(back, hidden.originals)  # the right secret does


def test_total_variation_against_a_sum_by_hand() -> None:
    picture = np.zeros((1, 2, 2, 3), dtype=np.uint8)
    picture[0, :, :, :] = np.array([[0, 10], [30, 60]], dtype=np.uint8)[..., None]
    assert external_keys.total_variation(picture) == pytest.approx([(30 + 50) / 2 + (10 + 30) / 2])


def test_a_small_seed_is_guessed_where_the_generator_is_the_whole_key() -> None:
    lab = weak_lab(halved, recovery="unmixed", generator_of=lambda seed: Times(2.0 + seed))
    results = list(seed_guessing.run(lab))
    guesses = [one for one in results if isinstance(one, Guess)]
    weak = {one.label: one for one in guesses if one.kind == "no evidence"}
    (right,) = (one for label, one in weak.items() if label.endswith("(the right one)"))
    assert np.abs(right.pictures.astype(int) - right.targets.originals).max() <= 5
    assert all(advantage(lab, one) < advantage(lab, right) for one in weak.values() if one is not right)
    counted = [one for one in guesses if one.kind is None]
    assert [one.label for one in counted] == [f"gallery's key, seed {seed}" for seed in range(3)]
    assert all(one.targets is lab.targets for one in counted)
    weights, cost = (one for one in results if isinstance(one, Finding))
    seed = right.facts["seed"]
    assert weights.values == {f"seed {other}": pytest.approx(abs(other - seed)) for other in range(3)}
    assert cost.level is None
    assert cost.values["years"] == pytest.approx(cost.values["seconds_per_seed"] * 2**62 / 31_557_600)


def test_a_small_secret_is_guessed_and_one_from_the_system_is_not() -> None:
    lab = weak_lab(mixed, recovery="keyed", public=CodecGenerator(width=4, blocks=0).requires_grad_(False))
    guesses = [one for one in seed_guessing.run(lab) if isinstance(one, Guess)]
    weak = [one for one in guesses if one.kind == "no evidence"]
    (right,) = (one for one in weak if one.label.endswith("(the right one)"))
    assert advantage(lab, right) > 0.3
    others = [one for one in guesses if one is not right]
    assert len(others) == 5
    assert all(advantage(lab, one) < 0.05 for one in others)


def test_the_same_seed_trains_the_same_generator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("avih.lab.scheme.public_pictures", lambda: list(small_faces().originals[:4]))
    bare = weak_lab(masked).subject
    short = KeySettings(architecture="resnet", width=4, blocks=1, steps=3, crop=16)
    scheme = Scheme(replace(bare, key=short), SETTINGS, lambda text: None)
    first, again, other = (scheme.make(seed=seed) for seed in (3, 3, 4))
    assert first.secret != again.secret
    for one, same in zip(first.generator.parameters(), again.generator.parameters(), strict=True):
        assert torch.equal(one, same)
    assert seed_guessing.largest_difference(first, other) > 1e-3
