"""Collect the pictures of contact sheets and plots: a sample spread over the gallery's persons, in memory."""

from dataclasses import dataclass, field

import pandas as pd
from torch import nn

from avih.evaluation.plots import FEWEST_IMAGES
from avih.evaluation.summary import COUNTED
from avih.images import decode_png
from avih.indexing import read_index
from avih.protection import Picture, recover
from avih.settings import Recovery
from avih.shards import iter_samples
from tasks import opened
from tasks.evaluate_shard import wrong_key
from tasks.originals import iter_originals
from tasks.protect_shard import nonce_of, protected_address
from tasks.records import Place


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


def collect_rows(
    *, place: Place, key_id: str, rows: pd.DataFrame, recovery: Recovery, most: int
) -> ContactRows:
    """Read a sample of one gallery version: one photo per person first."""
    usable = rows[rows.status.isin(COUNTED)]
    spread = usable.assign(turn=usable.groupby("person").cumcount()).sort_values(["turn", "image_id"])
    chosen = spread.head(max(most, FEWEST_IMAGES)).merge(_shards(place), on="image_id")
    collected = ContactRows(shown=min(most, len(chosen)))
    for number, group in chosen.groupby("shard", sort=True):
        _collect(collected, place, key_id, int(str(number)), set(group.image_id), recovery)
    collected.captions = [
        f"cos {row.cos:.4f}  SSIM_e {row.ssim_e:.3f}  SSIM_d {row.ssim_d:.3f}"
        for row in (rows.set_index("image_id").loc[name] for name in collected.captions)
    ]
    return collected


def _shards(place: Place) -> pd.DataFrame:
    index = read_index(store=place.folder, gallery=place.gallery, version=place.version)
    return index[["image_id", "shard"]]


def _collect(
    collected: ContactRows, place: Place, key_id: str, number: int, names: set[str], recovery: Recovery
) -> None:
    root = place.folder.root
    key, generator = opened.key(root, key_id=key_id, purpose="recover")
    wrong = wrong_key(root, key_id=key_id, recovery=recovery, generator=generator)
    # One pass over the tar: reading a sample by name would check the whole file's hash each time.
    samples = iter_samples(place.folder, protected_address(place, key_id, number))
    stored_files = {sample.key: sample.files for sample in samples if sample.key in names}
    for name, original in iter_originals(place, number):
        if name not in names:
            continue
        files = stored_files[name]
        stored, nonce = decode_png(files["png"]), nonce_of(files)
        collected.captions.append(name)
        collected.originals.append(original)
        collected.protected.append(stored)

        collected.recovered.append(_recover_one(stored, nonce, (key.secret.reveal(), generator), recovery))
        if wrong:
            collected.wrong.append(_recover_one(stored, nonce, wrong, recovery))


def _recover_one(stored: Picture, nonce: str, key: tuple[bytes, nn.Module], recovery: Recovery) -> Picture:
    return recover(stored=[stored], nonces=[nonce], secret=key[0], generator=key[1], recovery=recovery)[0]
