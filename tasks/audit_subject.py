"""What the lab attacks, read from the store: pictures, nonces, spare originals, and what the owner can do."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from avih.attack.pairs import Pairs, Pictures, lot
from avih.datasets.registry import SYNTHETIC
from avih.device import placed
from avih.evaluation.summary import COUNTED
from avih.lab.subject import Subject
from avih.recovery import Stored
from avih.settings import Recovery
from avih.shards import iter_samples, read_rows
from tasks import opened
from tasks.attack_pairs import read_pairs, shards_of
from tasks.originals import aligned_address, iter_originals
from tasks.protect_shard import protected_address
from tasks.records import Place
from tasks.run_record import RunRecord, load_run
from tasks.stored import stored_of


def read_subject(
    *, place: Place, key_id: str, recovery: Recovery, most: int, consenting: bool, data: str
) -> Subject:
    """Read a version for an audit; every picture stays in memory.

    Args:
        place: the version.
        key_id: its key.
        recovery: how its pictures come back.
        most: most stored pictures; of a larger version whole persons are read.
        consenting: whether reconstructions may be shown.
        data: which data this is, for the report.

    Raises:
        UsageError: the version holds no protected picture.
        IntegrityError: a stored file is not the one that was written.
        KeyRefused: the key may not recover.
    """
    run = load_run(store=place.folder, gallery=place.gallery, version=place.version)
    pairs = read_pairs(place=place, key_id=key_id, most=most)
    stored = _stored(place, key_id, pairs)
    key = opened.opening(place, key_id=key_id, recovery=recovery, purpose="recover")

    def recover(names: Sequence[str], pictures: Pictures) -> Pictures:
        """Open the stored samples of these names with other pixels in them."""
        changed = [replace(stored[name], pixels=pixels) for name, pixels in zip(names, pictures, strict=True)]
        return np.stack(key.recover(changed, recovery))

    return Subject(
        gallery=place.gallery,
        version=place.version,
        pairs=pairs,
        nonces=tuple(stored[image].nonce for image in pairs.images),
        others=_others(place, key_id, most),
        recogniser=opened.recogniser(place.recogniser, place.folder.root),
        protect=run.settings.protect,
        key=run.settings.key,
        generator=placed(key.generator, "cpu") if recovery == "keyed" else None,  # where attackers compute
        recover=recover,
        data=data,
        consenting=consenting,
    )


def _stored(place: Place, key_id: str, pairs: Pairs) -> dict[str, Stored]:
    wanted = set(pairs.images)
    return {
        sample.key: stored_of(sample.key, sample.files)
        for number in shards_of(place)
        for sample in iter_samples(place.folder, protected_address(place, key_id, number))
        if sample.key in wanted
    }


def _others(place: Place, key_id: str, most: int) -> tuple[tuple[str, ...], Pictures] | None:
    """Read sealed originals that have no protected picture: more photos that a recogniser may know persons by."""
    spare: list[tuple[int, str, str]] = []
    for number in shards_of(place):
        rows = read_rows(place.folder, protected_address(place, key_id, number))
        hidden = set(rows.image_id[rows.status.isin(COUNTED)])
        faces = read_rows(place.folder, aligned_address(place, number))
        faces = faces[(faces.status == "aligned") & ~faces.image_id.isin(hidden)]
        named = zip(faces.image_id, faces.person.fillna(""), strict=True)
        spare += [(number, str(image), str(person)) for image, person in named if person]
    chosen = sorted(spare, key=lambda one: lot(one[1]))[:most]
    persons = {image: person for _, image, person in chosen}
    found = [
        (persons[image], original)
        for number in sorted({one[0] for one in chosen})
        for image, original in iter_originals(place, number, images=frozenset(persons))
    ]
    return (tuple(person for person, _ in found), np.stack([one for _, one in found])) if found else None


def is_drawn(run: RunRecord) -> bool:
    """Tell whether a gallery shows drawn faces alone, which everybody may see."""
    return SYNTHETIC in (run.source, run.settings.index.layout)


def data_name(run: RunRecord) -> str:
    """Name the data for readers of the report: the source's last name, never the folder it lies in."""
    return "drawn faces" if is_drawn(run) else f"photos of {Path(run.source).name}, gallery {run.gallery}"
