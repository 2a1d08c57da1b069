"""The second recogniser: other persons than those measured, unit features, and figures against plain counting."""

import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from skimage.feature import local_binary_pattern
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from avih.errors import UsageError
from avih.evaluation.metrics import unit_rows
from avih.images import to_tensor
from avih.reproduction.context import Context, DataFolders
from avih.reproduction.faces import faces
from avih.reproduction.second import network as second_network
from avih.reproduction.second import recogniser as second
from avih.reproduction.second import training as second_training
from avih.reproduction.second.quality import one_each, verified
from avih.reproduction.second.training import Recipe

RECIPE = Recipe(steps=2, persons_each=2, photos_each=2, varied=1)


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Context:
    """A profile in which the second recogniser is trained once."""
    return Context(profile="smoke", data=DataFolders(), work=tmp_path_factory.mktemp("second"))


def _pictures(count: int, *, seed: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 112, 96, 3), dtype=np.uint8)


def test_it_learns_from_nobody_who_is_measured_on(context: Context) -> None:
    known = faces(context)
    learned = set(second.training_photos(context).persons)
    assert learned
    assert learned <= set(known.persons("second"))
    assert not learned & {*known.persons("test"), *known.persons("single")}


@pytest.mark.parametrize("part", ["test", "single"])
def test_a_person_in_two_parts_is_refused(context: Context, part: str) -> None:
    known = faces(context)
    (person,) = known.persons("second", most=1)
    mixed = dict(known.parts[part]) | {person: known.parts["second"][person]}  # type: ignore[index]
    with pytest.raises(UsageError, match=person):
        second.check_disjoint(replace(known, parts={**known.parts, part: mixed}))  # type: ignore[dict-item]


def test_features_are_unit_and_come_from_the_kept_weights(context: Context) -> None:
    images = to_tensor(_pictures(3))
    recogniser = second.second_recogniser(context)
    features = recogniser.features(images)
    assert features.shape[0] == 3
    torch.testing.assert_close(features.norm(dim=1), torch.ones(3))
    (kept,) = context.folder("networks").glob("second-*.safetensors")
    written = kept.stat().st_mtime_ns
    again = second.second_recogniser(context)
    assert torch.equal(again(images), features)
    assert (again.name, again.fingerprint) == (recogniser.name, recogniser.fingerprint)
    assert kept.stat().st_mtime_ns == written


def test_a_feature_does_not_depend_on_the_batch_or_on_mirroring(context: Context) -> None:
    recogniser, images = second.second_recogniser(context), to_tensor(_pictures(4))
    together = recogniser(images)
    torch.testing.assert_close(recogniser(images[2:3]), together[2:3], atol=1e-5, rtol=0)
    torch.testing.assert_close(recogniser(images.flip(3)), together, atol=1e-5, rtol=0)


def test_gradients_reach_the_pictures(context: Context) -> None:
    images = to_tensor(_pictures(1)).requires_grad_()
    second.second_recogniser(context)(images)[0, 0].backward()
    assert images.grad is not None
    assert images.grad.isfinite().all()
    assert images.grad.abs().sum() > 0


@pytest.mark.parametrize(
    "images",
    [torch.rand(1, 3, 96, 112), torch.rand(3, 112, 96), torch.zeros(1, 3, 112, 96, dtype=torch.uint8)],
)
def test_other_shapes_and_bytes_are_refused(images: torch.Tensor) -> None:
    with pytest.raises(UsageError, match="112"):
        second_network.SecondNetwork(directions=2)(images)


def test_quality_is_measured_once_and_recognises_better_than_chance(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    recogniser = second.second_recogniser(context)
    found = recogniser.quality(context)
    assert found.rank_1.ours is not None
    assert found.rank_1.ours > 100 / 5  # five test persons
    assert 0 < found.false_matches <= 1 / found.impostors
    for row in found.rows:
        assert row.ours is not None and row.low is not None and row.high is not None
        assert 0 <= row.low <= row.ours <= row.high <= 100

    def never(*_: object, **__: object) -> None:
        raise AssertionError("measured again")

    monkeypatch.setattr(second, "measure", never)
    assert second.quality_rows(context) == list(found.rows)


def test_training_twice_gives_the_same_weights_and_leaves_the_random_state_alone() -> None:
    images, persons = _pictures(9), ["a"] * 3 + ["b"] * 4 + ["c"] * 2
    before = torch.get_rng_state()
    one, two = (second_training.train_second(images, persons, RECIPE).state_dict() for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("persons", [["a", "a", "a"], ["a", "a", "b"], ["a", "a"]])
def test_persons_with_one_photo_and_single_persons_are_refused(persons: list[str]) -> None:
    with pytest.raises(UsageError, match="two photos each"):
        second_training.train_second(_pictures(3), persons, RECIPE)


def test_the_linear_layer_is_principal_components_then_fishers_criterion() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), 10)
    rows = (rng.normal(size=(4, 30))[labels] + rng.normal(size=(40, 30))).astype(np.float32)
    recipe = Recipe(axes=12)
    layer = torch.nn.Linear(30, 3)
    second_training.fit_discriminant(layer, rows, labels, recipe)
    axes = PCA(12, svd_solver="full").fit(rows)
    fisher = LinearDiscriminantAnalysis(solver="eigen", shrinkage=recipe.shrinkage)
    expected = fisher.fit_transform(axes.transform(rows), labels)
    found = layer(torch.from_numpy(rows)).detach().numpy()
    # The solvers choose signs of axes; distances between photos do not depend on them.
    np.testing.assert_allclose(found @ found.T, expected @ expected.T, atol=0.02, rtol=0.02)


