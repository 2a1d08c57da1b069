"""Who is leaked, who is attacked, who is reference: disjoint where it matters, and the same draw every time."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from avih.attack.pairs import FEWEST, Pairs, split_images
from avih.attack.settings import AttackSettings
from avih.errors import UsageError


def gallery(counts: list[int]) -> tuple[list[str], list[str]]:
    persons = [f"p{number}" for number, count in enumerate(counts) for _ in range(count)]
    return [f"{person}_{place}" for place, person in enumerate(persons)], persons


@given(
    counts=st.lists(st.integers(1, 12), min_size=1, max_size=20).filter(lambda c: sum(c) >= FEWEST),
    most=st.integers(1, 60),
)
def test_every_part_keeps_its_promise(counts, most):
    images, persons = gallery(counts)
    split = split_images(images=images, persons=persons, settings=AttackSettings(test_images=most))
    person = dict(zip(images, persons, strict=True))
    leaked, others = set(split.leaked), set(split.others)
    assert len(leaked) == len(split.leaked) and len(others) == len(split.others)
    assert not leaked & others
    assert set(split.memorised) <= leaked
    assert not set(split.references) & (others | set(split.memorised))
    met = {person[image] for image in leaked}
    assert not met & {person[image] for image in split.strangers}
    assert {person[image] for image in split.known} <= met


def test_the_whole_leak_is_all_but_the_attacked_and_the_persons_held_out():
    images, persons = gallery([8] * 16)
    split = split_images(images=images, persons=persons, settings=AttackSettings())
    person = dict(zip(images, persons, strict=True))
    assert len({person[image] for image in split.strangers}) == 4  # a quarter of 16 persons
    assert Counter(person[image] for image in split.known) == Counter(
        {person[image]: 2 for image in split.known}
    )
    assert len(split.known) == 24 and len(split.leaked) == 12 * 6 and len(split.strangers) == 4 * 4
    assert all(person[image] in {person[r] for r in split.references} for image in split.others)


def test_photos_of_somebody_unknown_are_never_taken_for_one_person():
    images = [f"i{number}" for number in range(12)]
    split = split_images(images=images, persons=[""] * 12, settings=AttackSettings())
    assert len(split.others) == 3 and len(split.leaked) == 9 and not split.known


def test_the_draw_does_not_depend_on_the_order():
    images, persons = gallery([3, 4, 5, 6, 1, 1])
    first = split_images(images=images, persons=persons, settings=AttackSettings())
    second = split_images(images=images[::-1], persons=persons[::-1], settings=AttackSettings())
    assert first.leaked == second.leaked and first.others == second.others


def test_three_images_are_too_few():
    with pytest.raises(UsageError, match="at least 4"):
        split_images(images=["a", "b", "c"], persons=["p"] * 3, settings=AttackSettings())


def test_pairs_by_name_keep_rows_together_and_show_no_pixels():
    pictures = np.arange(4, dtype=np.uint8).repeat(12).reshape(4, 2, 2, 3)
    pairs = Pairs(("a", "b", "c", "d"), ("p", "p", "q", "r"), pictures, 255 - pictures)
    chosen = pairs.named(["c", "nobody", "a"])
    assert chosen.images == ("c", "a") and chosen.persons == ("q", "p")
    assert chosen.originals[:, 0, 0, 0].tolist() == [2, 0]
    assert chosen.protected[:, 0, 0, 0].tolist() == [253, 255]
    assert repr(chosen) == "Pairs(2 images)"


def test_unequal_parts_are_refused():
    pictures = np.zeros((2, 4, 4, 3), np.uint8)
    with pytest.raises(UsageError, match="as many"):
        Pairs(("a",), ("p",), pictures, pictures)
