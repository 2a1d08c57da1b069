"""The identification protocol against a slow loop, a hand-worked gallery, and the promises of its choices."""

import math
from collections.abc import Sequence

import numpy as np
import pytest

from avih.errors import UsageError
from avih.evaluation import identification
from avih.evaluation.identification import bootstrap_interval, choose_probe_persons, compare_photos, identify


def at(*degrees: float) -> np.ndarray:
    """Features on the unit circle, so that cosines can be read off the angles."""
    return np.array([[math.cos(math.radians(d)), math.sin(math.radians(d))] for d in degrees])


def slow_identify(
    original: np.ndarray, protected: np.ndarray, persons: Sequence[str], chosen: Sequence[str]
) -> tuple[float, float, float, int]:
    """The protocol as its text has it: a gallery list per placed photo, a ranking per probe."""

    def cos(a: np.ndarray, b: np.ndarray) -> float:
        return float(a @ b / math.sqrt(a @ a) / math.sqrt(b @ b))

    rights: list[list[bool]] = [[], [], []]
    photos = range(len(persons))
    for placed in photos:
        if persons[placed] not in chosen:
            continue
        others = [photo for photo in photos if persons[photo] not in chosen]
        galleries = [
            [(placed, original[placed])] + [(o, original[o]) for o in others],
            [(placed, protected[placed])] + [(o, original[o]) for o in others],
            [(placed, protected[placed])] + [(o, protected[o]) for o in others],
        ]
        for probe in photos:
            if persons[probe] != persons[placed] or probe == placed:
                continue
            for right, gallery in zip(rights, galleries, strict=True):
                ranked = sorted(gallery, key=lambda entry: -cos(original[probe], entry[1]))
                right.append(ranked[0][0] == placed)
    return (*(sum(right) / len(right) for right in rights), len(rights[0]))  # type: ignore[return-value]


def people(**photos: int) -> list[str]:
    return [person for person, count in photos.items() for _ in range(count)]


def test_five_photos_by_hand() -> None:
    # ann's photos are 10 degrees apart and far from cat; bob's are 40 apart, with cat between them.
    original = at(0, 10, 90, 130, 105)
    protected = at(120, 12, 128, 95, 127)
    found = identify(original=original, protected=protected, persons=["ann", "ann", "bob", "bob", "cat"])
    # ORIGINAL: both of ann right; bob's probe is 40 degrees from his photo, but 25 or 15 from cat.
    assert found.acc_original == 2 / 4
    # ONE: ann's first protected photo is 110 from the probe (cat: 95), wrong; the other three are nearest.
    assert found.acc_one == 3 / 4
    # ALL: cat's own protected photo has moved out of everybody's way (117 from ann's probe at 10 degrees).
    assert found.acc_all == 4 / 4
    assert (found.probe_persons, found.probe_photos) == (("ann", "bob"), 4)
    assert (found.comparisons, found.gallery_size) == (4, 2)
    assert "at least 13 photos" in found.note


@pytest.mark.parametrize("block", [3, 4096])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_against_the_slow_loop(monkeypatch: pytest.MonkeyPatch, block: int, seed: int) -> None:
    monkeypatch.setattr(identification, "BLOCK", block)
    generator = np.random.default_rng(seed)
    persons = people(a=13, b=14, c=16, d=5, e=1, f=1) + [f"x{i}" for i in range(20)]
    generator.shuffle(persons)
    middles = {person: generator.normal(size=6) for person in sorted(set(persons))}
    original = np.array([middles[person] + 0.8 * generator.normal(size=6) for person in persons])
    protected = original + 0.5 * generator.normal(size=original.shape)
    found = identify(original=original, protected=protected, persons=persons, count=2, seed=seed)
    *expected, comparisons = slow_identify(original, protected, persons, found.probe_persons)
    assert [found.acc_original, found.acc_one, found.acc_all] == pytest.approx(expected, abs=1e-12)
    assert len(set(expected)) > 1, "the example should tell the three galleries apart"
    assert found.comparisons == comparisons
    assert found.note == ""
    assert found.gallery_size == sum(person not in found.probe_persons for person in persons) + 1


def test_photos_of_other_probe_persons_are_no_distractors() -> None:
    # bob's photos stand exactly where ann's do; if they were in the gallery, ann would tie and be wrong.
    features = at(0, 1, 0, 1, 90)
    found = identify(original=features, protected=features, persons=["ann", "ann", "bob", "bob", "cat"])
    assert found.acc_original == 1.0
    assert found.gallery_size == 2


