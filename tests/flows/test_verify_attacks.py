"""Attacks on what is signed: every edit, swap, removal, splice and return to an older state is found."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from avih.keys import Vault
from avih.manifest import MANIFEST_FILE, signing
from avih.naming import Store
from avih.shards.record import parse_done
from small_manifest import copy_shard
from small_methods import Gallery
from small_store import copied_store, full_store, verified, wheres
from tasks.erase_person import erase_person
from tasks.sign_manifest import sign_manifest

Content = dict[str, Any]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Gallery:
    return full_store(tmp_path_factory.getbasetemp() / "full-store")


@pytest.fixture
def copy(made: Gallery, tmp_path: Path) -> Gallery:
    return copied_store(made, tmp_path)


def manifest_of(gallery: Gallery, version: str = "v0002") -> Path:
    return gallery.folder(version) / MANIFEST_FILE


def other(gallery: Gallery) -> Path:
    """The protected version of another gallery under another key."""
    (path,) = gallery.store.root.glob(f"4_protected/veiled/*/v0001/{MANIFEST_FILE}")
    return path.parent


def edited(path: Path, change: Callable[[Content], None]) -> None:
    content = json.loads(path.read_bytes())
    change(content)
    path.write_text(json.dumps(content, sort_keys=True, indent=2, ensure_ascii=False) + "\n")


def edit_counts(content: Content, _: Content) -> None:
    content["manifest"]["counts"]["protected"] = 7


def edit_recovery(content: Content, _: Content) -> None:
    content["manifest"]["recovery"] = "unmixed"


def swap_two(content: Content, _: Content) -> None:
    first, second = content["manifest"]["shards"][:2]
    first["done_sha256"], second["done_sha256"] = second["done_sha256"], first["done_sha256"]


def renumber(content: Content, _: Content) -> None:
    content["manifest"]["shards"][-1]["number"] = 9


def delete_one(content: Content, _: Content) -> None:
    del content["manifest"]["shards"][-1]


def say_one_twice(content: Content, _: Content) -> None:
    content["manifest"]["shards"].append(content["manifest"]["shards"][0])


def splice_entry(content: Content, foreign: Content) -> None:
    content["manifest"]["shards"][1] = foreign["manifest"]["shards"][1]


def splice_signature(content: Content, foreign: Content) -> None:
    content["hmac_sha256"] = foreign["hmac_sha256"]


def rename_version(content: Content, _: Content) -> None:
    content["manifest"]["version"] = "v0001"


@pytest.mark.parametrize(
    "attack",
    [edit_counts, edit_recovery, swap_two, renumber, delete_one, say_one_twice, splice_entry, splice_signature,
     rename_version],
)  # fmt: skip
def test_no_entry_of_a_manifest_can_be_changed(
    copy: Gallery, attack: Callable[[Content, Content], None]
) -> None:
    path = manifest_of(copy)
    foreign = json.loads((other(copy) / MANIFEST_FILE).read_bytes())
    edited(path, lambda content: attack(content, foreign))
    done = verified(copy.store)
    assert str(path.relative_to(copy.store.root)) in wheres(done.problems)
    assert all(one.where.startswith(f"4_protected/people/{copy.key_id}/v0002") for one in done.problems)


@pytest.mark.parametrize("source", ["older version", "another gallery", "nowhere"])
def test_another_manifest_does_not_fit(copy: Gallery, source: str) -> None:
    path = manifest_of(copy)
    path.unlink()
    if source != "nowhere":
        shutil.copyfile(
            manifest_of(copy, "v0001") if source == "older version" else other(copy) / MANIFEST_FILE, path
        )
    assert str(path.relative_to(copy.store.root)) in wheres(verified(copy.store).problems)


def swap_shards(folder: Path, _: Gallery) -> None:
    copy_shard(folder, 0, folder, 7)
    copy_shard(folder, 1, folder, 0)
    copy_shard(folder, 7, folder, 1)
    delete_shard(folder, number=7)


def rename_shard(folder: Path, _: Gallery) -> None:
    copy_shard(folder, 1, folder, 5)
    delete_shard(folder)


def delete_shard(folder: Path, _: Gallery | None = None, *, number: int = 1) -> None:
    for path in folder.glob(f"{number:05d}.*"):
        path.unlink()


def roll_back_shard(folder: Path, gallery: Gallery) -> None:
    copy_shard(gallery.folder("v0001"), 1, folder, 1)


def splice_shard(folder: Path, gallery: Gallery) -> None:
    copy_shard(other(gallery), 1, folder, 1)


@pytest.mark.parametrize("attack", [swap_shards, rename_shard, delete_shard, roll_back_shard, splice_shard])
@pytest.mark.parametrize("stage", ["4_protected", "2_aligned"])
def test_no_shard_can_be_exchanged(
    copy: Gallery, attack: Callable[[Path, Gallery], None], stage: str
) -> None:
    folder = copy.folder("v0002") if stage == "4_protected" else copy.store.root / stage / "people" / "v0002"
    attack(folder, copy)
    found = wheres(verified(copy.store).problems)
    assert any(where.startswith(f"{folder.relative_to(copy.store.root)}/00001") for where in found)
    assert all("v0002" in where for where in found)


def test_originals_of_another_version_are_told_by_the_signed_shard(copy: Gallery) -> None:
    """A perfect aligned shard of another time: nothing but the protected shard's word is against it."""
    store, folder = copy.store, copy.store.root / "2_aligned" / "people" / "v0002"
    done = folder / "00001.done.json"
    record = parse_done(done.read_bytes(), done)
    older = record.model_copy(update={"inputs_sha256": "older"})
    done.write_bytes(older.signed(Vault(store.keys).mac_key()).to_bytes())
    (problem,) = verified(store).problems
    assert problem.where == "2_aligned/people/v0002/00001.done.json" and "made from" in problem.says


