"""What is held in memory at once is bounded, whatever the photos are like that come together."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from avih.datasets.pictures import LONGEST_SIDE, pictures_of_folder
from avih.errors import ImageRefused, UsageError
from avih.image_formats import MOST_SCANS, check_scans
from avih.images import MAX_PIXELS
from avih.keys import GalleryVault
from avih.scanning import content_mac
from benchmarks.bad_inputs.hostile import many_scans
from benchmarks.bad_inputs.pictures import encoded
from tasks.align_shard import _Faces

LARGE = encoded("PNG", Image.new("L", (4000, 3000)))  # 12 million pixels in a few kilobytes


class Source:
    """Serves one picture under every name."""

    def read(self, photo) -> bytes:
        return b"no photo" if photo.path.startswith("bad") else LARGE


class Aligner:
    """Finds no face, and remembers how much it was given at once."""

    batch_size = 32

    def __init__(self) -> None:
        self.held: list[int] = []

    def align(self, photos) -> list[ImageRefused]:
        self.held.append(sum(photo.size // 3 for photo in photos))
        return [ImageRefused("no_face", "None.") for _ in photos]


def test_large_photos_are_aligned_a_few_at_a_time_and_each_has_its_row():
    aligner, key = Aligner(), bytes(32)
    names = [f"{kind}{number}" for number in range(8) for kind in ("good", "bad")]
    rows = pd.DataFrame(
        {"image_id": name, "person": "p", "path": f"{name}.png", "status": "indexed", "reason": "", "shard": 0,
         "content_mac": content_mac(Source().read(Photo(name)), mac_key=key)} for name in names
    )  # fmt: skip
    table, samples = _Faces(Source(), aligner, key).seal(rows, GalleryVault(None, "people"))
    assert table.image_id.tolist() == names and samples == []
    assert set(zip(table.status, table.reason, strict=True)) == {
        ("skipped", "no_face"),
        ("failed", "not_an_image"),
    }
    assert sum(aligner.held) == 8 * 12_000_000 and max(aligner.held) < MAX_PIXELS + 12_000_000
    assert len([held for held in aligner.held if held]) == 2


class Photo:
    """All that the source above looks at."""

    def __init__(self, path: str) -> None:
        self.path = path


def test_training_pictures_are_shrunk_to_what_crops_need(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    (tmp_path / "a" / "large.png").write_bytes(LARGE)
    (tmp_path / "a" / "broken.png").write_bytes(LARGE[:500])
    (tmp_path / "b" / "small.png").write_bytes(encoded("PNG"))
    large, small = pictures_of_folder(tmp_path)
    assert large.shape == (480, LONGEST_SIDE, 3) and small.shape == (48, 64, 3)
    assert large.dtype == np.uint8
    (tmp_path / "a" / "large.png").unlink()
    (tmp_path / "b" / "small.png").unlink()
    with pytest.raises(UsageError, match="got none"):
        pictures_of_folder(tmp_path)


def test_scans_are_counted_where_the_picture_is_and_nowhere_else():
    check_scans(many_scans(MOST_SCANS - 10))
    with pytest.raises(ImageRefused, match="decode_error"):
        check_scans(many_scans(MOST_SCANS))
    check_scans(encoded("JPEG") + b"\xff\xda\x00\x02" * 2 * MOST_SCANS)  # behind the end: a camera's own data
    check_scans(encoded("JPEG", icc_profile=b"\xff\xda" * 2 * MOST_SCANS))  # inside a segment
    check_scans(encoded("PNG") + b"\xff\xda" * 2 * MOST_SCANS)
