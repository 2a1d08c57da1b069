"""The identification protocol against a slow loop, a hand-worked gallery, and the promises of its choices."""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from avih.errors import UsageError
from avih.evaluation import identification
from avih.evaluation.bootstrap import bootstrap_interval
from avih.evaluation.identification import Features, compare_photos, identify, identify_parts
from avih.evaluation.probe_persons import PersonCounts, choose_probe_persons


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


@pytest.mark.parametrize("size", [1, 7, 30, 1000])
@pytest.mark.parametrize("seed", [0, 1])
def test_part_by_part_against_the_slow_loop(size: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    persons = people(a=13, b=14, c=16, d=5, e=1) + [f"x{i}" for i in range(20)] + [""] * 3
    generator.shuffle(persons)
    middles = {person: generator.normal(size=6) for person in sorted(set(persons))}
    original = np.array([middles[person] + 0.8 * generator.normal(size=6) for person in persons])
    protected = original + 0.5 * generator.normal(size=original.shape)
    most = 0

    def read(wanted: frozenset[str] | None) -> Iterator[Features]:
        nonlocal most
        for start in range(0, len(persons), size):
            rows = [row for row in range(start, min(start + size, len(persons)))
                    if wanted is None or persons[row] in wanted]  # fmt: skip
            if rows:
                most = max(most, len(rows))
                yield Features(original[rows], protected[rows], [persons[row] for row in rows])

    counts = PersonCounts()
    for start in range(0, len(persons), size):
        counts.add(persons[start : start + size])
    found = identify_parts(read, counts=counts, count=2, seed=seed)
    *expected, comparisons = slow_identify(original, protected, persons, found.probe_persons)
    assert [found.acc_original, found.acc_one, found.acc_all] == pytest.approx(expected, abs=1e-12)
    assert found.comparisons == comparisons
    assert most <= size
    assert found == identify(original=original, protected=protected, persons=persons, count=2, seed=seed)


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