def test_the_contrastive_loss_is_its_equation() -> None:
    features, persons = torch.randn(5, 3, generator=torch.Generator().manual_seed(1)), [0, 1, 0, 1, 2]
    unit = features / features.norm(dim=1, keepdim=True)
    losses = []
    for i in range(5):
        others = [a for a in range(5) if a != i]
        own = [p for p in others if persons[p] == persons[i]]
        below = sum(math.exp(float(unit[i] @ unit[a]) / 0.2) for a in others)
        if own:
            losses.append(
                -sum(math.log(math.exp(float(unit[i] @ unit[p]) / 0.2) / below) for p in own) / len(own)
            )
    found = second_training.contrastive_loss(features, torch.tensor(persons), temperature=0.2)
    assert float(found) == pytest.approx(sum(losses) / 4, rel=1e-5)


def test_patterns_are_those_of_another_implementation() -> None:
    grey = torch.from_numpy(_pictures(1)[..., 0]).float()[None] / 255
    found = second_network.local_patterns(grey)
    # scikit-image has no types.
    patterns: Callable[..., Any] = local_binary_pattern
    codes = patterns((255 * grey[0, 0]).round().numpy().astype(np.uint8), 8, 2, "nri_uniform")
    codes = codes.astype(int)[13:109, 6:90].reshape(8, 12, 7, 12).transpose(0, 2, 1, 3).reshape(56, 144)
    counts = np.stack([np.bincount(cell, minlength=59) for cell in codes])
    ours = (found.reshape(59, 56).T.square() * 144).round().numpy()
    # The numbering of the patterns is free: compare how often each cell shows its patterns.
    np.testing.assert_array_equal(np.sort(ours, axis=1), np.sort(counts, axis=1))


def test_gradient_histograms_tell_the_direction_of_a_ramp() -> None:
    across = torch.linspace(0, 1, 96).expand(1, 1, 112, 96)
    for image, angle in ((across, 0.0), (across.flip(3), math.pi)):
        blocks = second_network.gradient_histograms(image).reshape(4, 12, 11, 9)
        # The two directions nearest to the angle share it; every other one stays empty.
        place = angle / (2 * math.pi) * 12
        near = {int(place - 0.5) % 12 if place else 11, int(place + 0.5) % 12}
        assert {int(one) for one in (blocks[0, :, 5, 5] > 0.1).nonzero()} == near


def test_erasing_blanks_a_part_and_changes_nothing_else() -> None:
    images = torch.ones(8, 1, 56, 48)
    erased = second_training.erased(images, torch.Generator().manual_seed(0))
    assert set(erased.unique().tolist()) == {0.0, 1.0}
    for picture in erased[:, 0]:
        rows, columns = (picture == 0).nonzero(as_tuple=True)
        if len(rows):
            box = picture[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
            assert box.sum() == 0
            assert max(box.shape) <= 22


def _some_features() -> tuple[np.ndarray, list[str]]:
    rng = np.random.default_rng(4)
    persons = [f"p{place % 6}" for place in range(40)]
    centres = {person: rng.normal(size=5) for person in set(persons)}
    return unit_rows(np.stack([centres[one] + 0.8 * rng.normal(size=5) for one in persons])), persons


@pytest.mark.parametrize("rate", [1e-3, 0.01, 0.2])
def test_true_and_false_matches_are_those_of_plain_counting(rate: float) -> None:
    features, persons = _some_features()
    found = verified(features, persons, false_matches=rate)
    own: list[float] = []
    others: list[float] = []
    for i, j in itertools.combinations(range(len(persons)), 2):
        (own if persons[i] == persons[j] else others).append(float(features[i] @ features[j]))
    allowed = max(math.floor(rate * len(others)), 1)
    # Plain search: the lowest of all cosines that at most so many impostors exceed.
    limit = min(one for one in others if sum(other > one for other in others) <= allowed)
    assert found.limit == pytest.approx(limit)
    assert found.impostors == len(others)
    assert found.false_matches == pytest.approx(sum(one > limit for one in others) / len(others))
    assert found.accepted.tolist() == [one > limit for one in own]


@pytest.mark.parametrize("persons", [["a", "a", "a"], ["a", "b", "c"]])
def test_pairs_of_one_kind_only_are_refused(persons: list[str]) -> None:
    with pytest.raises(UsageError, match="two photos of a person"):
        verified(np.eye(3), persons)


def test_one_photo_of_each_person_in_the_gallery_is_plain_nearest_neighbour() -> None:
    features, persons = _some_features()
    expected = []
    for turn in range(6):  # the person with the fewest photos has six
        gallery = [[i for i, one in enumerate(persons) if one == name][turn] for name in sorted(set(persons))]
        for probe in sorted(set(range(len(persons))) - set(gallery)):
            best = gallery[int(np.argmax([features[place] @ features[probe] for place in gallery]))]
            expected.append((persons[best] == persons[probe], persons[probe]))
    right, asked = one_each(features, persons)
    assert list(zip(right.tolist(), asked.tolist(), strict=True)) == expected


def test_the_recipe_changes_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = Context(profile="smoke", data=DataFolders(), work=tmp_path)
    for steps in (1, 2):
        recipe = Recipe(steps=steps, persons_each=2, photos_each=2, varied=0)
        monkeypatch.setattr(second, "recipe_of", lambda _, recipe=recipe: recipe)
        second.second_recogniser(context)
    assert len(list((tmp_path / "networks").glob("second-*.safetensors"))) == 2
