"""The gauge against plain loops: rank-1, TAR at a false match rate, priors and intervals."""

import numpy as np
import pytest

from avih.attack.measure import dealt_to_others
from avih.attack.pairs import Pairs
from avih.attack.second import Identifier
from avih.evaluation.metrics import ssim
from avih.lab.attack import Guess
from avih.lab.gauge import Gauge
from avih.lab.result import Measured
from avih.lab.settings import LabLimits

SIDE, PERSONS, EACH = 16, 6, 5
DRAW = np.random.default_rng(3)
FACES = DRAW.integers(0, 256, size=(PERSONS, SIDE, SIDE, 3))


def photos(count: int, *, noise: int, seed: int) -> tuple[np.ndarray, tuple[str, ...]]:
    draw = np.random.default_rng(seed)
    rows = [(person, draw.integers(-noise, noise + 1, size=(SIDE, SIDE, 3))) for person in range(PERSONS)
            for _ in range(count)]  # fmt: skip
    pictures = np.stack([np.clip(FACES[person] + change, 0, 255) for person, change in rows]).astype(np.uint8)
    return pictures, tuple(f"p{person}" for person, _ in rows)


def embed(pictures: np.ndarray) -> np.ndarray:
    """Pixels about their mean: the noise of two photos of one person is small beside it."""
    flat = pictures.reshape(len(pictures), -1).astype(float)
    return flat - 127.5


@pytest.fixture(scope="module")
def gauge() -> Gauge:
    pictures, persons = photos(EACH, noise=20, seed=1)
    identifier = Identifier.build(embed=embed, pictures=pictures, persons=persons)
    return Gauge(identifier, "pixels", LabLimits(false_match_rate=0.01))


@pytest.fixture(scope="module")
def targets() -> Pairs:
    originals, persons = photos(2, noise=60, seed=2)
    names = tuple(f"image-{row}" for row in range(len(persons)))
    noise = np.random.default_rng(5).integers(0, 256, size=originals.shape).astype(np.uint8)
    return Pairs(names, persons, originals, noise)


def test_rates_are_those_of_loops_over_all_comparisons(gauge, targets):
    changed = targets.originals.copy()
    changed[::3] = targets.protected[::3]  # a third of the guesses is noise
    found = gauge.scores(changed, targets)
    own, others, hits = [], [], []
    for row, person in enumerate(targets.persons):
        query = embed(changed[row : row + 1])[0]
        query = query / np.linalg.norm(query)
        similar = [(float(query @ one), name) for one, name in
                   zip(gauge.identifier.features, gauge.identifier.persons, strict=True)]  # fmt: skip
        hits.append(max(similar)[1] == person)
        own.append([value for value, name in similar if name == person])
        others += [value for value, name in similar if name != person]
    threshold = np.quantile(others, 1 - 0.01)
    accepted = [np.mean([value > threshold for value in values]) for values in own]
    assert found.hits.tolist() == [float(hit) for hit in hits]
    np.testing.assert_allclose(found.accepted, accepted)
    assert found.id_rate == pytest.approx(np.mean(hits)) and 0.6 < np.mean(hits) < 1
    assert found.tar == pytest.approx(np.mean(accepted))
    np.testing.assert_allclose(
        found.ssim, [ssim(a, b) for a, b in zip(changed, targets.originals, strict=True)]
    )


def test_a_guess_is_held_against_the_best_guess_without_the_picture(gauge, targets):
    blank = targets.originals.mean(axis=0).astype(np.uint8)
    plain = gauge.measure(Guess("originals", targets, targets.originals), blank=blank, kind="key")
    assert plain.id_rate == 1 and plain.level == "fail" and plain.tar > 0.9
    assert plain.prior_id_rate == pytest.approx(1 / PERSONS)
    assert plain.ssim_advantage == pytest.approx(1 - plain.prior_ssim)
    low, high = plain.ssim_advantage_ci
    assert low <= plain.ssim_advantage <= high
    # The same pictures without the image: nothing is left of the advantage.
    blind = Guess("blind", targets, targets.originals, (targets.originals,))
    none = gauge.measure(blind, blank=blank, kind="by design")
    assert (none.ssim_advantage, none.id_advantage, none.level, none.kind) == (0, 0, "pass", "by design")


