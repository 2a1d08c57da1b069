"""Recovery drill: draw protected pictures by lot, recover them as their owner would, compare with the originals.

What is drawn is new each time and nobody can tell it in advance. Pictures stay in memory; what is written are
figures, the ids of pictures that failed, and why.
"""

import math
import secrets
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import accumulate

import numpy as np
import pandas as pd

from avih import __version__
from avih.errors import IntegrityError, KeyRefused, UsageError
from avih.evaluation.metrics import ssim
from avih.evaluation.summary import COUNTED, ROUNDING
from avih.gallery import is_signed
from avih.recovery import Opening, Picture, check_recovery
from avih.settings import Recovery
from avih.shards import iter_samples, read_done, read_rows
from tasks import opened
from tasks.attack_pairs import shards_of
from tasks.drill_record import LABEL, Damage, DrillRecord, drill_path
from tasks.originals import aligned_address, iter_originals
from tasks.progress import advance, begin
from tasks.protect_shard import protected_address
from tasks.records import Place
from tasks.recovered_originals import EXACT, NOTE
from tasks.signed_json import write_signed
from tasks.stored import genuine

SAMPLE = 20
_LOT = secrets.SystemRandom()  # the system's entropy: no seed, no draw that could be foretold


def drill_gallery(
    *, place: Place, key_id: str, recovery: Recovery, sample: int, threshold: float
) -> DrillRecord:
    """Drill a version and write the outcome, signed; a bad outcome is no error here.

    Args:
        place: the version.
        key_id: its key.
        recovery: how its pictures come back.
        sample: how many pictures to draw; all where there are fewer.
        threshold: SSIM_d that each of them must reach.

    Raises:
        UsageError: the version is unfinished, has no pictures, or no sealed originals to compare with.
        KeyRefused: the key may not recover, or the passphrase is wrong.
    """
    if sample < 1 or not -1 <= threshold <= 1:
        raise UsageError(
            f"Expected a sample of 1 or more and a threshold of -1 to 1, got {sample} and {threshold:g}."
        )
    numbers = shards_of(place)
    check_comparable(place, numbers)
    key = opened.opening(place, key_id=key_id, recovery=recovery, purpose="recover")
    check_recovery(recovery, key.generator)
    found = _Found(threshold, exact=recovery in EXACT)
    drawn, total = _draw(place, key_id, numbers, sample, found)
    begin("drill", sum(len(rows) for rows in drawn.values()))
    for number, positions in drawn.items():
        try:
            _drill_shard(place, key_id, recovery, number, positions, key, found)
        except (IntegrityError, OSError) as error:
            found.damage(place, key_id, number, error)
        advance("drill", len(positions))
    record = found.record(place, key_id, total=total, sample=sum(len(rows) for rows in drawn.values()))
    _write(place, record)
    return record


@dataclass
class _Found:
    """What comes out, picture by picture."""

    threshold: float
    exact: bool
    figures: list[float] = field(default_factory=list)
    below: list[str] = field(default_factory=list)
    inexact: list[str] = field(default_factory=list)
    not_recovered: dict[str, str] = field(default_factory=dict)
    damaged: list[Damage] = field(default_factory=list)
    stand_ins: int = 0

    def compare(self, image: str, original: Picture, recovered: Picture) -> None:
        figure = ssim(original, recovered)
        self.figures.append(figure)
        if self.threshold - figure > ROUNDING:
            self.below.append(image)
        if self.exact and not np.array_equal(original, recovered):
            self.inexact.append(image)

    def damage(self, place: Place, key_id: str, number: int, error: Exception) -> None:
        address = protected_address(place, key_id, number)
        problem = f"cannot be read: {error.strerror}" if isinstance(error, OSError) else str(error)
        self.damaged.append(Damage(shard=str(address.folder / address.name), problem=problem))

    def record(self, place: Place, key_id: str, *, total: int, sample: int) -> DrillRecord:
        failed = self.below or self.inexact or self.not_recovered or self.damaged
        return DrillRecord(
            gallery=place.gallery, version=place.version, key_id=key_id, code_version=__version__,
            time=datetime.now(UTC).isoformat(timespec="seconds"), threshold=self.threshold, protected=total,
            sample=sample, compared=len(self.figures), stand_ins=self.stand_ins, exact=self.exact,
            mean_ssim_d=math.fsum(self.figures) / len(self.figures) if self.figures else None,
            lowest_ssim_d=min(self.figures, default=None), below=tuple(sorted(self.below)),
            inexact=tuple(sorted(self.inexact)), not_recovered=dict(sorted(self.not_recovered.items())),
            damaged=tuple(self.damaged), passed=not failed,
        )  # fmt: skip


