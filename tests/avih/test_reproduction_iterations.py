"""Table 6 and Figures 10 and 11 on drawn faces with tiny keys, and their findings on figures made by hand."""

import numpy as np
import pytest

from avih.images import decode_png
from avih.protection import Protector
from avih.reproduction.context import Context, DataFolders
from avih.reproduction.hiding import iterations, trajectory
from avih.reproduction.networks import SECRET


@pytest.fixture(scope="module")
def context(tmp_path_factory):
    return Context(profile="smoke", data=DataFolders(), work=tmp_path_factory.mktemp("work"))


@pytest.fixture(scope="module")
def table_6(context):
    return iterations.table(context)


def figures(outcome, metric):
    return [row.ours for row in outcome.rows if row.metric == metric]


def test_more_iterations_take_longer_and_recover_better(table_6):
    for metric in ("seconds per batch", "ssim_d", "cos"):
        values = figures(table_6, metric)
        assert len(values) == 3 and values == sorted(values) and values[0] < values[-1]
    assert max(figures(table_6, "ssim_e")) < 0.1
    assert figures(table_6, "ssim_d")[-1] > figures(table_6, "ssim_d_external")[-1]


def test_what_is_seen_on_the_way_is_what_a_run_of_so_many_steps_ends_with(context):
    run = trajectory.start(context, persons=2)
    _, on_the_way = run.watch()[4]
    settings = run.settings.model_copy(update={"steps": 4})
    protector = Protector(SECRET, run.own.generator, run.source.recogniser, settings, "iterations")
    ended = protector.protect(
        pictures=[photo.pixels for photo in run.photos], images=[photo.name for photo in run.photos]
    )
    for seen, one in zip(on_the_way, ended, strict=True):
        np.testing.assert_array_equal(seen, one.pixels)


def test_a_second_run_and_figure_11_use_the_same_measurements(context, table_6, monkeypatch):
    first = iterations.pictures(context)
    strip = decode_png((context.work / "results" / first.figure).read_bytes())
    assert min(strip.shape[:2]) > 300 and strip.std() > 10
    assert figures(first, "ssim_d") == figures(table_6, "ssim_d")
    monkeypatch.setattr(trajectory, "Protector", None)
    assert iterations.table(context) == table_6
    assert iterations.pictures(context) == first
    (context.work / "results" / first.figure).unlink()
    with pytest.raises(TypeError):  # a lost strip is drawn anew, which needs the run
        iterations.pictures(context)


def test_the_time_of_batches_is_given_per_image_and_per_batch(context):
    outcome = iterations.batch_sizes(context)
    per_image, per_batch = (figures(outcome, f"seconds per {what}") for what in ("image", "batch"))
    assert len(per_image) == 2 and min(per_image) > 0
    assert per_batch == pytest.approx([per_image[0], 2 * per_image[1]])
    assert "extrapolated to 800 steps" in outcome.setting


def test_the_papers_figures_stand_beside_ours_in_the_papers_rows():
    assert set(iterations.PAPER_SSIM_D) == set(iterations.PAPER_COS) == set(iterations.PAPER_SECONDS)
    assert tuple(iterations.PAPER_SSIM_D) == trajectory.ITERATIONS


def measured(ssim_d, external, cos=0.99):
    return {"ssim_d": [ssim_d], "ssim_d_external": [external], "cos": [cos]}


def test_findings_follow_the_figures():
    good = iterations.findings({100: measured(0.7, 0.4), 400: measured(0.88, 0.3), 800: measured(0.9, 0.2)})
    assert len(good) == 3 and "raise the quality holds here" in good[0]
    assert "400 iterations cost little quality holds here" in good[1]
    assert "0.400 after 100 iterations and 0.200 after 800" in good[2]
    bad = iterations.findings({100: measured(0.7, 0.1), 400: measured(0.6, 0.1), 800: measured(0.9, 0.2)})
    assert len(bad) == 2 and all("does not hold here" in one for one in bad)