def test_a_tie_is_wrong_whatever_the_rounding() -> None:
    persons = people(a=20, b=20, **{f"x{i}": 1 for i in range(300)})
    features = np.tile(np.random.default_rng(0).normal(size=512), (len(persons), 1))
    found = identify(original=features, protected=features * 3.0, persons=persons)
    assert (found.acc_original, found.acc_one, found.acc_all) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize(("farther", "accuracy"), [(0.0, 0.0), (1e-10, 0.0), (1e-3, 0.5)])
def test_a_lead_within_rounding_is_a_tie(farther: float, accuracy: float) -> None:
    # ann's photos are 30 degrees apart and cat stands hardly farther: one pair is decided by that difference,
    # the other (probe beside cat) is wrong anyway.
    features = at(0, 30, 30 + farther)
    found = identify(original=features, protected=features, persons=["ann", "ann", "cat"])
    assert (found.acc_original, found.acc_one, found.acc_all) == (accuracy, accuracy, accuracy)


def test_features_count_by_direction_and_in_any_float_type() -> None:
    generator = np.random.default_rng(5)
    persons = people(a=14, b=15, **{f"x{i}": 1 for i in range(40)})
    original, protected = generator.normal(size=(2, len(persons), 16))
    lengths = generator.uniform(0.1, 9.0, size=(len(persons), 1))
    found = identify(original=original, protected=protected, persons=persons)
    assert identify(original=original * lengths, protected=protected / lengths, persons=persons) == found
    order = generator.permutation(len(persons))
    shuffled = identify(
        original=original[order], protected=protected[order], persons=[persons[i] for i in order]
    )
    assert shuffled == found


def test_protected_images_that_keep_their_features_keep_the_accuracy() -> None:
    generator = np.random.default_rng(7)
    persons = people(a=14, b=15, **{f"x{i}": 1 for i in range(40)})
    original = generator.normal(size=(len(persons), 4))
    found = identify(original=original, protected=original.copy(), persons=persons)
    assert found.acc_original == found.acc_one == found.acc_all
    assert 0 < (found.acc_original or 0) < 1


def test_enough_persons_are_drawn_by_seed_and_name_alone() -> None:
    persons = people(**{f"p{i:02d}": 13 + i % 3 for i in range(30)}, few=12)
    chosen, note = choose_probe_persons(persons, seed=4)
    assert len(chosen) == len(set(chosen)) == 12
    assert note == ""
    assert "few" not in chosen
    assert list(chosen) == sorted(chosen)
    assert choose_probe_persons(persons[::-1], seed=4)[0] == chosen
    assert choose_probe_persons([*persons, "newcomer", "newcomer"], seed=4)[0] == chosen
    others = {choose_probe_persons(persons, seed=seed)[0] for seed in range(6)}
    assert len(others) == 6


def test_the_minimum_is_relaxed_to_those_with_the_most_photos() -> None:
    chosen, note = choose_probe_persons(people(a=20, b=9, c=2, d=5, e=1, f=1), count=3)
    assert chosen == ("a", "b", "d")
    assert "at least 13 photos" in note
    assert "the 3 with the most photos (5 to 20 each)" in note
    assert choose_probe_persons(people(a=13, b=13, c=12))[0] == ("a", "b")


def test_the_orl_layout_gives_twelve_of_forty() -> None:
    persons = people(**{f"s{i}": 10 for i in range(1, 41)})
    chosen, note = choose_probe_persons(persons)
    assert len(chosen) == 12
    assert "10 to 10" in note


def test_somebody_is_always_left_to_be_confused_with() -> None:
    chosen, note = choose_probe_persons(people(a=3, b=3, c=3, d=3, e=3))
    assert len(chosen) == 2
    assert "3 of them are distractors" in note
    unknown = [*people(a=3, b=3), "", ""]
    assert choose_probe_persons(unknown)[0] == ("a", "b")


@pytest.mark.parametrize(
    ("persons", "said"),
    [
        ([], "No person has 2"),
        (["a", "b", "c"], "No person has 2"),
        (["a"] * 20, "one person"),
        ([""] * 9, "No person"),
    ],
)
def test_impossible_galleries_say_why(persons: list[str], said: str) -> None:
    features = np.ones((len(persons), 2))
    found = identify(original=features, protected=features, persons=persons)
    assert (found.acc_original, found.acc_one, found.acc_all) == (None, None, None)
    assert (found.probe_persons, found.comparisons) == ((), 0)
    assert said in found.note


