"""The attack on veils: each variant succeeds where it must, and gets nothing where nothing is given away."""

from dataclasses import replace

import numpy as np
import pytest

from avih.attack.pairs import Pairs
from avih.evaluation.metrics import ssim
from avih.lab.attack import Finding, Guess
from avih.lab.attacks import veils
from avih.lab.attacks.veils import bounded_veil, from_saturated_veil, photos_of
from avih.lab.lab import Lab
from avih.lab.tools.statistics import alpha_from_limits, alpha_from_spread, link_scores
from avih.veils.apply import put_on
from small_attack import small_faces
from small_lab import lab_over

ALPHA = 0.2
FACES = small_faces()
GREY = np.full((56, 48, 3), 0.5)


def veiled(faces: Pairs, *, black_or_white: float, alpha: float = ALPHA, seed: int = 3) -> Pairs:
    """Hide photos under one veil of noise per person, saturated in a share of its places."""
    draw, stored = np.random.default_rng(seed), np.empty_like(faces.originals)
    for person in dict.fromkeys(faces.persons):
        veil = draw.random(faces.originals.shape[1:])
        veil = np.where(draw.random(veil.shape) < black_or_white, veil.round(), veil)
        rows = np.array(faces.persons) == person
        stored[rows] = put_on(faces.originals[rows], veil=veil, alpha=alpha).pictures
    return faces.with_inputs(stored)


def lab_about(pairs: Pairs, others: tuple[tuple[str, ...], np.ndarray] | None = None) -> Lab:
    """A lab about veiled photos."""
    return lab_over(pairs, method="person_veil", recovery="veil", others=others)


def similar(pictures: np.ndarray, originals: np.ndarray) -> float:
    return float(np.mean([ssim(one, true) for one, true in zip(pictures, originals, strict=True)]))


def scores(results: list[Guess | Finding]) -> dict[str, tuple[float, float]]:
    """SSIM of each guess, and that of its best blind guess."""
    return {
        one.label: (
            similar(one.pictures, one.targets.originals),
            max(similar(np.array(blind), one.targets.originals) for blind in one.blind),
        )
        for one in results
        if isinstance(one, Guess)
    }


def finding(results: list[Guess | Finding], label: str) -> Finding:
    return next(one for one in results if isinstance(one, Finding) and one.label == label)


@pytest.fixture(scope="module")
def several() -> list[Guess | Finding]:
    """Six photos of each person under a veil of plain noise."""
    return list(veils.run(lab_about(veiled(FACES, black_or_white=0.0))))


@pytest.fixture(scope="module")
def alone() -> list[Guess | Finding]:
    """One photo of each person under a veil that is black or white in most places; the others are elsewhere."""
    first = [image for image in FACES.images if image.endswith("_0")]
    rest = FACES.named([image for image in FACES.images if image not in first])
    stored = veiled(FACES.named(first), black_or_white=0.8)
    return list(veils.run(lab_about(stored, (rest.persons, rest.originals))))


def test_more_photos_of_a_person_give_more_away(several: list[Guess | Finding]) -> None:
    got = scores(several)
    two, five = got["mean of 2 photos removed"], got["mean of 5 photos removed"]
    assert two[0] > two[1] and five[0] > five[1] + 0.05
    assert got["mean of all photos removed"][0] > got["mean of all photos removed"][1] + 0.05


def test_a_known_pair_gives_the_other_photos_and_its_own_photo_is_the_blind_guess(
    several: list[Guess | Finding],
) -> None:
    guess = next(one for one in several if isinstance(one, Guess) and one.label.startswith("one known pair"))
    got, blind = scores([guess])[guess.label]
    assert got > 0.95 > blind
    known = {one.tobytes(): name for one, name in zip(FACES.originals, FACES.images, strict=True)}
    shown = [known[one.tobytes()] for one in guess.blind[0]]
    assert not set(shown) & set(guess.targets.images)
    assert [f"p{name.split('_')[0]}" for name in shown] == list(guess.targets.persons)


