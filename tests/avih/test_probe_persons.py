"""Which persons are asked about: the papers' protocol, and what is done where a gallery does not allow it."""

from avih.evaluation.probe_persons import PersonCounts, choose_probe_persons


def people(**photos: int) -> list[str]:
    return [person for person, count in photos.items() for _ in range(count)]


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


def test_persons_are_counted_part_by_part() -> None:
    persons = [*people(a=20, b=9, c=2, d=5, e=1, f=1), "", "g", ""]
    counts = PersonCounts()
    for person in persons:
        counts.add([person])
    assert (counts.persons, counts.unknown) == (7, True)
    assert dict(counts.at_least(5)) == {"a": 20, "b": 9, "d": 5}
    assert choose_probe_persons(counts, count=3) == choose_probe_persons(persons, count=3)
    assert not PersonCounts().unknown
