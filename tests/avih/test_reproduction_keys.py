"""Figures 5 and 6 on drawn faces with tiny keys, and their sums and findings on figures made by hand."""

import numpy as np
import pytest

from avih.images import decode_photo
from avih.reproduction.context import Context, DataFolders
from avih.reproduction.hiding import keys
from avih.reproduction.hiding.key_matrix import draw_matrix, matrix_findings, matrix_rows, split_matrix


@pytest.fixture(scope="module")
def context(tmp_path_factory):
    return Context(profile="smoke", data=DataFolders(), work=tmp_path_factory.mktemp("work"))


@pytest.fixture(scope="module")
def figure_5(context):
    return keys.cross_recovery(context)


@pytest.fixture(scope="module")
def figure_6(context):
    return keys.attack_model(context)


def figures(outcome, metric):
    return {row.label: row.ours for row in outcome.rows if row.metric == metric}


def test_the_matrix_falls_into_own_and_other_keys():
    matrix = np.arange(9.0).reshape(3, 3)
    own, others = split_matrix(matrix)
    assert own.tolist() == [0, 4, 8]
    assert others.tolist() == [[1, 2], [3, 5], [6, 7]]
    by_photo = np.stack([matrix, matrix + 10], axis=2)
    assert split_matrix(by_photo)[1].shape == (3, 2, 2)


def test_rows_of_a_matrix_are_means_and_the_worst_pair_of_keys():
    similar = np.full((3, 3, 2), 0.1)
    similar[np.arange(3), np.arange(3)] = [[0.7, 0.9], [0.8, 0.8], [0.9, 0.7]]
    similar[2, 0] = [0.6, 0.2]  # the mean counts, not the worse photo
    rows = {(row.label, row.metric): row for row in matrix_rows(similar, similar / 2, np.full((3, 2), 0.02))}
    assert rows["own key", "ssim_d"].ours == pytest.approx(0.8)
    assert rows["own key", "ssim_d"].n == 6
    assert rows["other keys", "ssim_d"].ours == pytest.approx((10 * 0.1 + 0.8) / 12)
    assert rows["other keys, the worst pair of keys", "ssim_d"].ours == pytest.approx(0.4)
    assert rows["other keys, the worst pair of keys", "cells"].ours == pytest.approx(0.2)
    assert rows["protected", "ssim_e"].ours == pytest.approx(0.02)


@pytest.mark.parametrize(
    ("worst", "said"), [(0.02, "another holds here"), (0.35, "another does not hold here")]
)
def test_the_finding_is_held_against_a_guess_without_the_picture(worst, said):
    matrix = np.full((3, 3), 0.02) + 0.8 * np.eye(3)
    matrix[0, 1] = worst
    findings = matrix_findings(matrix, guess=0.3, chance=0.05)
    assert said in findings[0]
    assert ("shows something" in findings[1]) == (split_matrix(matrix)[1].mean() > 0.07)


def test_the_heat_map_is_a_picture(tmp_path):
    path = tmp_path / "matrix.png"
    draw_matrix(np.eye(4), path=path)
    assert decode_photo(path.read_bytes(), name="matrix.png").pixels.std() > 10


def test_figure_5_recovers_best_with_the_own_key(context, figure_5):
    similar = figures(figure_5, "ssim_d")
    assert similar["own key"] > similar["other keys, the worst pair of keys"] >= similar["other keys"]
    assert figures(figure_5, "ssim_e")["protected"] < 0.1
    assert (context.work / "results" / figure_5.figure).is_file()
    assert [row.n for row in figure_5.rows if row.label == "other keys"] == [12, 12]


def test_keys_differ_and_files_of_one_key_are_not_taken_for_another(context, figure_5):
    networks = {path.read_bytes() for path in (context.work / "networks").glob("resnet-*")}
    assert len(networks) == 3
    sets = [path.name for path in (context.work / "protected").glob("avih-keys-*")]
    assert len({name.rsplit("-", 1)[-1] for name in sets}) == 3


def test_figure_6_attacks_both_keys_and_mixing(figure_6):
    similar = figures(figure_6, "ssim_d")
    assert {
        "guess without the picture", "key 1, its owner", "keyed mixing, its owner",
        "6 leaked pairs of key 1, unseen pictures of key 1", "6 leaked pairs of key 1, unseen pictures of key 2",
        "6 leaked pairs under keyed mixing, unseen pictures",
    } < set(similar)  # fmt: skip
    assert similar["key 1, its owner"] > similar["6 leaked pairs of key 1, unseen pictures of key 2"]
    assert all(row.n == 2 and -1 <= row.ours <= 1 for row in figure_6.rows)
    assert len(figure_6.findings) == 3


def test_a_second_run_trains_no_attack(context, figure_6, monkeypatch):
    monkeypatch.setattr(keys, "Training", None)
    assert keys.attack_model(context) == figure_6


def test_nobody_is_leaked_and_attacked(context):
    leak = keys._leak(context)
    leaked, attacked = ({face.person for face in faces} for faces in (leak.leaked, leak.attacked))
    assert leaked and attacked and not leaked & attacked
    # The first pairs are of as many persons as there are.
    assert len({face.person for face in leak.leaked[: len(leaked)]}) == len(leaked)


def test_findings_on_leaks_follow_the_figures():
    good = keys.attack_findings({"key 1": 0.3, "key 2": 0.01, "keyed": 0.0}, pairs=9)
    assert "holds here" in good[0] and "holds here" in good[1] and "brings nothing" in good[2]
    bad = keys.attack_findings({"key 1": 0.02, "key 2": 0.2, "keyed": 0.2}, pairs=9)
    assert "does not hold" in bad[0] and "does not hold" in bad[1] and "brings something" in bad[2]
