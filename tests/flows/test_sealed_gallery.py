"""A sealed gallery through the real flow: an encrypted copy beside every picture, and exact recovery."""

import shutil
import tarfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from avih.datasets.synthetic import SyntheticFaces
from avih.images import decode_png
from avih.keys import KeyStore, LeakBudget, Vault
from avih.manifest import verify_gallery
from avih.naming import Store
from avih.settings import EvaluateSettings, IndexSettings, preset
from avih.shards import iter_samples, read_done, read_rows, write_shard
from small_rotation import ATTACK, GATE
from tasks import opened
from tasks.create_key import renew_secret
from tasks.erase_person import erase_person
from tasks.evaluate_shard import guess
from tasks.originals import iter_originals
from tasks.protect_shard import protected_address
from tasks.records import Place, RecogniserChoice
from tasks.recover_gallery import recover_shard
from tasks.recovered_originals import EXACT_NOTE
from tasks.run_record import load_run, save_run
from tasks.sheets import collect_rows
from tasks.stored import stored_of

SETTINGS = preset("fast", recovery="sealed").model_copy(
    update={"index": IndexSettings(shard_size=4), "evaluate": EvaluateSettings(contact_sheet_images=2)}
)
PHOTOS = 6


@dataclass(frozen=True)
class Sealed:
    """A sealed gallery in a store of its own."""

    root: Path
    result: object

    @property
    def store(self) -> Path:
        return self.root / "store"

    def place(self, version: str = "v0001") -> Place:
        return Place(store=str(self.store), gallery="people", version=version,
                     recogniser=RecogniserChoice(card="synthetic"))  # fmt: skip

    def samples(self, version: str = "v0001") -> dict[str, dict[str, bytes]]:
        """The files of every sample of the version, by image id."""
        found = {}
        for number in (0, 1):
            address = protected_address(self.place(version), self.result.key_id, number)
            found |= {sample.key: dict(sample.files) for sample in iter_samples(Store(self.store), address)}
        return found

    def originals(self, version: str = "v0001") -> dict[str, np.ndarray]:
        return {name: x for number in (0, 1) for name, x in iter_originals(self.place(version), number)}

    def recovered(self, folder: Path, version: str = "v0001", key_id: str | None = None):
        """Run the recovery of every shard; return the pictures and the ids that were refused."""
        parts = [
            recover_shard(place=self.place(version), key_id=key_id or self.result.key_id, number=number,
                          recovery="sealed", folder=folder, images=None)
            for number in (0, 1)
        ]  # fmt: skip
        pictures = {path.stem: decode_png(path.read_bytes()) for path in folder.glob("*.png")}
        return pictures, [name for part in parts for name in part.refused]

    def problems(self, version: str = "v0001", key_id: str | None = None) -> list[str]:
        return verify_gallery(store=Store(self.store), gallery="people", version=version,
                              key_id=key_id or self.result.key_id,
                              mac_key=Vault(self.store / "3_keys").mac_key())  # fmt: skip

    def rows(self, version: str = "v0001", key_id: str | None = None) -> pd.DataFrame:
        folder = self.store / "4_protected/people" / (key_id or self.result.key_id) / version
        return pd.concat(pd.read_parquet(p) for p in sorted(folder.glob("*.parquet"))).set_index("image_id")

    def run(self):
        from flows.run_gallery import run_gallery

        opened.forget()
        return run_gallery(store=str(self.store), gallery="people", source=str(self.root / "photos"),
                           settings=SETTINGS, recogniser=RecogniserChoice(card="synthetic"))  # fmt: skip


@pytest.fixture(scope="module")
def whole(prefect_server: None, tmp_path_factory: pytest.TempPathFactory) -> Sealed:
    """The untouched gallery; read it, do not change it."""
    root = tmp_path_factory.mktemp("sealed")
    SyntheticFaces(persons=3, photos_per_person=2, first_person=40).write(root / "photos")
    return Sealed(root, Sealed(root, None).run())


@pytest.fixture
def sealed(whole: Sealed, tmp_path: Path) -> Sealed:
    """A copy of the gallery to change at will; its source is another folder of the same photos."""
    shutil.copytree(whole.root, tmp_path / "copy")
    store = Store(tmp_path / "copy" / "store")
    record = load_run(store=store, gallery="people")
    save_run(record.model_copy(update={"source": str(tmp_path / "copy" / "photos")}), store=store)
    opened.forget()
    return Sealed(tmp_path / "copy", whole.result)


