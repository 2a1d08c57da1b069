"""The tables of Veil Privacy on drawn faces and on a made-up folder in ORL's layout."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import binomtest

from avih.classifiers.lenet import lenet5, seeded
from avih.classifiers.train import Labelled
from avih.errors import UsageError
from avih.reproduction.context import Context, DataFolders
from avih.reproduction.outcome import NotRun, Outcome, Row
from avih.reproduction.veil_privacy import accuracy as veiled
from avih.reproduction.veil_privacy import kept as veiled_kept
from avih.reproduction.veil_privacy import training as veiled_more
from avih.reproduction.veil_privacy.ablations import flip_ratio
from avih.reproduction.veil_privacy.data import Group, different, everybody, groups, pool
from avih.reproduction.veil_privacy.digits import digits
from avih.reproduction.veil_privacy.hiding import similarity
from avih.reproduction.veil_privacy.inversion import figure_4, invert, one_each
from avih.reproduction.veil_privacy.restoration import NONE, best, figure_5, noised, restored
from avih.reproduction.veil_privacy.rows import accuracy_row, agrees
from avih.veil_privacy.flip import to_signed

TABLES = (
    veiled.accuracy,
    similarity,
    veiled_more.variants,
    flip_ratio,
    figure_4,
    figure_5,
)


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Context:
    return Context(profile="smoke", data=DataFolders(), work=tmp_path_factory.mktemp("veil_privacy"))


@pytest.fixture(scope="module")
def outcomes(context: Context) -> dict[str, Outcome]:
    return {table.__name__: table(context) for table in TABLES}


@pytest.fixture(scope="module")
def orl(tmp_path_factory: pytest.TempPathFactory) -> Context:
    """Forty persons of five photos of noise: enough to look at splits."""
    root, draw = tmp_path_factory.mktemp("orl"), np.random.default_rng(0)
    for person in range(1, 41):
        (root / f"s{person}").mkdir()
        for photo in range(1, 6):
            pixels = draw.integers(0, 256, (24, 20), dtype=np.uint8)
            Image.fromarray(pixels).save(root / f"s{person}" / f"{photo}.pgm")
    return Context(profile="cpu", data=DataFolders(orl=root), work=root)


def row(outcome: Outcome, label: str, metric: str) -> Row:
    (found,) = [one for one in outcome.rows if one.label == label and one.metric == metric]
    return found


def value(outcome: Outcome, label: str, metric: str = "ssim_e") -> float:
    found = row(outcome, label, metric).ours
    assert found is not None
    return found


def test_groups_share_no_person_and_no_photo(orl: Context) -> None:
    found = groups(orl)
    assert len(found) == 3
    assert len({person for group in found for person in group.persons}) == 36
    assert different(found) == 99
    for group in found:
        assert group.newcomer is not None and group.others is not None
        parts = [group.setup.train, group.setup.test, group.newcomer.train, group.newcomer.test]
        images = [image for part in parts for image in part.images]
        assert len(images) == len(set(images)) == 12 * 5
        assert {image.split("/")[0] for image in images} == set(group.persons)
        assert [len(part.labels) for part in parts] == [22, 33, 2, 3]
        assert set(group.newcomer.test.labels.tolist()) == {11}
        assert len(group.others) == 28 * 5
        for data in parts:
            for label, image in zip(data.labels, data.images, strict=True):
                assert image.startswith(group.persons[label] + "/")


def test_labels_belong_to_the_pictures_of_their_person(orl: Context) -> None:
    there = pool(orl)
    assert there.persons[:3] == ("s1", "s2", "s3") and there.persons[-1] == "s40"
    chosen = there.of([5, 2])
    assert chosen.labels.tolist() == [0] * 5 + [1] * 5
    np.testing.assert_array_equal(chosen.pictures[:5], there.photos.pictures[there.photos.labels == 5])


def test_too_few_persons_or_no_folder_is_not_run(tmp_path: Path) -> None:
    missing = Context(profile="cpu", data=DataFolders(orl=tmp_path / "nothing"), work=tmp_path)
    with pytest.raises(NotRun, match="ORL is missing"):
        groups(missing)
    for person in range(1, 12):
        (tmp_path / f"s{person}").mkdir()
        Image.fromarray(np.zeros((24, 20), dtype=np.uint8)).save(tmp_path / f"s{person}" / "1.pgm")
    with pytest.raises(NotRun, match="12 persons or more is missing: the folder has 11"):
        groups(Context(profile="cpu", data=DataFolders(orl=tmp_path), work=tmp_path))


def test_all_persons_make_one_group(orl: Context) -> None:
    (group,) = everybody(orl)
    assert len(group.persons) == group.setup.classes == 40
    assert group.newcomer is None and len(group.setup.test.labels) == 120


def test_facts_change_with_the_split_and_with_the_settings(orl: Context) -> None:
    one, two = groups(orl)[:2]
    assert one.facts() == groups(orl)[0].facts() != two.facts()
    faster = replace(
        one, setup=replace(one.setup, training=one.setup.training.model_copy(update={"epochs": 3}))
    )
    assert faster.facts() != one.facts() != one.facts(veiled_class=1)


def test_a_veil_does_not_depend_on_pieces_and_is_kept(
    context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = groups(context)[0]
    model = veiled_kept.baseline(context, group)
    whole = veiled_kept.veiled(context, group, model=model)
    elsewhere = replace(context, work=tmp_path)
    monkeypatch.setattr(veiled_kept, "PIECE", 8)
    pieces = veiled_kept.veiled(elsewhere, group, model=model)
    np.testing.assert_array_equal(pieces.pictures, whole.pictures)
    assert torch.equal(pieces.stored_loss, whole.stored_loss)
    assert len(list((tmp_path / "veil_privacy").glob("*.npz"))) == 2
    monkeypatch.setattr(veiled_kept, "veil", None)  # called again, it would raise TypeError
    again = veiled_kept.veiled(elsewhere, group, model=model)
    np.testing.assert_array_equal(again.pictures, whole.pictures)
    with pytest.raises(TypeError):
        veiled_kept.veiled(elsewhere, group, model=model, layer="conv")


def test_a_network_is_kept_and_another_training_set_makes_another(context: Context) -> None:
    group = groups(context)[0]
    first, second = (veiled_kept.baseline(context, group) for _ in range(2))
    for one, two in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, two)
    fewer = group.setup.train.select(np.arange(6))
    other = veiled_kept.network(context, group, fewer, made="veil-privacy-baseline")
    assert not torch.equal(other.fc3.weight, first.fc3.weight)


def test_rates_lie_in_their_intervals_and_nothing_absent_has_a_figure(outcomes: dict[str, Outcome]) -> None:
    for outcome in outcomes.values():
        assert outcome.mark == "substitute" and outcome.data.startswith("drawn faces")
        assert outcome.findings and outcome.setting
        for one in outcome.rows:
            assert (one.ours is None) == ("not at hand" in one.data)
            if one.ours is not None and one.low is not None and one.high is not None:
                assert one.low - 1e-9 <= one.ours <= one.high + 1e-9
            if one.metric.startswith("acc_") and one.ours is not None:
                assert 0 <= one.ours <= 100 and one.n is not None


def test_a_second_run_measures_nothing_new(
    context: Context, outcomes: dict[str, Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("network", "veiled", "baseline"):
        for module in (veiled, veiled_more):
            monkeypatch.setattr(module, name, None)
    again = replace(context, tell=pytest.fail)
    for table in TABLES:
        assert table(again) == outcomes[table.__name__]


def test_the_folded_view_shows_what_the_veil_is_said_to_hide(outcomes: dict[str, Outcome]) -> None:
    table = outcomes["similarity"]
    hidden = value(table, "ORL: veiled and original, mean")
    assert hidden < 0.1
    assert value(table, "folded views |x'| and |x|, without any secret", "ssim_folded") > 0.8
    assert value(table, "flips turned back with the secret, and original") > 0.8
    assert value(table, "two originals of one person") > value(table, "originals of two persons")
    assert any("does not hide the picture" in one for one in table.findings)


def test_noise_has_nothing_to_fold(outcomes: dict[str, Outcome]) -> None:
    table = outcomes["flip_ratio"]
    assert abs(value(table, "noise", "ssim_folded")) < 0.2 < value(table, "p = 0.5", "ssim_folded")
    assert value(table, "flips alone, no iteration", "ssim_folded") == pytest.approx(1)
    pictures = [one for one in table.rows if one.metric == "ssim_e, one picture"]
    assert len(pictures) == 9 and all(one.paper is not None for one in pictures)


def test_table_4_counts_different_photos(context: Context, outcomes: dict[str, Outcome]) -> None:
    table = outcomes["variants"]
    counts = {
        ("ORL: combination", "acc_total"): 6, ("ORL: combination", "acc_veiled"): 2,
        ("ORL: fine-tuning", "acc_total"): 8, ("ORL: fine-tuning", "acc_veiled"): 2,
        ("ORL: transfer", "acc_original"): 6,
    }  # fmt: skip
    assert {key: row(table, *key).n for key in counts} == counts


def test_restoring_helps_noised_pictures_and_the_plain_one_is_a_control(outcomes: dict[str, Outcome]) -> None:
    table = outcomes["figure_5"]
    assert value(table, "ORL: noised, restored") > value(table, "ORL: noised") + 0.1
    plain = value(table, "ORL: a plain picture of the veiled one's mean, which shows nothing")
    assert plain > value(table, "ORL: veiled")


def test_an_accuracy_row_has_wilsons_interval_over_different_photos() -> None:
    once = accuracy_row(label="a", metric="acc", counts=[(32, 33), (31, 33)], paper=96.97)
    expected = binomtest(63, 66).proportion_ci(method="wilson")
    assert once.n == 66 and once.ours == pytest.approx(100 * 63 / 66)
    assert (once.low, once.high) == pytest.approx((100 * expected.low, 100 * expected.high), abs=1e-3)
    repeated = accuracy_row(label="a", metric="acc", counts=[(32, 33), (32, 33)], different=33)
    expected = binomtest(32, 33).proportion_ci(method="wilson")
    assert repeated.n == 33 and repeated.low == pytest.approx(100 * expected.low, abs=1e-3)
    assert "inside" in agrees(once, claim="a") and "not compared" in agrees(repeated, claim="a")
    with pytest.raises(UsageError, match="Expected from 1 to 4 different pictures"):
        accuracy_row(label="a", metric="acc", counts=[(3, 4)], different=5)


def test_inversion_comes_nearer_to_the_scores_than_grey() -> None:
    network = seeded(lambda: lenet5(classes=4, height=16, width=16), seed=1).eval().requires_grad_(False)
    originals = np.random.default_rng(0).integers(0, 256, (3, 1, 16, 16), dtype=np.uint8)
    found = invert(network, originals=originals, steps=60)
    wanted, grey = network(to_signed(originals)), network(torch.zeros(3, 1, 16, 16))
    near = (network(to_signed(found)) - wanted).square().sum(1)
    assert bool((near < 0.2 * (grey - wanted).square().sum(1)).all())


@cache
def labelled() -> Labelled:
    return Labelled(np.zeros((6, 1, 4, 4), dtype=np.uint8), np.array([0, 0, 0, 1, 1, 2]), tuple("abcdef"))


def test_attacked_photos_show_as_many_persons_as_there_are() -> None:
    assert one_each(labelled(), 3).tolist() == [0, 3, 5]
    assert one_each(labelled(), 5).tolist() == [0, 3, 5, 1, 4]


def test_noise_and_denoisers_keep_to_bytes() -> None:
    grey = np.full((2, 1, 40, 40), 128, dtype=np.uint8)
    noisy = noised(grey, sigma=20, seed=1)
    assert noisy.dtype == np.uint8 and noisy.std() == pytest.approx(20, rel=0.05)
    np.testing.assert_array_equal(noisy, noised(grey, sigma=20, seed=1))
    np.testing.assert_array_equal(restored(grey, lambda picture: picture), grey)
    assert restored(grey, lambda picture: picture + 1).min() == 255


def test_the_best_denoiser_is_best_on_average_and_never_nothing() -> None:
    assert best([{NONE: [9.0], "a": [1.0], "b": [2.0]}, {NONE: [9.0], "a": [4.0], "b": [2.0]}]) == "a"


def test_digits_are_split_by_class(context: Context) -> None:
    group: Group = digits(context)
    assert group.setup.classes == 10 and len(group.setup.test.labels) == 20
    assert group.setup.train.pictures.shape == (40, 1, 32, 32)