def test_alpha_is_estimated_without_being_told(
    several: list[Guess | Finding], alone: list[Guess | Finding]
) -> None:
    values = finding(several, "alpha").values
    assert values["true"] == ALPHA and values["from the spread"] == pytest.approx(ALPHA, rel=0.25)
    single = finding(alone, "alpha").values
    assert single["from the spread"] is None
    assert single["from the limits of leaked pairs"] == pytest.approx(ALPHA, abs=0.011)


@pytest.mark.parametrize("alpha", [0.1, 0.35, 0.6])
def test_both_estimates_follow_alpha(alpha: float) -> None:
    stored = veiled(FACES, black_or_white=0.5, alpha=alpha)
    groups = photos_of(stored).values()
    spread = alpha_from_spread([one.protected for one in groups], [one.originals for one in groups])
    assert spread == pytest.approx(alpha, abs=0.01)  # the natural spread is exactly theirs
    assert alpha_from_limits(stored) == pytest.approx(alpha, abs=0.011)


def test_veils_that_are_never_at_their_limits_tell_no_alpha(several: list[Guess | Finding]) -> None:
    assert finding(several, "alpha").values["from the limits of leaked pairs"] is None


def test_photos_are_linked_by_the_veil_they_share(several: list[Guess | Finding]) -> None:
    values = finding(several, "linking by correlation").values
    assert values["auc"] is not None and values["auc"] > 0.99 and values["rank-1"] == 1.0
    assert values["chance"] == pytest.approx(5 / 47)


def test_noise_that_differs_per_photo_links_nobody() -> None:
    noise = np.random.default_rng(1).integers(0, 256, FACES.originals.shape, dtype=np.uint8)
    values = link_scores(noise, FACES.persons)
    assert abs(values["auc"] - 0.5) < 0.1 and values["rank-1"] < 0.3


def test_one_photo_under_a_saturated_veil_is_exposed(alone: list[Guess | Finding]) -> None:
    got, blind = scores(alone)["one photo, saturated veil"]
    assert got > 0.7 and got > blind + 0.3


def test_one_photo_under_a_veil_within_its_range_is_not(several: list[Guess | Finding]) -> None:
    got, _ = scores(several)["one photo, saturated veil"]
    assert got < similar(np.broadcast_to(FACES.originals.mean(axis=0).astype(np.uint8), (8, 56, 48, 3)),
                         FACES.originals[:8])  # fmt: skip


def test_with_one_photo_per_person_the_rest_is_left_out_and_said(alone: list[Guess | Finding]) -> None:
    assert [one.label for one in alone if isinstance(one, Guess)] == ["one photo, saturated veil"]
    assert "one protected photo" in finding(alone, "several photos under one veil").text


def test_saturated_places_give_exact_values() -> None:
    photo = FACES.originals[:1]
    for veil in (np.zeros((56, 48, 3)), np.ones((56, 48, 3))):
        stored = put_on(photo, veil=veil, alpha=ALPHA).pictures
        guess = from_saturated_veil(stored, alpha=ALPHA, prior=GREY)
        assert similar(guess, photo) > 0.85  # a median over nine pixels smooths a little
        assert np.abs(np.median(guess.astype(int) - photo)) <= 2  # half a level of x' is 2.5 of x


def test_a_bounded_veil_lies_within_what_is_possible_and_nearer_the_truth() -> None:
    photos = FACES.originals[:6]
    veil = np.random.default_rng(5).random((56, 48, 3)).round()
    stored = put_on(photos, veil=veil, alpha=ALPHA).pictures
    bounded = bounded_veil(stored, alpha=ALPHA, prior=GREY)
    plain = veils.veil_from_many(stored, alpha=ALPHA, prior=GREY)
    assert bounded.min() >= 0 and bounded.max() <= 1
    assert np.abs(bounded - veil).mean() < np.abs(plain - veil).mean()


def test_a_person_all_of_whose_photos_are_attacked_has_no_pair_to_know() -> None:
    stored = veiled(FACES, black_or_white=0.0)
    lab = lab_about(stored)
    person = lab.targets.persons[0]
    whole = photos_of(stored)[person]
    lab = replace(lab, parts=replace(lab.parts, targets=whole))
    told = finding(list(veils.run(lab)), "one known pair")
    assert "no pair" in told.text