def test_every_photo_is_protected_goes_live_and_its_key_needed_no_training(whole):
    assert whole.result.live and whole.result.counts == {"protected": PHOTOS}
    (key,) = KeyStore(whole.store / "3_keys").list()
    assert (key.recovery, key.architecture, key.parameters, str(key.state)) == ("sealed", "none", 0, "active")
    assert key.recipe == {"architecture": "none"}
    budget = LeakBudget(whole.store / "3_keys", key.key_id)
    assert (budget.used(), budget.limit()) == (PHOTOS, 1_000_000)
    assert whole.problems() == []


def test_each_sample_holds_a_picture_a_label_and_a_sealed_copy_of_one_length(whole):
    lengths = set()
    for number in (0, 1):
        for sample in iter_samples(
            Store(whole.store), protected_address(whole.place(), whole.result.key_id, number)
        ):
            assert set(sample.files) == {"png", "json", "sealed"}
            lengths.add(len(sample.files["sealed"]))
    assert lengths == {112 * 96 * 3 + 16}


def test_recovery_gives_the_aligned_originals_byte_for_byte(whole, tmp_path):
    pictures, refused = whole.recovered(tmp_path / "back")
    originals = whole.originals()
    assert refused == [] and pictures.keys() == originals.keys() and len(pictures) == PHOTOS
    assert all(np.array_equal(pictures[name], originals[name]) for name in originals)
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "back").iterdir()} == {0o600}


def test_the_figures_are_measured_and_a_wrong_key_has_none(whole):
    metrics, notes = whole.result.summary.metrics, whole.result.summary.notes
    assert metrics["ssim_d"] == 1.0 and metrics["ssim_e"] < 0.03
    assert metrics["cos_min"] >= 0.998
    assert metrics["wrong_key_ssim_d"] is None and whole.result.summary.broken_limits == ()
    assert "wrong-key SSIM_d: sealed: a wrong key is refused, there is no picture" in notes
    measured = [pd.read_parquet(p) for p in whole.store.glob("5_evaluated/people/*/v0001/*.parquet")]
    assert pd.concat(measured).wrong_key_ssim_d.isna().all()


def test_the_owner_s_sheet_says_refused_where_a_wrong_key_would_show_something(whole):
    chosen = whole.rows().reset_index().assign(shard=[0] * 4 + [1] * 2, ssim_e=0.0)
    drawn = collect_rows(
        place=whole.place(), key_id=whole.result.key_id, chosen=chosen, recovery="sealed", most=2
    )
    assert [label for label, _ in drawn.columns()] == ["original", "protected", "recovered", "wrong key"]
    assert len({tile.tobytes() for tile in drawn.wrong}) == 1 and len(drawn.wrong) == PHOTOS
    shades = set(drawn.wrong[0].reshape(-1).tolist())
    assert 150 in shades and min(shades) < 60  # even grey with dark letters
    assert [a.tobytes() for a in drawn.recovered] == [a.tobytes() for a in drawn.originals]


def test_no_original_and_no_secret_is_in_what_may_leave_the_house(whole):
    key, _ = opened.key(whole.store, key_id=whole.result.key_id, purpose="recover")
    needles = [key.secret.reveal(), key.secret.reveal().hex().encode()]
    needles += [picture[50:52].tobytes() for picture in whole.originals().values()]
    searched = 0
    for path in (p for p in whole.store.rglob("*") if p.is_file() and "owner" not in p.parts):
        assert not any(needle in path.read_bytes() for needle in needles), path
        searched += 1
    assert searched > 15


def test_an_altered_copy_is_refused_and_named_and_the_others_come_back(sealed, tmp_path):
    """The shard is written anew with the altered copy, as somebody with the store in hand could."""
    store, address = Store(sealed.store), protected_address(sealed.place(), sealed.result.key_id, 0)
    samples, done = list(iter_samples(store, address)), read_done(store, address)
    victim = samples[1]
    copy = bytearray(victim.files["sealed"])
    copy[1000] ^= 1
    samples[1] = type(victim)(victim.key, {**victim.files, "sealed": bytes(copy)})
    del samples[2].files["sealed"]
    write_shard(store=store, address=address, samples=samples, rows=read_rows(store, address),
                settings=SETTINGS.protect, inputs_sha256=done.inputs_sha256, recogniser=done.recogniser,
                key_id=sealed.result.key_id)  # fmt: skip
    pictures, refused = sealed.recovered(tmp_path / "back")
    assert refused == [samples[1].key, samples[2].key] and len(pictures) == PHOTOS - 2
    assert sealed.problems()