def test_a_gallery_without_any_photo_is_no_error() -> None:
    nothing = np.array([])  # how features come that were never computed: without a second axis
    assert identify(original=nothing, protected=nothing, persons=[]).acc_original is None


@pytest.mark.parametrize(
    ("original", "protected", "persons", "said"),
    [
        (np.ones((3, 2)), np.ones((2, 2)), ["a", "a", "b"], "leave out photos"),
        (np.ones((3, 2)), np.ones((3, 2)), ["a", "a"], "leave out photos"),
        (np.ones(3), np.ones(3), ["a", "a", "b"], "leave out photos"),
        (np.array([[1.0, 0], [1, 0], [np.inf, 0]]), np.ones((3, 2)), ["a", "a", "b"], "infinity"),
    ],
)
def test_features_that_do_not_fit_are_refused(
    original: np.ndarray, protected: np.ndarray, persons: list[str], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        identify(original=original, protected=protected, persons=persons)


def test_absurd_choices_are_refused() -> None:
    for wrong in ({"count": 0}, {"minimum_photos": 1}):
        with pytest.raises(UsageError, match="minimum_photos >= 2"):
            choose_probe_persons(["a", "a", "b"], **wrong)
    with pytest.raises(UsageError, match="got none: choose fewer"):
        compare_photos(
            original=np.ones((2, 2)), protected=np.ones((2, 2)), persons=["a", "a"], probe_persons=["a"]
        )


def test_comparisons_are_those_of_the_accuracy() -> None:
    generator = np.random.default_rng(9)
    persons = people(a=13, b=15, **{f"x{i}": 1 for i in range(50)})
    original, protected = generator.normal(size=(2, len(persons), 3))
    found = identify(original=original, protected=protected, persons=persons)
    compared = compare_photos(
        original=original, protected=protected, persons=persons, probe_persons=found.probe_persons
    )
    assert {p: int((compared.persons == p).sum()) for p in ("a", "b")} == {"a": 13 * 12, "b": 15 * 14}
    assert compared.one.mean() == found.acc_one
    low, high = bootstrap_interval(compared.one, compared.persons)
    by_person = [compared.one[compared.persons == p].mean() for p in ("a", "b")]
    assert (low, high) == pytest.approx((min(by_person), max(by_person)))


def test_bootstrap_of_two_persons_by_hand() -> None:
    # Two draws out of two persons: the mean is 0 (a quarter), 3 of 12 photos (a half), or 1 (a quarter).
    values, groups = [0.0] * 9 + [1.0] * 3, ["a"] * 9 + ["b"] * 3
    assert bootstrap_interval(values, groups) == (0.0, 1.0)
    assert bootstrap_interval(values, groups, level=0.4) == (0.25, 0.25)


def test_bootstrap_counts_persons_and_not_photos() -> None:
    generator = np.random.default_rng(3)
    figures, names = generator.normal(size=30), np.array([f"p{i:02d}" for i in range(30)])
    interval = bootstrap_interval(figures, names)
    # A hundred copies of each photo tell nothing new.
    assert bootstrap_interval(np.repeat(figures, 100), np.repeat(names, 100)) == pytest.approx(interval)
    # 30 independent values: near the textbook interval of the mean.
    half = 1.96 * figures.std() / math.sqrt(30)
    assert interval == pytest.approx((figures.mean() - half, figures.mean() + half), abs=0.25 * half)
    assert bootstrap_interval(figures, names) == interval
    assert bootstrap_interval(figures, names, seed=1) != interval


@pytest.mark.parametrize(
    ("values", "groups", "options"),
    [
        ([1.0, 2.0], ["a"], {}),
        ([1.0, float("nan")], ["a", "b"], {}),
        ([], [], {}),
        ([1.0, 2.0], ["a", "a"], {}),
        ([1.0, 2.0], ["a", "b"], {"level": 1.0}),
        ([1.0, 2.0], ["a", "b"], {"repeats": 0}),
    ],
)
def test_bootstrap_refuses(values: list[float], groups: list[str], options: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="Expected"):
        bootstrap_interval(values, groups, **options)  # type: ignore[arg-type]
