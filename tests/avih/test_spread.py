"""A sample spread over persons is that of all rows, in whatever parts and order they come."""

import numpy as np
import pandas as pd
import pytest

from avih.evaluation.spread import Spread


def gallery(persons: int, photos: int, seed: int) -> pd.DataFrame:
    """Rows in any order; ids do not follow persons."""
    generator = np.random.default_rng(seed)
    names = [f"id{number:05d}" for number in generator.permutation(photos)]
    skewed = (persons * generator.random(photos) ** 3).astype(int)  # few persons have many photos
    rows = pd.DataFrame(
        {"image_id": names, "person": [f"p{n}" for n in skewed], "cos": generator.random(photos)}
    )
    return rows.assign(shard=np.arange(photos) // 10)


def slow_spread(rows: pd.DataFrame, most: int) -> list[str]:
    """Every person's first photo, then every person's second, and so on."""
    ordered = rows.sort_values("image_id")
    turns = ordered.assign(turn=ordered.groupby("person").cumcount()).sort_values(["turn", "image_id"])
    return turns.image_id.head(most).tolist()


@pytest.mark.parametrize("persons", [1, 3, 7, 8, 9, 40])
@pytest.mark.parametrize("size", [1, 10, 57, 1000])
def test_parts_give_the_sample_of_the_whole(persons: int, size: int) -> None:
    for seed in range(5):
        rows = gallery(persons, 200, seed)
        spread = Spread(8)
        for start in range(0, len(rows), size):
            spread.add(rows[start : start + size])
        chosen = spread.chosen()
        assert chosen.image_id.tolist() == slow_spread(rows, 8)
        pd.testing.assert_frame_equal(
            chosen.set_index("image_id"), rows.set_index("image_id").loc[chosen.image_id], check_dtype=False
        )


def test_what_is_kept_does_not_grow() -> None:
    for persons in (3, 200):
        spread = Spread(8)
        for seed in range(20):
            spread.add(
                gallery(persons, 100, seed).assign(
                    image_id=lambda rows, seed=seed: rows.image_id + f"-{seed}"
                )
            )
            assert len(spread._kept) <= 8 * 8


def test_few_or_no_photos_are_all_taken() -> None:
    rows = gallery(2, 3, 0)
    spread = Spread(8)
    assert spread.chosen().empty
    spread.add(rows[:0])
    assert spread.chosen().empty
    assert list(spread.chosen().groupby("shard")) == []
    spread.add(rows)
    assert sorted(spread.chosen().image_id) == sorted(rows.image_id)