def go_back(content: Content) -> None:
    content["history"]["promotions"].pop()


def serve_the_older(content: Content) -> None:
    content["history"]["promotions"].append(content["history"]["promotions"][0])


def blame(content: Content) -> None:
    content["history"]["promotions"][0]["actor"] = "somebody else"


@pytest.mark.parametrize("attack", [go_back, serve_the_older, blame])
def test_what_is_current_cannot_be_changed(copy: Gallery, attack: Callable[[Content], None]) -> None:
    edited(copy.store.current("people"), attack)
    assert wheres(verified(copy.store).problems) == {"4_protected/people/current.json"}


def test_an_erasure_leaves_a_whole_store_and_an_older_state_put_back_is_found(
    copy: Gallery, tmp_path: Path
) -> None:
    store, folder = copy.store, copy.folder("v0002")
    shutil.copytree(folder, tmp_path / "older")
    found_in = erase_person(store=store, gallery="people", person="person_0041").found
    assert all("veiled" in one.file for one in found_in)  # the other gallery has the same persons
    done = verified(store)
    assert done.ok, done.problems
    shutil.rmtree(folder)
    shutil.copytree(tmp_path / "older", folder)
    found = verified(store).problems
    assert "an older state of the version was put back" in next(
        one.says for one in found if one.where == str((folder / MANIFEST_FILE).relative_to(store.root))
    )
    assert all("v0002" in one.where for one in found)


def test_a_list_of_erased_persons_is_missed_once_versions_know_of_it(copy: Gallery) -> None:
    erase_person(store=copy.store, gallery="people", person="person_0041")
    path = copy.store.erased("people")
    path.unlink()
    assert wheres(verified(copy.store).problems) == {"1_index/people/erased.json"}


def test_lists_do_not_fit_another_version(copy: Gallery) -> None:
    first, second = (
        copy.store.signed_list(gallery="people", version=version, what="index")
        for version in ("v0001", "v0002")
    )
    shutil.copyfile(first, second)
    assert wheres(verified(copy.store).problems) == {str(second.relative_to(copy.store.root))}


def test_a_version_that_a_later_release_signs_again_keeps_the_manifest_that_was_promoted(
    copy: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = manifest_of(copy).read_bytes()
    monkeypatch.setattr(signing, "__version__", "99.0")
    sign_manifest(
        place=copy.place("v0002"), key_id=copy.key_id, shards=[0, 1, 2], settings=copy.settings.protect
    )
    assert manifest_of(copy).read_bytes() == before
    assert verified(Store(copy.store.root)).ok
