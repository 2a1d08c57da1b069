"""From figures to a verdict, by tables; the margins against an independent binomial."""

import pytest
from scipy.stats import binom

from avih.attack.measure import Figures
from avih.attack.settings import AttackSettings
from avih.attack.verdict import at_least, level_of, recommended_budget, verdict_of, worse

SETTINGS = AttackSettings()


def figures(
    *, advantage: float = 0.0, hits: int | None = None, tries: int = 20, prior: float = 0.05
) -> Figures:
    rate = None if hits is None else hits / tries
    return Figures(
        images=tries, ssim=0.4 + advantage, ssim_advantage=advantage, id_images=tries, id_rate=rate,
        id_advantage=None if rate is None else rate - prior, lpips=None,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("hits", "tries", "rate"), [(0, 5, 0.2), (3, 20, 0.05), (9, 48, 0.083), (16, 16, 0.5)]
)
def test_the_tail_is_the_binomial_distributions(hits, tries, rate):
    assert at_least(hits, tries=tries, rate=rate) == pytest.approx(binom.sf(hits - 1, tries, rate))


@pytest.mark.parametrize(
    ("measured", "level"),
    [
        (figures(advantage=-0.2), "pass"),
        (figures(advantage=0.05), "pass"),
        (figures(advantage=0.06), "warn"),
        (figures(advantage=0.149), "warn"),
        (figures(advantage=0.15), "fail"),
        (figures(hits=1), "pass"),
        (figures(hits=3), "pass"),  # 15 % against 5 %, but 3 of 20 is luck in 1 of 13 cases
        (figures(hits=6), "fail"),
        (figures(hits=45, tries=300), "fail"),  # the same 15 % in 300 is not luck
        (figures(hits=27, tries=300), "pass"),
        (figures(hits=40, tries=300), "warn"),
        (figures(hits=0, prior=0.0), "pass"),
        (figures(hits=20, prior=0.0), "fail"),
        (figures(advantage=0.06, hits=20), "fail"),  # the worse of the two counts
    ],
)
def test_one_set(measured, level):
    assert level_of(measured, chance=0.02, settings=SETTINGS) == level


def test_twice_chance_is_allowed_where_there_are_few_persons():
    half = figures(hits=60, tries=100, prior=0.3)  # 30 points over the guess, two of five persons by chance
    assert level_of(half, chance=0.02, settings=SETTINGS) == "fail"
    assert level_of(half, chance=0.2, settings=SETTINGS) == "pass"


@pytest.mark.parametrize(("persons", "prior"), [(2, 0.5), (3, 0.38), (4, 0.55)])
def test_all_named_right_fails_however_few_persons_there_are(persons, prior):
    assert level_of(figures(hits=40, tries=40, prior=prior), chance=1 / persons, settings=SETTINGS) == "fail"


def test_a_second_recogniser_that_is_too_weak_does_not_count():
    assert level_of(figures(hits=20), chance=0.02, settings=SETTINGS, identity=False) == "pass"


@pytest.mark.parametrize(
    ("levels", "control", "verdict"),
    [
        (["pass", "pass"], 0.1, "pass"),
        (["pass", "warn"], 0.3, "warn"),
        (["warn", "fail"], 0.3, "fail"),
        (["pass", "pass"], 0.099, "attack too weak"),
        (["pass", "warn"], 0.0, "attack too weak"),
        (["pass", "fail"], 0.0, "fail"),  # what succeeded needs no control
        ([], 0.3, "warn"),  # nothing that counts was attacked
    ],
)
def test_verdict(levels, control, verdict):
    assert verdict_of(levels, control=figures(advantage=control), settings=SETTINGS) == verdict


@pytest.mark.parametrize(
    ("curve", "budget"),
    [
        ([(8, "pass"), (32, "pass"), (96, "pass")], None),
        ([(8, "pass"), (32, "warn"), (96, "fail")], 32),
        ([(8, "fail"), (32, "pass")], 0),
        ([(8, "pass"), (8, "fail"), (32, "pass")], 0),  # the better of two networks
        ([(32, "fail"), (8, "pass")], 8),
    ],
)
def test_budget(curve, budget):
    assert recommended_budget(curve) == budget


def test_the_worst_set_is_the_one_with_the_worst_level():
    quiet, loud = figures(advantage=0.14), figures(advantage=-0.1, hits=10)
    assert worse([quiet, loud], chance=0.02, settings=SETTINGS, identity=True) is loud
    assert worse([quiet, loud], chance=0.02, settings=SETTINGS, identity=False) is quiet
