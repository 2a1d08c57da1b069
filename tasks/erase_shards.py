"""Erase a person, shard by shard: sealed originals, protected pictures and measurements of one version."""

from dataclasses import dataclass, replace
from functools import partial

import pandas as pd

from avih.erasing import belongs_to, is_interrupted, remove_shard, rewrite_shard
from avih.errors import IntegrityError
from avih.index_file import read_index, rows_digest, shard_sizes
from avih.naming import ShardAddress, Store
from avih.shards import DoneRecord, read_done, read_rows
from tasks.erasing_journal import Journal
from tasks.evaluate_shard import measured_from, write_measured
from tasks.replacing import Replacing


@dataclass(frozen=True, repr=False)
class ShardErasure:
    """Takes one person out of a gallery's shards; asked again after a kill, it goes on where it was."""

    store: Store
    person: str
    journal: Journal
    mac_key: bytes

    def erase_from(self, version: str) -> list[int]:
        """Take the person out of every shard of a version; return the numbers of shards that others are in.

        Who is in a shard is decided from the index alone, which is written last: a shard that cannot be read is
        never taken for an empty one.

        Raises:
            IntegrityError: a shard is not as it was when the erasure began.
        """
        gallery, left = self.journal.gallery, []
        keys = self.store.keys_of(gallery, version)
        for number in shard_sizes(store=self.store, gallery=gallery, version=version):
            faces = ShardAddress("aligned", gallery, version, number)
            hidden = [ShardAddress("protected", gallery, version, number, key_id) for key_id in keys]
            rows = read_index(store=self.store, gallery=gallery, version=version, shard=number)
            others = rows[~belongs_to(rows, self.person)]
            if others.empty:
                self._remove(faces, hidden)
                continue
            left.append(number)
            aligned = self._rewritten(faces, rows_digest(others))
            for address in hidden:
                # Where no originals are kept, the pictures stay what they were made from.
                done = self._rewritten(address, aligned.digest() if aligned else None)
                if done is not None:
                    self._rewrite_measured(replace(address, stage="evaluated"), done)
        return left

    def tidy(self, version: str) -> None:
        """Remove what a rerun would have gone on from."""
        gallery, replacing = self.journal.gallery, self._replacing
        replacing.forget(ShardAddress("aligned", gallery, version, 0))
        for key_id in self.store.keys_of(gallery, version):
            for stage in ("protected", "evaluated"):
                replacing.forget(ShardAddress(stage, gallery, version, 0, key_id))

    @property
    def _replacing(self) -> Replacing:
        return Replacing(self.store, self.journal.person, self.mac_key)

    def _rewritten(self, address: ShardAddress, inputs_sha256: str | None) -> DoneRecord | None:
        """Take the person out of one shard and return its record; None where the version has no such shard."""
        if not self._replacing.go_on(address):
            self.journal.check(self.store, address)
            before = read_done(self.store, address)
            if before is None:
                # Begun and not signed, so no shard yet: the next run makes it, and it may show the person.
                if is_interrupted(self.store, address):
                    remove_shard(store=self.store, address=address)
                return None
            inputs = inputs_sha256 or before.inputs_sha256
            if (
                inputs != before.inputs_sha256
                or belongs_to(read_rows(self.store, address), self.person).any()
            ):
                write = partial(
                    rewrite_shard,
                    store=self.store,
                    address=address,
                    person=self.person,
                    inputs_sha256=inputs,
                    mac_key=self.mac_key,
                )
                self._replacing.replace(address, lambda aside: write(into=aside))
        return read_done(self.store, address)

    def _rewrite_measured(self, address: ShardAddress, done: DoneRecord) -> None:
        """Take the person out of a shard's measurements, which are of the shard as it is now."""
        path = self.store.shard(address, "parquet")
        if self._replacing.go_on(address) or not path.exists():
            return
        table = pd.read_parquet(path)
        # Empty where the measurements are not as they were signed: they stay so, and are made again.
        inputs = measured_from(self.store, address, mac_key=self.mac_key) or ""
        if inputs.partition(" ")[0] == done.digest() and not belongs_to(table, self.person).any():
            return
        others = table[~belongs_to(table, self.person)]
        inputs = f"{done.digest()} {inputs.partition(' ')[2]}"
        self._replacing.replace(
            address,
            lambda aside: write_measured(aside, address, others, inputs=inputs, mac_key=self.mac_key),
        )

    def _remove(self, faces: ShardAddress, hidden: list[ShardAddress]) -> None:
        """Remove a shard that the index gives to nobody else.

        Raises:
            IntegrityError: others are in it; nothing was removed.
        """
        for address in (faces, *hidden):
            if read_done(self.store, address) is None:
                continue
            if not belongs_to(read_rows(self.store, address), self.person).all():
                raise IntegrityError(
                    f"Expected nobody else in shard {address.name} of {address.version}, as its index says, got "
                    "others. Bring the index back from a backup, then erase again."
                )
        for address in (faces, *hidden):
            remove_shard(store=self.store, address=address)
        for address in hidden:
            remove_shard(store=self.store, address=replace(address, stage="evaluated"))