def test_too_few_comparisons_give_no_acceptance_rate(gauge, targets):
    strict = Gauge(gauge.identifier, gauge.name, LabLimits(false_match_rate=0.001))
    found = strict.measure(Guess("x", targets, targets.originals), blank=targets.protected[0], kind="key")
    assert found.tar is None and found.tar_ci is None and found.prior_tar is None and found.id_rate == 1


def test_who_always_shows_one_person_names_nobody(gauge, targets):
    always = np.broadcast_to(targets.originals[:1], targets.originals.shape)
    found = gauge.measure(
        Guess("one", targets, np.ascontiguousarray(always)), blank=targets.protected[0], kind="key"
    )
    assert found.id_rate == pytest.approx(1 / PERSONS) and found.id_advantage == pytest.approx(0)


def test_persons_without_reference_photos_count_for_similarity_alone(gauge, targets):
    stranger = Pairs(targets.images, ("nobody",) * len(targets), targets.originals, targets.protected)
    found = gauge.measure(Guess("x", stranger, stranger.originals), blank=targets.protected[0], kind="key")
    assert found.id_images == 0 and found.id_rate is None and found.tar is None and found.ssim == 1
    assert found.ssim_advantage_ci is None  # one person is no sample


def test_lpips_is_measured_where_its_weights_are(gauge, targets):
    class Apart:
        def __call__(self, one: np.ndarray, other: np.ndarray) -> float:
            return float(np.abs(one.astype(int) - other).mean())

    with_lpips = Gauge(gauge.identifier, gauge.name, gauge.limits, lpips=Apart())
    guess = Guess("x", targets, targets.protected, (targets.originals,))
    found = with_lpips.measure(guess, blank=targets.originals[0], kind="key")
    assert found.lpips == pytest.approx(np.abs(targets.protected.astype(int) - targets.originals).mean())
    assert found.prior_lpips == 0  # the better of a blank picture and a perfect blind guess


def test_a_blank_picture_is_measured_anew_for_other_targets_and_another_blank(gauge, targets):
    def prior(blank: np.ndarray, pairs: Pairs) -> float:
        return gauge.measure(Guess("x", pairs, pairs.protected), blank=blank, kind="key").prior_ssim

    few, first, last = targets.named(targets.images[:3]), targets.originals[0], targets.originals[-1]
    wanted = {(0, 0): prior(first, targets), (1, 0): prior(first, few), (0, 1): prior(last, targets)}
    for (small, other), known in wanted.items():
        pairs, blank = (targets, few)[small], (first, last)[other]
        assert (
            prior(blank, pairs)
            == known
            == pytest.approx(np.mean([ssim(blank, one) for one in pairs.originals]))
        )
    assert len(set(wanted.values())) == 3


def test_a_few_pictures_that_are_all_named_right_are_no_luck(gauge, targets):
    few = targets.named(targets.images[::2][:4])
    assert len(set(few.persons)) == 4
    strict = Gauge(gauge.identifier, gauge.name, LabLimits(false_match_rate=0.001))

    def named(always: np.ndarray) -> Measured:
        """Measure right guesses against somebody who always shows this picture."""
        found = strict.measure(Guess("right", few, few.originals), blank=always, kind="key")
        assert found.id_rate == 1 and found.tar is None  # too few comparisons for an acceptance rate
        return found

    # Dealt out to the other pictures these guesses are never right: chance is left, or who is always shown.
    assert named(targets.originals[-1]).prior_id_rate == pytest.approx(1 / PERSONS)
    assert named(few.originals[0]).prior_id_rate == 1 / 4


@pytest.mark.parametrize(
    ("found", "true", "rate"),
    [("abcd", "abcd", 0.0), ("aaaa", "aabc", 0.5), ("aabb", "aabb", 1 / 3), ("a", "a", 0.0), ("", "", 0.0)],
)
def test_guesses_are_dealt_out_to_the_other_pictures(found, true, rate):
    loops = [one == other for row, one in enumerate(found) for at, other in enumerate(true) if row != at]
    dealt = dealt_to_others(np.array(list(found), np.str_), np.array(list(true), np.str_))
    assert dealt == pytest.approx(rate) and (not loops or dealt == pytest.approx(np.mean(loops)))
