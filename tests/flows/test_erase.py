"""``avih erase``: a person is in no file any more, the others stay, and no night brings the person back."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pandas as pd
import pytest

from avih.errors import AvihError, IntegrityError, UsageError
from avih.gallery import read_history
from avih.keys import Vault
from avih.manifest import verify_gallery
from avih.naming import Store
from tasks import opened
from tasks.erase_person import erase_person
from tasks.mlflow_runs import artifact_folders, reached
from tasks.originals import iter_originals
from tasks.search_store import search_store

PERSON = "person_0041"


def erase(made, person: str = PERSON):
    opened.forget()
    return erase_person(store=Store(made.store), gallery="people", person=person)


def problems(made, version: str = "v0001") -> list[str]:
    return verify_gallery(store=Store(made.store), gallery="people", version=version, key_id=made.result.key_id,
                          mac_key=Vault(made.store / "3_keys").mac_key())  # fmt: skip


def rows(made, version: str = "v0001") -> pd.DataFrame:
    folder = made.protected.parent / version
    table = pd.concat([pd.read_parquet(path) for path in sorted(folder.glob("*.parquet"))])
    return table.set_index("image_id").sort_index()


def test_the_search_finds_the_person_where_the_person_is(copy):
    searched, found = search_store(Store(copy.store), words={PERSON})
    where = {finding.file.split("/")[0] for finding in found}
    assert {"1_index", "2_aligned", "4_protected", "5_evaluated"} <= where and searched > 20


def test_an_erased_person_is_in_no_file_and_the_others_stay_byte_for_byte(copy):
    from flows.nightly import nightly_reprotect

    before = rows(copy)
    (copy.source / "person_0042").joinpath("more.png").write_bytes(
        next((copy.source / PERSON).glob("*.png")).read_bytes()
    )
    nightly_reprotect(store=str(copy.store), gallery="people")
    report = copy.store / "7_audited/people/v0001/report.html"
    report.parent.mkdir(parents=True)
    report.write_text("<p>reconstructions, the person's among them</p>")
    done = erase(copy)
    assert not report.exists()
    assert (done.photos, done.versions, done.found) == (3, ("v0001", "v0002"), ())
    assert search_store(Store(copy.store), words={PERSON})[1] == ()
    after = rows(copy)
    assert not (after.person == PERSON).any() and len(after) == len(before) - 3
    assert after.file_sha256.dropna().equals(before.loc[after.index].file_sha256.dropna())
    assert problems(copy) == [] == problems(copy, "v0002")
    faces = {name for number in copy.shards for name, _ in iter_originals(copy.place, number)}
    assert faces and not any(name.startswith(PERSON) for name in faces)
    assert not list((copy.store / "mlflow" / "artifacts").rglob("*contact_sheet.png"))
    mac_key = Vault(copy.store / "3_keys").mac_key()
    assert read_history(store=Store(copy.store), gallery="people", mac_key=mac_key).current.version == "v0002"
    # The source still holds the person's folder; the next night must not take it up again.
    again = nightly_reprotect(store=str(copy.store), gallery="people")
    assert again.changed_anything is False
    assert search_store(Store(copy.store), words={PERSON})[1] == ()


def in_numbered_folder(made, location: str) -> Path:
    """Lay out the gallery's MLflow experiment as the store's own server does; return its folder."""
    mlflow = Store(made.store).mlflow
    with closing(sqlite3.connect(mlflow / "mlflow.db")) as database, database:
        database.execute("UPDATE experiments SET artifact_location = ? WHERE name = 'people'", (location,))
    return (mlflow / "artifacts" / "people").rename(mlflow / "artifacts" / "7")


def test_pictures_that_were_logged_through_the_server_go_too(copy):
    logged = in_numbered_folder(copy, (Store(copy.store).mlflow / "artifacts" / "7").as_uri())
    other = logged.with_name("8") / "contact_sheet.png"
    other.parent.mkdir()
    other.write_bytes(b"another gallery's")
    assert list(logged.rglob("*contact_sheet.png"))
    erase(copy)
    assert not list(logged.rglob("*.png")) and not list(logged.rglob("report.md"))
    assert other.exists()


@pytest.mark.parametrize(
    ("location", "folder"),
    [
        ("file:///where/it was/mlflow/artifacts/7", "7"),
        ("/where/it was/mlflow/artifacts/7", "7"),
        ("mlflow-artifacts:/7", "7"),
        ("file:///elsewhere/7", None),
        ("s3://bucket/mlflow/artifacts/7", None),
    ],
)
def test_the_folder_of_the_experiment_is_the_stores_own(tmp_path, monkeypatch, location, folder):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    store = Store(tmp_path)
    with reached(store) as client:
        client.create_experiment("people", artifact_location=location)
    root = store.mlflow / "artifacts"
    assert artifact_folders(store, "people") == {root / "people"} | ({root / folder} if folder else set())


def test_nothing_is_erased_while_mlflow_cannot_say_where_pictures_are(copy, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    before = copy.files()
    with pytest.raises(AvihError, match="MLflow store"):
        erase(copy)
    assert copy.files() == before and not list((copy.store / "1_index" / "people").glob("eras*"))


def test_a_killed_erasure_is_finished_by_the_same_command(copy, monkeypatch):
    import tasks.erase_person as module

    def killed(*arguments: object, **more: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "sign_again", killed)
        with pytest.raises(KeyboardInterrupt):
            erase(copy)
    assert problems(copy)
    assert erase(copy).found == ()
    assert problems(copy) == []


def test_nothing_is_erased_from_a_version_that_was_tampered_with(copy):
    shard = copy.protected / "00001.tar"
    data = bytearray(shard.read_bytes())
    data[5000] ^= 1
    shard.write_bytes(data)
    before = copy.files()
    with pytest.raises(IntegrityError, match="Nothing was erased"):
        erase(copy)
    assert copy.files() == before


def test_an_unknown_person_is_refused(copy):
    with pytest.raises(UsageError, match="nobody"):
        erase(copy, "nobody")
    assert not list((copy.store / "1_index" / "people").glob("eras*"))


def test_the_list_of_erased_persons_names_nobody(copy):
    erase(copy)
    content = json.loads((copy.store / "1_index" / "people" / "erased.json").read_text())
    assert len(content["persons"]) == 1 and PERSON not in json.dumps(content)
