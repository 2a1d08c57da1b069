"""Align stage: find the face in each photo of one shard, bring it into position, seal it."""

from collections.abc import Iterator

import pandas as pd

from avih.align import AlignedFace, Aligner
from avih.datasets import PhotoSource, open_source
from avih.datasets.base import Photo
from avih.errors import ImageRefused
from avih.images import decode_photo, encode_png
from avih.indexing import content_mac, read_index, rows_digest
from avih.keys import GalleryVault
from avih.naming import ShardAddress
from avih.protection import Picture
from avih.settings import AlignSettings
from avih.shards import Sample, shard_state, write_shard
from tasks import opened
from tasks.progress import advance
from tasks.records import Place, ShardRecord

# These say that the photo is sound but shows no usable face; all other reasons say that it cannot be read.
NO_FAULT = frozenset(
    {"no_face", "low_confidence", "face_too_small", "bad_landmarks", "photo_too_small", "too_small"}
)


def align_shard(
    *, place: Place, number: int, source: str, layout: str, settings: AlignSettings
) -> ShardRecord:
    """Align and seal one shard unless it is done."""
    store, address = place.folder, ShardAddress("aligned", place.gallery, place.version, number)
    index = read_index(store=store, gallery=place.gallery, version=place.version)
    rows = index[index.shard == number].reset_index(drop=True)
    inputs = rows_digest(rows)
    state = shard_state(store, address, settings=settings, inputs_sha256=inputs)
    if state == "missing":
        vault = opened.vault(store.root)
        faces = _Faces(open_source(source=source, layout=layout), opened.aligner(settings), vault.mac_key())
        table, samples = faces.seal(rows, vault.for_gallery(place.gallery), place.version)
        done = write_shard(
            store=store, address=address, samples=samples, rows=table, settings=settings, inputs_sha256=inputs
        )
        return ShardRecord(number=number, counts=dict(done.counts), made=True)
    advance("align", len(rows))
    return ShardRecord(number=number, counts=rows.status.value_counts().to_dict(), made=False)


def sealed_name(version: str, image: str) -> str:
    """Name a sealed original inside its gallery's vault."""
    return f"{version}/{image}"


class _Faces:
    """Reads, checks and aligns the photos of some index rows."""

    def __init__(self, source: PhotoSource, aligner: Aligner, mac_key: bytes) -> None:
        self.source, self.aligner, self.mac_key = source, aligner, mac_key

    def seal(
        self, rows: pd.DataFrame, vault: GalleryVault, version: str
    ) -> tuple[pd.DataFrame, list[Sample]]:
        """Return the shard's rows and its sealed faces."""
        results, samples = [], []
        for row, face, notes in self._faces(rows):
            fields = {
                "image_id": row.image_id,
                "person": row.person,
                "path": row.path,
                "confidence": float("nan"),
            }
            if isinstance(face, AlignedFace):
                note = "; ".join((*notes, face.note) if face.note else notes)
                fields |= {"status": "aligned", "reason": "", "note": note, "confidence": face.confidence}
                blob = vault.seal(encode_png(face.pixels), name=sealed_name(version, row.image_id))
                samples.append(Sample(key=row.image_id, files={"sealed": blob}))
            else:
                # A refusal in the index (a link, say) keeps the status that the index gave it.
                status = row.status if row.status != "indexed" else refused_status(face.reason)
                fields |= {"status": status, "reason": face.reason, "note": face.detail}
            results.append(fields)
        return pd.DataFrame(results), samples

    def _faces(
        self, rows: pd.DataFrame
    ) -> Iterator[tuple[pd.Series, AlignedFace | ImageRefused, tuple[str, ...]]]:
        size = self.aligner.batch_size
        for start in range(0, len(rows), size):
            batch = [row for _, row in rows.iloc[start : start + size].iterrows()]
            photos = [self._decode(row) for row in batch]
            sound = [photo[0] for photo in photos if not isinstance(photo, ImageRefused)]
            aligned = iter(self.aligner.align(sound))
            for row, photo in zip(batch, photos, strict=True):
                if isinstance(photo, ImageRefused):
                    yield row, photo, ()
                else:
                    yield row, next(aligned), photo[1]
                advance("align")

    def _decode(self, row: pd.Series) -> tuple[Picture, tuple[str, ...]] | ImageRefused:
        if row.status != "indexed":
            return ImageRefused(row.reason, "refused by the index")
        try:
            data = self.source.read(Photo(path=row.path, person=row.person))
            if content_mac(data, mac_key=self.mac_key) != row.content_mac:
                raise ImageRefused("changed", "the photo changed after it was indexed; run again")
            decoded = decode_photo(data, name=row.path)
        except ImageRefused as refusal:
            return refusal
        return decoded.pixels, decoded.notes


def refused_status(reason: str) -> str:
    """Is a refused photo ``skipped`` (sound, but no usable face) or ``failed`` (cannot be read)?"""
    return "skipped" if reason in NO_FAULT else "failed"
