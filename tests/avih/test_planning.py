"""Planning: ranges, sums and steps by hand, and each past plan against the version that followed it."""

import pytest

from avih.errors import UsageError
from avih.planning import (
    NOTHING,
    Accuracy,
    ImageTrial,
    PastPlan,
    PastRun,
    Spread,
    StageCost,
    accuracy,
    expected_share,
    hours_in_all,
    measured,
    ratios,
    seconds_each,
    steps_each,
)

A, B = "a" * 64, "b" * 64
HERE, THERE = "processor, 2 threads", "graphics card"


def plan(newest: int, seconds: float = 2.0, settings: str = A, machine: str = HERE) -> PastPlan:
    return PastPlan(settings, "recogniser", machine, newest, seconds)


def run(version: int, seconds: float, images: int, settings: str = A, machine: str | None = None) -> PastRun:
    return PastRun(version, settings, "recogniser", machine, seconds, images)


def close(spread: Spread) -> object:
    return pytest.approx((spread.mean, spread.low, spread.high))


def test_a_range_is_that_of_the_sample_where_it_is_wide() -> None:
    # 1, 2, ..., 11: the 10th percentile is the second of eleven values, the 90th the tenth.
    assert close(Spread.of([float(n) for n in range(1, 12)])) == (6.0, 2.0, 10.0)


@pytest.mark.parametrize("sample", [[5.0], [5.0, 5.0, 5.0], [4.9, 5.1]])
def test_a_range_is_never_narrower_than_a_fifth(sample: list[float]) -> None:
    assert close(Spread.of(sample)) == (5.0, 4.0, 6.0)


def test_a_range_may_be_wide_to_one_side_only() -> None:
    # Mean 2; percentiles of 1 1 1 1 1 1 1 1 1 11 are 1 and 2; a fifth above the mean is 2.4.
    assert close(Spread.of([1.0] * 9 + [11.0])) == (2.0, 1.0, 2.4)


def test_an_empty_sample_is_refused() -> None:
    with pytest.raises(UsageError, match="at least one measured value"):
        Spread.of([])


def test_hours_are_the_sum_of_the_stages() -> None:
    stages = [
        StageCost("align", 1800, "images", Spread(1.0, 0.5, 2.0)),
        StageCost("key", 0, "steps", None),
        StageCost("protect", 900, "images", Spread(8.0, 6.0, 12.0)),
        StageCost("evaluate", 0, "images", Spread(1.0, 1.0, 1.0)),
    ]
    assert close(stages[0].seconds) == (1800, 900, 3600)
    assert stages[1].seconds == stages[3].seconds == NOTHING
    # 1800 + 7200 s, 900 + 5400 s, 3600 + 10800 s; at 2.50 an hour.
    assert close(hours_in_all(stages)) == (2.5, 1.75, 4.0)
    assert close(hours_in_all(stages).times(2.5)) == (6.25, 4.375, 10.0)
    assert hours_in_all([]) == NOTHING


def test_images_that_were_done_count_with_their_steps_and_others_with_the_most() -> None:
    trials = [ImageTrial(10, True), ImageTrial(30, True), ImageTrial(60, False)]
    assert steps_each(trials, most=200) == [10, 30, 200]
    # A batch of 3 for 60 steps, 180 image-steps in 9 s: 0.05 s each.
    assert seconds_each(trials, seconds=9.0, most=200) == pytest.approx([0.5, 1.5, 10.0])
    with pytest.raises(UsageError, match="at least one step"):
        seconds_each([], seconds=5.0, most=200)


def test_photos_without_a_face_are_not_protected() -> None:
    assert expected_share(photos=1000, sampled=8, fitting=8) == 1000
    assert expected_share(photos=1000, sampled=8, fitting=6) == 750
    assert expected_share(photos=0, sampled=8, fitting=6) == 0
    for sampled, fitting in ((0, 0), (8, 9), (8, -1)):
        with pytest.raises(UsageError, match="at most as many faces"):
            expected_share(photos=10, sampled=sampled, fitting=fitting)


def test_a_plan_is_held_against_the_version_made_next_after_it() -> None:
    runs = [run(3, 90.0, 30), run(1, 40.0, 10), run(2, 10.0, 10)]  # 3, 4 and 1 s per image
    assert ratios([plan(0)], runs) == [2.0]
    assert ratios([plan(1)], runs) == [0.5]
    assert ratios([plan(2)], runs) == [1.5]
    assert ratios([plan(3)], runs) == []


def test_versions_made_otherwise_are_passed_over() -> None:
    runs = [
        run(1, 40.0, 10, settings=B),
        run(2, 50.0, 10, machine=THERE),
        PastRun(3, A, "another", None, 60.0, 10),
        run(4, 0.0, 0),  # everything was taken over
        run(5, 70.0, 10, machine=HERE),
    ]
    assert ratios([plan(0)], runs) == [3.5]
    assert ratios([plan(0, settings=B)], runs) == [2.0]
    assert ratios([plan(0, machine=THERE)], runs) == [2.5]
    assert [r.version for r in measured(runs, settings_sha256=A, recogniser="recogniser", machine=HERE)] == [
        5
    ]


def test_a_run_of_an_unknown_machine_is_compared_all_the_same() -> None:
    assert ratios([plan(0, machine=HERE), plan(0, machine=THERE)], [run(1, 20.0, 10)]) == [1.0, 1.0]


def test_several_plans_are_summed_up() -> None:
    plans = [plan(0, 2.0), plan(0, 4.0), plan(1, 1.0), plan(2, 1.0)]
    runs = [run(1, 20.0, 10), run(2, 9.0, 10)]
    assert accuracy(plans, runs) == Accuracy(plans=4, compared=3, low=0.5, median=0.9, high=1.0)


@pytest.mark.parametrize(
    ("plans", "runs"), [([], []), ([], [run(1, 1.0, 1)]), ([plan(0)], []), ([plan(0, 0.0)], [run(1, 1.0, 1)])]
)
def test_nothing_to_compare(plans: list[PastPlan], runs: list[PastRun]) -> None:
    assert accuracy(plans, runs) == Accuracy(plans=len(plans), compared=0, low=None, median=None, high=None)
