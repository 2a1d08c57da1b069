"""Collect the pictures of contact sheets and plots: a sample spread over the gallery's persons, in memory."""

from dataclasses import dataclass, field

import pandas as pd

from avih.evaluation.contact_sheet import tile
from avih.evaluation.plots import FEWEST_IMAGES
from avih.recovery import Picture
from avih.settings import Recovery
from avih.shards import iter_samples
from tasks import opened
from tasks.evaluate_shard import guess, wrong_key
from tasks.originals import iter_originals
from tasks.protect_shard import protected_address
from tasks.records import Place
from tasks.stored import stored_of


@dataclass
class ContactRows:
    """Pictures side by side; the first ``shown`` go on the contact sheets, all go into the plots."""

    shown: int = 0
    captions: list[str] = field(default_factory=list)
    originals: list[Picture] = field(default_factory=list)
    protected: list[Picture] = field(default_factory=list)
    recovered: list[Picture] = field(default_factory=list)
    wrong: list[Picture] = field(default_factory=list)

    def columns(self) -> list[tuple[str, list[Picture]]]:
        """Name the columns of the owner's sheet, in order."""
        columns = [("original", self.originals), ("protected", self.protected), ("recovered", self.recovered)]
        return columns + ([("wrong key", self.wrong)] if self.wrong else [])


def sample_size(most: int) -> int:
    """Return how many photos a sample for ``most`` of them on a contact sheet holds: the plots need some too."""
    return max(most, FEWEST_IMAGES)


def collect_rows(
    *, place: Place, key_id: str, chosen: pd.DataFrame, recovery: Recovery, most: int
) -> ContactRows:
    """Read a sample of one gallery version.

    Args:
        place: the version.
        key_id: its key.
        chosen: the rows of the sample with their shards, at most :func:`sample_size` of them.
        recovery: how pictures come back.
        most: how many go on the contact sheets.
    """
    collected = ContactRows(shown=min(most, len(chosen)))
    for number, group in chosen.groupby("shard", sort=True):
        _collect(collected, place, key_id, int(str(number)), set(group.image_id), recovery)
    rows = chosen.set_index("image_id")
    collected.captions = [
        f"cos {row.cos:.4f}  SSIM_e {row.ssim_e:.3f}  SSIM_d {row.ssim_d:.3f}"
        for row in (rows.loc[name] for name in collected.captions)
    ]
    return collected


def _collect(
    collected: ContactRows, place: Place, key_id: str, number: int, names: set[str], recovery: Recovery
) -> None:
    root = place.folder.root
    key = opened.opening(place, key_id=key_id, recovery=recovery, purpose="recover")
    wrong = wrong_key(root, key_id=key_id, recovery=recovery, generator=key.generator)
    # One pass over the tar: reading a sample by name would check the whole file's hash each time.
    samples = iter_samples(place.folder, protected_address(place, key_id, number))
    stored_files = {sample.key: sample.files for sample in samples if sample.key in names}
    for name, original in iter_originals(place, number):
        if name not in names:
            continue
        stored = stored_of(name, stored_files[name])
        collected.captions.append(name)
        collected.originals.append(original)
        collected.protected.append(stored.pixels)
        collected.recovered += key.recover([stored], recovery)
        if wrong:
            (guessed,) = guess([stored], key=wrong, recovery=recovery, veils=key.veils)
            collected.wrong.append(tile("refused", like=original) if guessed is None else guessed)
