"""Visual losses and what SSIM does not see, against independent answers; a small run of Figures 7 and 8."""

import numpy as np
import pytest
import torch

from avih.evaluation.metrics import ssim
from avih.reproduction.context import Context, DataFolders
from avih.reproduction.hiding import ablations
from avih.reproduction.hiding.ablation_findings import BLOCKS, METRICS, kernel_findings, loss_findings
from avih.reproduction.hiding.visual_losses import (
    VISUAL_LOSSES,
    GreyDistance,
    OriginalDistance,
    TotalVariation,
    cell_correlation,
    cell_means,
    folded,
)


@pytest.fixture(scope="module")
def context(tmp_path_factory):
    return Context(profile="smoke", data=DataFolders(), work=tmp_path_factory.mktemp("work"))


@pytest.fixture(scope="module")
def figure_7(context):
    return ablations.losses(context)


@pytest.fixture
def picture():
    return np.random.default_rng(3).integers(0, 256, (32, 24, 3), dtype=np.uint8)


def figure(outcome, label, metric):
    (value,) = [row.ours for row in outcome.rows if (row.label, row.metric) == (label, metric)]
    return value


def test_the_visual_losses_are_what_their_names_say():
    x, y = torch.rand(2, 3, 5, 4), torch.rand(2, 3, 5, 4)
    a, b = x.numpy().astype(np.float64), y.numpy().astype(np.float64)
    grey, far = GreyDistance(weight=1)(y), OriginalDistance(x, weight=1)(y)
    np.testing.assert_allclose(far, -((a - b) ** 2).mean(axis=(1, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(grey, ((b - 0.5) ** 2).mean(axis=(1, 2, 3)), rtol=1e-5)
    steps = [np.abs(np.diff(b, axis=axis)).mean(axis=(1, 2, 3)) for axis in (2, 3)]
    np.testing.assert_allclose(TotalVariation(weight=1)(y), steps[0] + steps[1], rtol=1e-5)


def test_cells_are_means_of_whole_squares(picture):
    cells = cell_means(picture[:31, :23])
    assert cells.shape == (3, 2)
    assert cells[2, 1] == pytest.approx(picture[16:24, 8:16].mean())


def test_cells_see_what_ssim_does_not(picture):
    """A face that is there only on average, below noise: SSIM finds nothing, whoever squints does."""
    rng = np.random.default_rng(0)
    original = np.kron(rng.integers(60, 190, (14, 12)), np.ones((8, 8))).astype(np.uint8)
    original = np.repeat(original[..., None], 3, axis=2)
    noise = rng.integers(-90, 91, original.shape)
    negative = np.clip(128 - 0.3 * (original - 125.0) + noise, 0, 255).astype(np.uint8)
    assert abs(ssim(original, negative)) < 0.1
    assert cell_correlation(original, negative) > 0.8
    assert cell_correlation(original, rng.integers(0, 256, original.shape)) < 0.3
    assert cell_correlation(original, original) == pytest.approx(1)
    assert cell_correlation(original, np.full_like(original, 7)) == 0


def test_folding_undoes_signs(picture):
    signs = np.random.default_rng(1).random(picture.shape) < 0.5
    flipped = np.where(signs, 255 - picture, picture).astype(np.uint8)
    np.testing.assert_array_equal(folded(flipped), folded(picture))


def test_figure_7_measures_every_loss_from_stored_values(figure_7):
    assert figure_7.mark == "substitute" and "drawn" in figure_7.data
    labels = {row.label for row in figure_7.rows}
    assert len(labels) == 5 and {"none", BLOCKS} < labels
    assert len(figure_7.rows) == 5 * len(METRICS)
    for row in figure_7.rows:
        assert row.paper is None and row.n == 2 and -1 <= row.ours <= 1
    assert figure(figure_7, BLOCKS, "cells") < figure(figure_7, "none", "cells")
    assert figure(figure_7, BLOCKS, "ssim_e") < 0.1
    assert figure(figure_7, "none", "ssim_d") > figure(figure_7, "none", "ssim_d_external")


def test_a_second_run_optimises_nothing(context, figure_7, monkeypatch):
    monkeypatch.setattr(ablations, "hide", None)
    assert ablations.losses(context) == figure_7


def test_figure_8_shares_the_paper_s_kernel_with_figure_7(context, figure_7):
    outcome = ablations.kernel(context)
    usual = "k 4, stride 1, weight 0.001"
    assert figure(outcome, usual, "ssim_d") == figure(figure_7, BLOCKS, "ssim_d")
    assert {row.label for row in outcome.rows} == {
        usual, "k 16, stride 1, weight 0.001", "k 4, stride 1, weight 0.01"
    }  # fmt: skip
    assert len(outcome.findings) == 2


def means(ssim_d, cells=0.1, ssim_e=0.01, external=0.1):
    return {"ssim_d": ssim_d, "cells": cells, "ssim_e": ssim_e, "ssim_d_external": external, "folded": 0.3}


def test_findings_on_kernels_follow_the_figures():
    claims = {(2, 1, 0.001): means(0.9), (4, 1, 0.001): means(0.8), (8, 1, 0.001): means(0.7)}
    claims |= {(4, 2, 0.001): means(0.8, cells=0.2), (4, 4, 0.001): means(0.8, cells=0.3)}
    claims[4, 1, 0.01] = means(0.79)
    assert all("holds here" in one for one in kernel_findings(claims))
    opposite = dict(claims) | {(8, 1, 0.001): means(0.95), (4, 4, 0.001): means(0.8, cells=0.0)}
    opposite[4, 1, 0.01] = means(0.5)
    assert all("does not hold here" in one for one in kernel_findings(opposite))


def test_findings_on_losses_compare_the_strongest_weight_that_recovers_as_well():
    found = {"none": means(0.9), BLOCKS: means(0.8, cells=0.1, external=0.1)}
    for kind in VISUAL_LOSSES:
        found[f"{kind}, 0.01"] = means(0.9, cells=0.7, external=0.3)
        found[f"{kind}, 0.03"] = means(0.79, cells=0.6, external=0.2)
        found[f"{kind}, 0.1"] = means(0.3, cells=0.0, external=0.0)
    _, *of_kinds, costs, _ = loss_findings(found)
    assert len(of_kinds) == 3
    for one in of_kinds:
        assert ", 0.03 (in brackets" in one and one.count("holds here") == 2
    assert "holds here: where it shows least, cells 0.00 and SSIM_d 0.300" in costs
    weaker = found | {name: means(0.8, cells=0.0, external=0.0) for name in found if "," in name}
    weaker[BLOCKS] = means(0.8)
    assert all(one.count("does not hold here") == 2 for one in loss_findings(weaker)[1:-2])
    assert "does not hold here: where" in loss_findings(weaker)[-2]
