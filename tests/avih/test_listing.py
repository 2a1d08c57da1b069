"""What lies in a folder of photos is listed in the order of whole paths, in little memory."""

import sys
from pathlib import Path

import pytest

from avih.datasets.base import Listing
from avih.datasets.paths import PackedPaths


def test_the_order_is_that_of_whole_paths(tmp_path: Path) -> None:
    # Beside folder "a" lie names with a sign below and one above the slash: folder by folder, a would come first.
    paths = [
        "a/z.png",
        "a-b.png",
        "a-b/y.png",
        "a.png",
        "a0.png",
        "aé/x.png",
        "a/b/c.png",
        "a/b-.png",
        "b/0.png",
    ]
    for path in paths:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    listing = Listing.of(tmp_path)
    assert list(listing.images) == sorted(paths)
    assert list(listing.images) == sorted(paths), "it can be gone through again"


def test_packed_paths_are_a_list_of_paths() -> None:
    paths = [f"person_{'é' * (n % 3)}{n:05d}/photo.jpg" for n in range(2000)]
    packed = PackedPaths()
    assert not packed and list(packed) == []
    for path in paths:
        packed.append(path)
    assert list(packed) == paths
    assert (len(packed), packed[0], packed[1999]) == (2000, paths[0], paths[-1])
    for place in (2000, -1):
        with pytest.raises(IndexError):
            packed[place]
    kept = sum(sys.getsizeof(part) for part in (packed._letters, packed._ends))
    assert kept < 0.5 * sum(sys.getsizeof(path) + 8 for path in paths)
