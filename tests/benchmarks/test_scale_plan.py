"""Plans by simulation, against what can be worked out by hand."""

import json
import math

import pytest

from benchmarks.scale_plan import HOUR, Costs, main, most_workers, simulate

STEADY = Costs(image=2.0, spread=0.0, shard=0.0, engine=0.0, lifetime=1e12)


def test_steady_workers_share_the_shards_evenly():
    plan = simulate(images=8000, workers=4, shard_size=100, costs=STEADY, price=3)
    assert plan.shards == 80
    assert plan.hours * HOUR == pytest.approx(80 / 4 * 100 * 2)
    assert (plan.efficiency, plan.deaths, plan.last_alone) == (pytest.approx(100), 0, 0)
    assert plan.price == pytest.approx(plan.hours * 4 * 3)


def test_the_last_shard_may_be_short_and_workers_without_one_are_not_counted():
    plan = simulate(images=250, workers=10, shard_size=100, costs=STEADY)
    assert (plan.shards, plan.hours * HOUR) == (3, pytest.approx(200))
    assert plan.worker_hours * HOUR == pytest.approx(600)


def test_the_flow_bounds_the_workers():
    costs = Costs(image=1.0, spread=0.0, shard=0.0, engine=1.0, lifetime=1e12)
    assert most_workers(shard_size=100, costs=costs) == 100
    fewer, more = (simulate(images=200_000, workers=n, shard_size=100, costs=costs) for n in (100, 400))
    assert more.hours == pytest.approx(fewer.hours, rel=0.1)
    assert more.hours * HOUR == pytest.approx(2000 + 100)
    assert more.engine_share > 90 > more.efficiency * 2


def test_dying_workers_cost_time_and_nothing_is_left_out():
    costs = Costs(image=1.0, spread=0.0, shard=0.0, engine=0.0, lifetime=1.0, back=60.0)
    alive = simulate(images=400_000, workers=10, shard_size=600, costs=STEADY)
    dying = simulate(images=400_000, workers=10, shard_size=600, costs=costs)
    expected = dying.worker_hours / costs.lifetime
    assert abs(dying.deaths - expected) < 5 * math.sqrt(expected) and dying.deaths > 0 == alive.deaths
    assert dying.hours * HOUR > 400_000 / 10


def test_the_command_prints_every_plan(capsys):
    assert main(["--images", "1e5", "--workers", "2", "4", "--image", "0.7", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert [one["workers"] for one in shown["plans"]] == [2, 4] and shown["costs"]["image"] == 0.7
    assert main(["--images", "1e5", "--workers", "2"]) == 0
    assert "100,000" in capsys.readouterr().out