def test_another_sealed_key_opens_nothing(sealed):
    other = renew_secret(store=str(sealed.store), key_id=sealed.result.key_id, actor="test", reason="test")
    stored = [stored_of(name, files) for name, files in sealed.samples().items()]
    found = {}
    for key_id in (other.key_id, sealed.result.key_id):
        key, generator = opened.key(sealed.store, key_id=key_id, purpose="inspect")
        found[key_id] = guess(stored, key=(key.secret.reveal(), generator), recovery="sealed")
    assert found[other.key_id] == [None] * PHOTOS
    assert all(picture is not None for picture in found[sealed.result.key_id])


def test_a_lost_shard_comes_back_byte_for_byte(sealed):
    path = sealed.store / "4_protected/people" / sealed.result.key_id / "v0001/00000.tar"
    before = path.read_bytes()
    path.unlink()
    assert sealed.run().shards_made == 1
    assert path.read_bytes() == before


def test_a_night_takes_the_sealed_copies_over(sealed, tmp_path):
    from flows.nightly import nightly_reprotect

    before = sealed.samples()
    SyntheticFaces(persons=1, photos_per_person=1, first_person=61).write(sealed.root / "photos")
    night = nightly_reprotect(store=str(sealed.store), gallery="people")
    assert (night.version, night.added, night.made.key_id) == ("v0002", 1, sealed.result.key_id)
    after = sealed.samples("v0002")
    assert len(after) == PHOTOS + 1 and all(after[name] == files for name, files in before.items())
    pictures, refused = sealed.recovered(tmp_path / "back", "v0002")
    assert refused == [] and len(pictures) == PHOTOS + 1


@pytest.mark.parametrize("origin", ["sealed", "recovered"])
def test_it_rotates_with_exact_originals_from_either_place(sealed, tmp_path, origin):
    from flows.rotate import rotate_keys

    originals = sealed.originals()
    if origin == "recovered":
        for path in (sealed.store / "2_aligned/people/v0001").iterdir():
            path.unlink()
    done = rotate_keys(store=str(sealed.store), gallery="people", attack=ATTACK, gate=GATE, origin=origin,
                       retrain_generator=True)  # fmt: skip
    assert (done.version, done.verdict) == ("v0002", "pass")
    states = {k.key_id: (k.recovery, str(k.state)) for k in KeyStore(sealed.store / "3_keys").list()}
    assert states == {done.old_key: ("sealed", "deactivated"), done.new_key: ("sealed", "active")}
    opened.forget()
    pictures, refused = sealed.recovered(tmp_path / "back", "v0002", done.new_key)
    assert refused == [] and pictures.keys() == originals.keys()
    assert all(np.array_equal(pictures[name], originals[name]) for name in originals)
    old, new = sealed.rows(), sealed.rows("v0002", done.new_key)
    assert not set(old.nonce) & set(new.nonce) and not set(old.file_sha256) & set(new.file_sha256)
    notes = set(new.note)
    assert (notes == {EXACT_NOTE}) == (origin == "recovered")


def test_an_erased_person_s_copies_go_with_the_pictures(sealed):
    person = sealed.rows().person.iloc[0]
    done = erase_person(store=Store(sealed.store), gallery="people", person=person)
    assert (done.photos, done.found) == (2, ())
    left = sealed.samples()
    assert len(left) == PHOTOS - 2 and not any(name.startswith(person) for name in left)
    assert sealed.problems() == []


def test_a_stored_tar_is_read_by_anybody_s_tar(whole):
    path = whole.store / "4_protected/people" / whole.result.key_id / "v0001/00000.tar"
    with tarfile.open(path) as tar:
        endings = [name.partition(".")[2] for name in tar.getnames()]
    assert sorted(endings) == ["json"] * 4 + ["png"] * 4 + ["sealed"] * 4
