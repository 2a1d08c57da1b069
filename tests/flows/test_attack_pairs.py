"""Which pairs of a large version are attacked: whole persons by lot, as many as fit."""

import pandas as pd

from tasks.attack_pairs import whole_persons


def version(counts: dict[str, int]) -> pd.DataFrame:
    persons = [person for person, count in counts.items() for _ in range(count)]
    return pd.DataFrame({"image_id": [f"{row}" for row in range(len(persons))], "person": persons})


def test_one_person_with_many_photos_keeps_nobody_else_out():
    counts = {f"p{number}": 5 for number in range(30)}
    for large in (f"large {number}" for number in range(20)):  # wherever the lot puts this one but first
        kept = whole_persons(version(counts | {large: 70}), 60)
        found = kept.person.value_counts().to_dict()
        assert found in ({large: 60}, dict.fromkeys([name for name in found], 5)) and len(kept) == 60


def test_a_version_that_fits_is_taken_whole():
    rows = version({"a": 3, "b": 2})
    assert whole_persons(rows, 5) is rows
    assert whole_persons(rows, 4).person.nunique() == 1
