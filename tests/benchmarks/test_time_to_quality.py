"""When a variant counts as having reached the baseline's quality, on curves made by hand."""

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
import torch

from benchmarks.quality import Moment, Quality, baseline_reaching, first_reaching, shortfalls
from benchmarks.report import VariantRun, draw, judged, summarise, table
from benchmarks.trajectory import Recorder, Snapshot, Stopwatch, put_together, watched_steps

TARGET = Quality(ssim_e=0.02, ssim_d=0.76, cos=0.999, cos_worst=0.998, wrong_key_ssim_d=0.1)


def quality(ssim_d: float, cos: float, ssim_e: float = 0.02, wrong: float = 0.1) -> Quality:
    return Quality(ssim_e=ssim_e, ssim_d=ssim_d, cos=cos, cos_worst=cos - 0.001, wrong_key_ssim_d=wrong)


def curve(*points: Quality, seconds: float = 1.0) -> tuple[Moment, ...]:
    return tuple(Moment(10 * n, seconds * n, point) for n, point in enumerate(points, start=1))


def test_the_first_moment_that_is_as_good_in_every_figure_counts() -> None:
    moments = curve(quality(0.9, 0.9), quality(0.7, 0.9999), quality(0.76, 0.999), quality(0.8, 0.9999))
    found = first_reaching(moments, target=TARGET)
    assert found is not None and (found.step, found.seconds_per_image) == (30, 3.0)


def test_a_curve_that_never_gets_there_has_no_time() -> None:
    assert first_reaching(curve(quality(0.7599, 0.9999), quality(0.9, 0.9989)), target=TARGET) is None
    assert first_reaching((), target=TARGET) is None


@pytest.mark.parametrize("worse", [{"ssim_e": 0.0301}, {"wrong": 0.1101}])
def test_what_shows_more_of_the_original_does_not_count(worse: dict[str, float]) -> None:
    moments = curve(quality(0.9, 0.9999, **worse), quality(0.8, 0.9995))
    found = first_reaching(moments, target=TARGET)
    assert found is not None and found.step == 20
    assert first_reaching(moments[:1], target=TARGET) is None
    within = first_reaching(moments[:1], target=TARGET, tolerance=0.02)
    assert within is not None and within.step == 10


def test_a_shortfall_is_named() -> None:
    worst = Quality(ssim_e=0.9, ssim_d=0.1, cos=0.1, cos_worst=0.1, wrong_key_ssim_d=0.9)
    names = shortfalls(worst, TARGET, slack=0, tolerance=0.01)
    assert names == ("ssim_d", "cos", "ssim_e", "wrong_key_ssim_d")
    assert shortfalls(TARGET, TARGET, slack=0, tolerance=0) == ()


def test_the_baseline_is_timed_to_where_it_is_as_good_as_it_ends_and_no_longer() -> None:
    slow = curve(quality(0.5, 0.99), quality(0.7595, 0.9985), quality(0.76, 0.999))
    assert baseline_reaching(slow).step == 20
    steep = curve(quality(0.5, 0.99), quality(0.7, 0.99), quality(0.76, 0.999))
    assert baseline_reaching(steep).step == 30


def repeat(fast: Sequence[Quality]) -> dict[str, VariantRun]:
    slow = curve(quality(0.5, 0.99), quality(0.76, 0.999), seconds=100)
    runs = {"baseline": VariantRun(slow, slow[-1], baseline_reaching(slow), 4)}
    moments = curve(*fast)
    target = slow[-1].quality
    runs["fast"] = judged(moments, moments[-1], target=target, tolerance=0.01, batch_size=2)
    return runs


GOOD, POOR = quality(0.8, 0.9995), quality(0.7, 0.9995)


def test_the_ratio_is_the_median_over_repeats_with_its_spread() -> None:
    repeats = [repeat([GOOD, GOOD]), repeat([POOR, GOOD]), repeat([POOR, GOOD])]
    summary = summarise(repeats, tolerance=0.01)
    assert summary["ratio"] == 100 and summary["ratio_spread"] == {"min": 100, "max": 200}
    assert summary["fast"]["seconds_to_quality"] == {"median": 2, "min": 1, "max": 2}
    assert summary["fast"]["at_quality"]["ssim_d"] == pytest.approx(0.8)
    assert summary["baseline"]["ratio"] == 1 and summary["notes"] == []


def test_one_repeat_that_falls_short_leaves_no_ratio_and_says_why() -> None:
    summary = summarise([repeat([GOOD]), repeat([POOR])], tolerance=0.01)
    assert summary["ratio"] is None and summary["fast"]["seconds_to_quality"] is None
    assert summary["fast"]["seconds_to_quality_each"] == [1.0, None]
    (note,) = summary["notes"]
    assert "fast" in note and "repeat 2" in note and "SSIM_d 0.70000 (baseline 0.76000)" in note


def test_table_and_plot_take_a_variant_without_a_time(tmp_path) -> None:
    summary = summarise([repeat([GOOD, GOOD]), repeat([POOR, POOR])], tolerance=0.01)
    assert table(summary).row_count == 2
    draw(summary, tmp_path / "deeper" / "plot.png")
    assert (tmp_path / "deeper" / "plot.png").stat().st_size > 10_000


def test_snapshots_get_sparser_and_end_with_the_last_step() -> None:
    assert watched_steps(12) == (5, 10, 12)
    steps = watched_steps(800)
    assert steps[:3] == (5, 10, 15) and steps[-1] == 800 and len(steps) < 40
    gaps = [(later - earlier) / later for earlier, later in itertools.pairwise(steps[4:])]
    assert max(gaps) <= 0.2


def test_the_clock_stands_still_while_a_snapshot_is_taken() -> None:
    times = iter([0.0, 2.0, 50.0, 53.0, 90.0, 94.0])  # start, pause, on, pause, on, stop
    clock = Stopwatch(now=lambda: next(times))
    recorder = Recorder(steps=(5, 10), clock=clock)
    with clock.running():
        for step in range(1, 11):
            recorder(step, torch.full((2, 3, 4, 4), step / 255))
    assert [(snapshot.step, snapshot.seconds) for snapshot in recorder.snapshots] == [(5, 2.0), (10, 5.0)]
    assert clock.seconds == 9.0
    assert (recorder.snapshots[0].pixels == 5).all()


def test_batches_that_ran_one_after_another_cost_the_sum_of_their_times() -> None:
    def batch(value: int, seconds: float) -> list[Snapshot]:
        return [Snapshot(5, seconds, np.full((2, 4, 4, 3), value, np.uint8))]

    (joined,) = put_together([batch(1, 3.0), batch(9, 4.0)])
    assert (joined.step, joined.seconds) == (5, 7.0)
    assert joined.pixels[:, 0, 0, 0].tolist() == [1, 1, 9, 9]
