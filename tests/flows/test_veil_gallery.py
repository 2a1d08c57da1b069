"""A gallery under veils through the real flow: one per person, kept, counted, rotated, erased and destroyed."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from avih.datasets.synthetic import SyntheticFaces
from avih.errors import IntegrityError, SettingsMismatch
from avih.evaluation.metrics import ssim
from avih.images import decode_png
from avih.keys import KeyStore, LeakBudget, State
from avih.naming import veils_folder
from avih.veils.exposure import WARNING
from small_methods import FACES, Gallery, made, settings_of
from small_rotation import ATTACK, GATE
from tasks import craft_veils as crafting
from tasks import opened
from tasks.erase_person import erase_person
from tasks.run_record import load_run, save_run
from unorchestrated import without_prefect

STEPS = 20  # of crafting; enough for drawn faces


@pytest.fixture(scope="module")
def veiled(prefect_server: None, tmp_path_factory: pytest.TempPathFactory) -> Gallery:
    """The untouched gallery under veils; read it, do not change it."""
    return made(tmp_path_factory.mktemp("veiled"), settings_of("person_veil", steps=STEPS, photos_per_veil=1),
                orchestrated=True)  # fmt: skip


@pytest.fixture
def copy(veiled: Gallery, tmp_path: Path) -> Gallery:
    """A copy to change at will, with its own photos."""
    shutil.copytree(veiled.root, tmp_path / "copy")
    gallery = Gallery(tmp_path / "copy", veiled.settings, veiled.result, orchestrated=False)
    record = load_run(store=gallery.store, gallery="people")
    save_run(record.model_copy(update={"source": str(gallery.photos)}), store=gallery.store)
    opened.forget()
    return gallery


def veils(gallery: Gallery, key_id: str | None = None) -> dict[str, bytes]:
    folder = veils_folder(gallery.store.keys, key_id or gallery.key_id)
    return {path.name: path.read_bytes() for path in folder.glob("*.veil")}


def add_photo(gallery: Gallery, person: int, index: int) -> None:
    name = FACES.person_name(person)
    more = SyntheticFaces(persons=1, photos_per_person=index + 1, first_person=person)
    more.write(gallery.root / "more")
    source = gallery.root / "more" / name / f"{name}_{index + 1:04d}.png"
    (gallery.photos / name).mkdir(exist_ok=True)
    shutil.copy(source, gallery.photos / name / source.name)


def test_one_photo_of_each_person_goes_under_a_veil_and_live(veiled):
    assert veiled.result.live and veiled.result.counts == {"protected": 4, "skipped": 4}
    rows = veiled.rows()
    firsts = rows.groupby("person").head(1)
    assert len(firsts) == 4 and set(firsts.status) == {"protected"}
    skipped = rows[rows.status == "skipped"]
    assert all(reason.startswith("photos_per_veil 1 ") for reason in skipped.reason)
    assert veiled.problems() == []
    (key,) = KeyStore(veiled.store.keys).list()
    assert (key.recovery, key.architecture, str(key.state)) == ("veil", "none", "active")
    assert LeakBudget(veiled.store.keys, key.key_id).used() == 4


def test_the_label_names_the_method_and_the_settings_survive_the_way_through_json(veiled):
    label = json.loads(next(iter(veiled.samples().values()))["json"])
    assert (label["method"], label["recovery"]) == ("person_veil", "veil")
    record = load_run(store=veiled.store, gallery="people")
    assert record.settings == veiled.settings
    assert "rule" not in record.settings.protect.model_dump()


def test_whoever_has_the_key_takes_the_veils_off_and_whoever_has_another_does_not(veiled, tmp_path):
    pictures, refused = veiled.recovered(tmp_path / "out")
    originals = veiled.originals()
    assert not refused and set(pictures) == set(veiled.samples())
    assert min(ssim(originals[name], picture) for name, picture in pictures.items()) > 0.95
    stored = {name: decode_png(files["png"]) for name, files in veiled.samples().items()}
    assert max(ssim(originals[name], picture) for name, picture in stored.items()) < 0.05
    assert veiled.result.summary.metrics["wrong_key_ssim_d"] < 0.1
    assert any(WARNING in note for note in veiled.result.summary.notes)


def test_veils_are_private_and_name_nobody(veiled):
    folder = veils_folder(veiled.store.keys, veiled.key_id)
    assert len(veils(veiled)) == 4
    for path in folder.iterdir():
        assert path.stat().st_mode & 0o777 == 0o600
        assert b"person_00" not in path.read_bytes() and "person_00" not in path.name
    assert folder.stat().st_mode & 0o777 == folder.parent.stat().st_mode & 0o777 == 0o700


def test_no_veil_no_original_and_no_secret_is_in_any_file_but_the_owners(veiled):
    key, _ = opened.key(veiled.store.root, key_id=veiled.key_id, purpose="recover")
    store = opened.veils(veiled.place(), key_id=veiled.key_id, purpose="recover")
    needles = {"secret": key.secret.reveal(), "secret hex": key.secret.reveal().hex().encode()}
    for name, picture in veiled.originals().items():
        needles[f"pixels of {name}"] = picture[50:54].tobytes()
    for person in ("person_0040", "person_0043"):
        veil = store.of(person, (112, 96, 3))
        needles[f"veil of {person}"] = veil.d[0, 50].numpy().tobytes()
        needles[f"grey levels of the veil of {person}"] = (
            (veil.pixels[50] * 255).round().astype(np.uint8).tobytes()
        )
    files = [path for path in veiled.store.root.rglob("*") if path.is_file() and "owner" not in path.parts]
    assert len(files) > 25
    for path in files:
        data = path.read_bytes()
        assert not [what for what, needle in needles.items() if needle in data], path


def test_a_second_run_crafts_nothing_and_changes_no_byte(copy, monkeypatch):
    before, samples = veils(copy), copy.samples()
    monkeypatch.setattr(crafting, "_craft", forbidden)
    assert copy.run().shards_made == 0
    for path in copy.folder().glob("00000.*"):
        path.unlink()
    assert copy.run().shards_made == 1
    assert veils(copy) == before and copy.samples() == samples


def forbidden(*_, **__):
    raise AssertionError("a veil was crafted again")


def test_a_killed_run_keeps_the_veils_it_made(copy, monkeypatch):
    shutil.rmtree(copy.store.root)
    craft, crafted = crafting._craft, []

    def killed(place, key_id, person, *more):
        if len(crafted) == 2:
            raise KeyboardInterrupt
        crafted.append(person)
        return craft(place, key_id, person, *more)

    with monkeypatch.context() as patch:
        patch.setattr(crafting, "_craft", killed)
        with pytest.raises(KeyboardInterrupt):
            copy.run()
    (key,) = KeyStore(copy.store.keys).list()
    before = veils(copy, key.key_id)
    assert len(before) == 2
    copy.result = copy.run()
    assert copy.result.live and len(veils(copy)) == 4 and before.items() <= veils(copy).items()


def test_a_night_uses_the_stored_veil_for_a_new_photo_and_a_new_person_gets_one(copy, tmp_path, monkeypatch):
    record = load_run(store=copy.store, gallery="people")
    shutil.rmtree(copy.store.root)
    copy.settings = settings_of("person_veil", steps=STEPS, photos_per_veil=2)
    assert record.settings != copy.settings
    FACES.write(copy.photos)
    (copy.photos / "person_0043" / "person_0043_0002.png").unlink()
    copy.result = copy.run()
    assert copy.result.counts == {"protected": 7}
    before, samples = veils(copy), copy.samples()
    crafted, craft = [], crafting._craft
    monkeypatch.setattr(crafting, "_craft", lambda place, key_id, person, *more: (
        crafted.append(person), craft(place, key_id, person, *more))[1])  # fmt: skip
    add_photo(copy, 43, 1)
    add_photo(copy, 40, 2)
    add_photo(copy, 44, 0)
    night = copy.nightly()
    assert night.made.counts == {"protected": 9, "skipped": 1} and crafted == ["person_0044"]
    after = copy.samples("v0002")
    assert samples.items() <= after.items()  # unchanged photos byte for byte, not counted twice
    assert before.items() <= veils(copy).items() and len(veils(copy)) == 5
    (third,) = copy.rows("v0002").query("status == 'skipped'").itertuples()
    assert third.person == "person_0040" and third.reason.startswith("photos_per_veil 2 ")
    pictures, refused = copy.recovered(tmp_path / "out", "v0002")
    originals = copy.originals("v0002")
    assert not refused and min(ssim(originals[name], x) for name, x in pictures.items()) > 0.95


def test_the_count_does_not_go_back_when_a_photo_is_exchanged(copy):
    first = copy.photos / "person_0041" / "person_0041_0001.png"
    add_photo(copy, 41, 2)
    (copy.photos / "person_0041" / "person_0041_0003.png").replace(first)
    assert copy.nightly().version == "v0002"
    rows = copy.rows("v0002")
    assert rows[rows.person == "person_0041"].status.tolist() == ["skipped", "skipped"]


def test_other_settings_under_the_same_key_are_refused(copy):
    other = settings_of("person_veil", steps=STEPS, alpha=0.3)
    add_photo(copy, 44, 0)
    with pytest.raises(SettingsMismatch, match="veils of people under key"):
        copy.run(settings=other)


def test_an_erased_person_has_no_veil_any_more(copy):
    before = veils(copy)
    done = erase_person(store=copy.store, gallery="people", person="person_0041")
    assert done.found == () and len(veils(copy)) == 3 and veils(copy).items() <= before.items()
    names = [path.name for path in veils_folder(copy.store.keys, copy.key_id).iterdir()]
    assert len(names) == 2 * 3 + 1  # veils, counts and the lock
    assert copy.problems() == []


def test_destroying_the_key_destroys_its_veils(copy):
    keys = KeyStore(copy.store.keys)
    keys.transition(copy.key_id, State.DEACTIVATED, actor="test", reason="replaced")
    assert len(veils(copy)) == 4
    keys.transition(copy.key_id, State.DESTROYED, actor="test", reason="over")
    assert not veils_folder(copy.store.keys, copy.key_id).parent.exists()


def test_an_altered_or_exchanged_veil_is_refused_and_the_others_come_back(copy, tmp_path):
    folder = veils_folder(copy.store.keys, copy.key_id)
    first, second, third, _ = sorted(folder.glob("*.veil"))
    first.write_bytes(first.read_bytes()[:-1] + bytes([first.read_bytes()[-1] ^ 1]))
    second.write_bytes(third.read_bytes())
    pictures, refused = copy.recovered(tmp_path / "out")
    assert len(pictures) == 2 and len(refused) == 2
    store = opened.veils(copy.place(), key_id=copy.key_id, purpose="recover")
    with pytest.raises(IntegrityError, match="somebody else"):
        for person in ("person_0040", "person_0041", "person_0042", "person_0043"):
            store.of(person, (112, 96, 3))
    add_photo(copy, 44, 0)
    with pytest.raises(IntegrityError, match="veil of this person"):
        copy.nightly()


def test_a_rotation_gives_every_person_a_new_veil(copy, tmp_path):
    import flows.rotate

    opened.forget()
    with without_prefect():
        done = flows.rotate.rotate_keys(
            store=str(copy.store.root), gallery="people", attack=ATTACK, gate=GATE
        )
    assert done.verdict == "pass" and done.old_key == copy.key_id != done.new_key
    old, new = veils(copy), veils(copy, done.new_key)
    assert len(old) == len(new) == 4 and not set(old) & set(new)
    before, after = copy.samples(), copy.samples("v0002", done.new_key)
    assert set(before) == set(after)  # the same photo of each person goes under the new veil
    assert all(before[name]["png"] != after[name]["png"] for name in before)
    assert copy.problems("v0002", done.new_key) == []
    pictures, refused = copy.recovered(tmp_path / "new", "v0002", done.new_key)
    assert not refused and len(pictures) == 4
    pictures, refused = copy.recovered(tmp_path / "old")  # a deactivated key still recovers
    assert not refused and len(pictures) == 4