def check_comparable(place: Place, numbers: Sequence[int]) -> None:
    """Refuse what there is nothing to compare in; a few lost files are damage and are found later."""
    store, of = place.folder, f"{place.gallery} {place.version}"
    if not is_signed(store=store, gallery=place.gallery, version=place.version):
        raise UsageError(f"Expected a finished version to drill, got {of}, which is not. Run avih run first.")
    if not any(store.shard(aligned_address(place, number), "done.json").exists() for number in numbers):
        raise UsageError(
            f"Expected the sealed originals of {of} to compare with, got none: they were not kept. What is "
            "recovered cannot be judged without them; avih recover brings the pictures back for you to look at."
        )


def _draw(
    place: Place, key_id: str, numbers: Sequence[int], most: int, found: _Found
) -> tuple[dict[int, list[int]], int]:
    """Draw pictures by lot: their places among the pictures of their shards, by shard, and how many there are.

    The done files say how many pictures a shard has, so that only rows of shards that were drawn from are read.
    """
    sizes: dict[int, int] = {}
    for number in numbers:
        try:
            done = read_done(place.folder, protected_address(place, key_id, number))
            if done is None:
                raise IntegrityError("Expected the shard's tar, parquet and done file, got a part of them.")
            sizes[number] = sum(done.counts.get(status, 0) for status in COUNTED)
        except (IntegrityError, OSError) as error:
            found.damage(place, key_id, number, error)
    shards, ends = list(sizes), list(accumulate(sizes.values()))
    total = ends[-1] if ends else 0
    if not total and not found.damaged:
        raise UsageError(f"Expected protected pictures in {place.gallery} {place.version}, got none.")
    drawn: dict[int, list[int]] = defaultdict(list)
    for lot in sorted(_LOT.sample(range(total), min(most, total))):
        shard = bisect_right(ends, lot)
        drawn[shards[shard]].append(lot - (ends[shard - 1] if shard else 0))
    return drawn, total


def _drill_shard(
    place: Place, key_id: str, recovery: Recovery, number: int, positions: list[int], key: Opening, found: _Found
) -> None:  # fmt: skip
    """Recover the drawn pictures of a shard and compare them."""
    address = protected_address(place, key_id, number)
    rows = read_rows(place.folder, address)
    drawn = rows[rows.status.isin(COUNTED)].iloc[positions].set_index("image_id")
    names = frozenset(str(name) for name in drawn.index)
    samples = {one.key: one for one in iter_samples(place.folder, address) if one.key in names}
    originals = dict(iter_originals(place, number, images=names))
    found.stand_ins += _stand_ins(place, number, names)
    for image in sorted(names):
        sample, original = samples.get(image), originals.get(image)
        if sample is None or original is None:
            missing = "its shard holds no such sample" if sample is None else "no sealed original was kept"
            found.not_recovered[image] = missing
            continue
        try:
            stored = genuine(sample, expected=drawn.file_sha256[image])
            if stored.pixels.shape != original.shape:
                raise IntegrityError("the stored picture has another size than its original")
            (picture,) = key.recover([stored], recovery)
        except (IntegrityError, KeyRefused) as error:
            found.not_recovered[image] = str(error)
        else:
            found.compare(image, original, picture)


def _stand_ins(place: Place, number: int, names: frozenset[str]) -> int:
    """Count the originals that are none: what a rotation from recovered pictures sealed in their place."""
    faces: pd.DataFrame = read_rows(place.folder, aligned_address(place, number))
    return int(faces[faces.image_id.isin(names)].note.fillna("").str.startswith(NOTE).sum())


def _write(place: Place, record: DrillRecord) -> None:
    path = drill_path(place.folder, gallery=place.gallery, version=place.version)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    content = record.model_dump(mode="json")
    mac_key = opened.vault(place.folder.root).mac_key()
    write_signed(path, content, mac_key=mac_key, label=LABEL, mode=0o600)
