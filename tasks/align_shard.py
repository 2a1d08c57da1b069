"""Align stage: find the face in each photo of one shard, bring it into position, seal it."""

from collections.abc import Iterator
from typing import Any

import pandas as pd

from avih.align import AlignedFace, Aligner
from avih.carry_over import Carried, Row, carry_over, earlier_shard, made_alike
from avih.datasets import PhotoSource
from avih.datasets.base import Photo
from avih.errors import ImageRefused, IntegrityError
from avih.images import MAX_PIXELS, decode_photo, encode_png
from avih.index_file import read_index, rows_digest
from avih.keys import GalleryVault
from avih.naming import ShardAddress
from avih.recovery import Picture
from avih.scanning import content_mac
from avih.settings import AlignSettings
from avih.shards import Sample, write_shard
from avih.trusted import trusted_state
from tasks import opened
from tasks.data_source import open_photos
from tasks.progress import advance
from tasks.records import Place, ShardRecord

_Decoded = tuple[Picture, tuple[str, ...]]

# These say that the photo is sound but shows no usable face; all other reasons say that it cannot be read.
NO_FAULT = frozenset(
    {"no_face", "low_confidence", "face_too_small", "bad_landmarks", "photo_too_small", "too_small"}
)

# These may be gone by the next night, so they are tried again.
PASSING = frozenset({"changed", "missing", "no_permission", "read_error"})


def align_shard(
    *, place: Place, number: int, source: str | None, layout: str, settings: AlignSettings
) -> ShardRecord:
    """Align and seal one shard unless it is done; unchanged photos are taken over from the version before.

    Args:
        place: gallery version.
        number: shard.
        source: the photos; None where everything must come from an earlier version, as in a rotation.
        layout: reader of the source.
        settings: how to align.

    Raises:
        IntegrityError: without a source, and an earlier version does not hold every photo.
    """
    store, address = place.folder, ShardAddress("aligned", place.gallery, place.version, number)
    rows = read_index(store=store, gallery=place.gallery, version=place.version, shard=number)
    inputs = rows_digest(rows)
    vault = opened.vault(store.root)
    made_with: dict[str, Any] = {"settings": settings, "inputs_sha256": inputs, "mac_key": vault.mac_key()}
    if trusted_state(store, address, **made_with) == "done":
        advance("align", len(rows))
        return ShardRecord(number=number, counts=rows.status.value_counts().to_dict(), made=False)
    carried = _carried(place, address, rows, settings, vault.mac_key(), all_of_it=source is None)
    advance("align", len(carried.rows))
    fresh = rows[~rows.image_id.isin(carried.rows)]
    samples = [Sample(key=name, files=files) for name, files in carried.files.items()]
    tables = [pd.DataFrame(list(carried.rows.values()))]
    if len(fresh) and source is None:
        raise IntegrityError(
            f"Expected sealed originals of all photos of {place.gallery} in an earlier version, got none of "
            f"{fresh.image_id.iloc[0]} and {len(fresh) - 1} others. Rotate with --from recovered."
        )
    if len(fresh) and source is not None:
        photos = open_photos(source=source, layout=layout, store=store)
        faces = _Faces(photos, opened.aligner(settings), vault.mac_key())
        table, more = faces.seal(fresh, vault.for_gallery(place.gallery))
        tables, samples = [*tables, table], [*samples, *more]
    done = write_shard(
        store=store, address=address, samples=samples, rows=pd.concat(tables, ignore_index=True), **made_with
    )
    return ShardRecord(number=number, counts=dict(done.counts), made=True)


def _carried(
    place: Place,
    address: ShardAddress,
    rows: pd.DataFrame,
    settings: AlignSettings,
    mac_key: bytes,
    *,
    all_of_it: bool,
) -> Carried:
    """Take over the faces of photos that an earlier version aligned with the same settings."""
    store, alike = place.folder, made_alike(settings)
    source = earlier_shard(store, address, fits=lambda _, record: alike(record), mac_key=mac_key)
    now = {row.image_id: row for row in rows.itertuples()}

    def same(then: Row) -> bool:
        row = now.get(then["image_id"])
        if row is None or (row.content_mac, row.person) != (then["content_mac"], then["person"]):
            return False
        if not row.content_mac:  # the index could not read it, and says why
            return bool(row.reason == then["reason"])
        return all_of_it or then["reason"] not in PASSING

    return carry_over(store, source, same=same)


def sealed_name(content_mac: str, image: str) -> str:
    """Name a sealed original inside its gallery's vault: the photo's keyed hash binds it to one photo."""
    return f"{content_mac}/{image}"


class _Faces:
    """Reads, checks and aligns the photos of some index rows."""

    def __init__(self, source: PhotoSource, aligner: Aligner, mac_key: bytes) -> None:
        self.source, self.aligner, self.mac_key = source, aligner, mac_key

    def seal(self, rows: pd.DataFrame, vault: GalleryVault) -> tuple[pd.DataFrame, list[Sample]]:
        """Return the shard's rows and its sealed faces."""
        results, samples = [], []
        for row, face, notes in self._faces(rows):
            fields = {
                "image_id": row.image_id,
                "person": row.person,
                "path": row.path,
                "content_mac": row.content_mac,
                "confidence": float("nan"),
            }
            if isinstance(face, AlignedFace):
                note = "; ".join((*notes, face.note) if face.note else notes)
                fields |= {"status": "aligned", "reason": "", "note": note, "confidence": face.confidence}
                blob = vault.seal(encode_png(face.pixels), name=sealed_name(row.content_mac, row.image_id))
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
        """Align photos in batches; a batch of large ones is small, so that memory is bounded whatever comes."""
        batch: list[tuple[pd.Series, _Decoded | ImageRefused]] = []
        held = 0
        for _, row in rows.iterrows():
            photo = self._decode(row)
            batch.append((row, photo))
            held += 0 if isinstance(photo, ImageRefused) else photo[0].size // 3
            if len(batch) == self.aligner.batch_size or held >= MAX_PIXELS:
                yield from self._align(batch)
                batch, held = [], 0
        yield from self._align(batch)

    def _align(
        self, batch: list[tuple[pd.Series, _Decoded | ImageRefused]]
    ) -> Iterator[tuple[pd.Series, AlignedFace | ImageRefused, tuple[str, ...]]]:
        sound = [photo[0] for _, photo in batch if not isinstance(photo, ImageRefused)]
        aligned = iter(self.aligner.align(sound))
        for row, photo in batch:
            if isinstance(photo, ImageRefused):
                yield row, photo, ()
            else:
                yield row, next(aligned), photo[1]
            advance("align")

    def _decode(self, row: pd.Series) -> _Decoded | ImageRefused:
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
