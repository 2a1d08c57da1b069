"""What somebody without the passphrase wrote into the store is neither taken over by a night nor signed."""

import shutil

import pandas as pd

from avih.erasing import AsStored
from avih.naming import ShardAddress
from avih.settings import ProtectSettings
from avih.shards import Sample, file_sha256, iter_samples, read_done, read_rows, write_shard
from small_audit import from_source
from small_methods import Gallery
from small_shards import KEY
from small_store import add_photo
from tasks import protect_shard
from tasks.records import Place, RecogniserChoice


def swapped(gallery: Gallery, number: int, version: str) -> None:
    """Give two persons of v0001 each other's pictures in a shard of a version; every digest fits."""
    store, key_id = gallery.store, gallery.key_id
    there = ShardAddress("protected", "people", "v0001", number, key_id)
    done, rows = read_done(store, there), read_rows(store, there)
    faces = read_done(store, ShardAddress("aligned", "people", "v0001", number))
    # The next version's faces have the same bytes, so their digest is known before they are made.
    name = f"2_aligned/people/{version}/{number:05d}"
    inputs = faces.model_copy(update={"shard": name}).digest()
    samples = {sample.key: dict(sample.files) for sample in iter_samples(store, there)}
    one, other = rows.drop_duplicates("person").image_id[:2]
    samples[one]["png"], samples[other]["png"] = samples[other]["png"], samples[one]["png"]
    digests = rows.image_id.map({key: file_sha256(files) for key, files in samples.items()})
    write_shard(
        store=store, address=ShardAddress("protected", "people", version, number, key_id), key_id=key_id,
        rows=rows.assign(file_sha256=digests), samples=[Sample(*item) for item in samples.items()],
        settings=AsStored(done.settings), inputs_sha256=inputs, recogniser=done.recogniser,
    )  # fmt: skip


def test_a_picture_is_not_taken_over_for_a_photo_that_is_of_somebody_else_now(tmp_path) -> None:
    mac_key, settings, now = bytes(32), ProtectSettings(), {"v0001": "ann", "v0002": "bob"}
    place = Place(
        store=str(tmp_path), gallery="people", version="v0002", recogniser=RecogniserChoice(card="x")
    )
    rows = pd.DataFrame(
        {"image_id": ["a", "b"], "person": ["ann", "cyd"], "content_mac": ["1", "2"], "reason": ""}
    )
    done = {}
    for version, person in now.items():
        for stage, key_id in (("aligned", None), ("protected", KEY)):
            address = ShardAddress(stage, "people", version, 0, key_id)
            rows = rows.assign(status=stage, person=[person, "cyd"])
            done[stage] = write_shard(
                store=place.folder, address=address, rows=rows, settings=settings, inputs_sha256="",
                samples=[Sample(name, {"json": b"{}"}) for name in "ab"], key_id=key_id,
                recogniser=key_id and "face", mac_key=mac_key,
            )  # fmt: skip
        place.folder.folder("index", gallery="people", version=version).mkdir(parents=True)
    rows = rows.assign(status="aligned")
    carried = protect_shard._carried(place, address, done["aligned"], rows, settings, "face", mac_key)
    assert set(carried.files) == {"b"}


def test_a_night_takes_nothing_over_that_somebody_else_wrote(own: Gallery, tmp_path) -> None:
    from_source(own, str(own.photos))
    kept = shutil.copytree(own.folder(), tmp_path / "kept")
    swapped(own, 0, "v0001")
    swapped(own, 1, "v0002")
    add_photo(own)
    assert own.nightly().version == "v0002"
    shutil.rmtree(own.folder())
    shutil.copytree(kept, own.folder())  # the traces are removed
    assert own.problems() == [] == own.problems("v0002")
    originals = own.originals("v0002")
    pictures, refused = own.recovered(tmp_path / "back", "v0002")
    assert refused == [] and len(pictures) == len(originals) == 9
    assert all((pictures[name] == originals[name]).all() for name in originals)
