"""``avih verify`` over a whole store: any flipped bit is found and named, and hides nothing of the rest."""

import json
import shutil
from pathlib import Path

import pytest

from avih.errors import IntegrityError, KeyRefused, UsageError
from avih.keys import KeyStore, Passphrase, State
from avih.naming import ShardAddress, Store
from avih.verifying import Findings, Part
from avih.verifying_versions import Reading
from small_methods import Gallery
from small_store import (
    PASSPHRASE,
    copied_store,
    flipped,
    full_store,
    moved,
    name_of,
    some_bits,
    stored_files,
    verified,
    wheres,
)
from tasks import opened
from tasks.night_record import night_path
from tasks.recover_gallery import recover_shard
from tasks.signed_json import SIGNATURE
from tasks.verify_records import UNLISTED, UNSIGNED, verify_records

FLIPS = 2  # bits of each file
LIVE = "no such file: no version ever went live"  # the gallery under veils keeps to no limits


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Gallery:
    """A store that tests give back as it was."""
    return full_store(tmp_path_factory.getbasetemp() / "full-store")


@pytest.fixture
def store(made: Gallery) -> Store:
    return made.store


@pytest.fixture
def copy(made: Gallery, tmp_path: Path) -> Gallery:
    return copied_store(made, tmp_path)


def test_a_whole_store_is_checked_to_the_last_file(store: Store) -> None:
    done = verified(store)
    assert done.ok and done.problems == ()
    assert [(one.where, one.says.startswith(LIVE)) for one in done.unchecked] == [
        ("4_protected/veiled/current.json", True)
    ]
    assert done.checked["protected tar read"] == done.checked["protected shard"] == 8
    assert done.checked["veil"] == done.checked["veil count"] == 5 and done.checked["key"] == 2


def test_any_flipped_bit_is_found_named_and_hides_nothing(store: Store) -> None:
    files = stored_files(store)
    kinds = {path.suffix for path in files}
    assert {".tar", ".parquet", ".json", ".key", ".jsonl", ".png", ".html", ".veil"} <= kinds
    missed = []
    for path in files:
        for bit in some_bits(path, FLIPS):
            with flipped(path, bit):
                done = verified(store)
            if done.ok or wheres(done.problems) != {name_of(path, store)}:
                missed.append((name_of(path, store), bit, wheres(done.problems)))
    assert not missed
    assert verified(store).ok


def test_every_bit_of_a_signed_record_counts(store: Store) -> None:
    reading = Reading(opened.vault(store.root).mac_key(), lambda _: True)
    for path in (store.erased("people"), store.policy("people"), store.rotation("people")):
        content = path.read_bytes()
        named = content.index(SIGNATURE.encode()) * 8  # without this name it would be an unsigned file
        for bit in {*range(0, len(content) * 8, 7), *range(named, named + len(SIGNATURE) * 8)}:
            with flipped(path, bit):
                findings = Findings(store.root)
                verify_records(findings, store, "people", reading)
                assert {one.where for one in findings.problems} == {name_of(path, store)}, bit


def test_a_removed_file_is_a_problem_or_leaves_a_gap_that_is_named(store: Store) -> None:
    # Whoever can remove files can remove these: nothing knows of them.
    free = {store.erased("people"), store.policy("people"), store.rotation("people")}
    free |= {night_path(store, "people")}
    gaps = {
        store.current("people"),
        *store.keys.glob("*.budget.json"),
        *store.root.glob("1_index/*/*/signed/*"),
    }
    before = verified(store)
    for path in stored_files(store):
        with moved(path):
            done = verified(store)
        if path in free:
            assert done.ok and done.unchecked == before.unchecked, path
        elif path in gaps:
            assert done.ok and done.unchecked != before.unchecked, path
        else:
            assert wheres(done.problems) == {name_of(path, store)}, path


def test_the_other_shard_of_a_damaged_version_still_recovers(made: Gallery, tmp_path: Path) -> None:
    damaged = made.folder("v0002") / "00001.tar"
    with flipped(damaged, 5000):
        assert wheres(verified(made.store).problems) == {name_of(damaged, made.store)}
        arguments = {
            "place": made.place("v0002"),
            "key_id": made.key_id,
            "recovery": "inverse",
            "images": None,
        }
        assert recover_shard(**arguments, number=0, folder=tmp_path).written == 4
        with pytest.raises(IntegrityError, match=r"00001\.tar"):
            recover_shard(**arguments, number=1, folder=tmp_path)


def test_parts_are_disjoint_and_together_all(store: Store) -> None:
    addresses = [ShardAddress("aligned", "people", "v0001", number) for number in range(500)]
    addresses += [ShardAddress("protected", "people", "v0001", number, "0" * 16) for number in range(500)]
    for parts in (1, 2, 7):
        held = [[Part(n, parts).holds(address) for n in range(1, parts + 1)] for address in addresses]
        assert all(sum(one) == 1 for one in held)
        assert all(sum(column) > 500 / parts for column in zip(*held, strict=True))
    read = [verified(store, part=Part(n, 3)).checked for n in (1, 2, 3)]
    assert sum(one.get("protected tar read", 0) for one in read) == 8 == read[0]["protected shard"]
    assert sum(one.get("aligned tar read", 0) for one in read) == 8


def test_a_flip_in_a_tar_is_found_by_the_part_that_reads_it(made: Gallery) -> None:
    path = made.folder("v0002") / "00001.tar"
    with flipped(path, 5000):
        found = [wheres(verified(made.store, part=Part(n, 4)).problems) for n in (1, 2, 3, 4)]
        assert sorted(map(len, found)) == [0, 0, 0, 1]
        light = verified(made.store, read_data=False)
    assert light.ok and {"protected tar", "measurement"} <= {one.what for one in light.unchecked}


def test_without_reading_data_everything_but_tars_and_measurements_counts(store: Store) -> None:
    for path in stored_files(store):
        unread = path.suffix == ".tar" or (path.suffix == ".parquet" and "5_evaluated" in path.parts)
        with flipped(path, some_bits(path, 1)[0]):
            assert verified(store, read_data=False).ok == unread, path
    path = next(path for path in stored_files(store) if path.suffix == ".tar")
    data = path.read_bytes()
    path.write_bytes(data[:-512])
    cut = verified(store, read_data=False)
    path.write_bytes(data)
    assert wheres(cut.problems) == {name_of(path, store)} and "bytes, got" in cut.problems[0].says


@pytest.mark.parametrize("text", ["0/7", "8/7", "1/0", "7", "1/2/3", "a/b", "-1/3", ""])
def test_a_part_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="n from 1 to t"):
        Part.parse(text)


def test_without_a_passphrase_damage_is_still_found_and_the_rest_is_named(made: Gallery) -> None:
    done = verified(made.store, None)
    assert done.ok and {"vault", "key", "manifest", "current version", "signed list"} <= {
        one.what for one in done.unchecked
    }
    sure = {made.folder("v0002") / "00000.parquet", made.store.keys / "log.jsonl"}
    for path in stored_files(made.store):  # no damage stops the check
        with flipped(path, some_bits(path, 1)[0]):
            found = wheres(verified(made.store, None, read_data=path in sure).problems)
        assert path not in sure or found == {name_of(path, made.store)}


def test_a_wrong_passphrase_is_refused_and_a_damaged_vault_is_told_from_it(store: Store) -> None:
    with pytest.raises(KeyRefused, match="passphrase is wrong"):
        verified(store, Passphrase(b"not the passphrase"))
    path = store.keys / "vault.key"
    with flipped(path, path.stat().st_size * 8 - 1):
        (problem,) = verified(store).problems
    assert problem.where == "3_keys/vault.key" and "The passphrase is right" in problem.says


def test_records_of_earlier_releases_are_unchecked_not_broken(copy: Gallery) -> None:
    store = copy.store
    for folder in store.root.glob("1_index/*/*/signed"):
        shutil.rmtree(folder)
    take_signature(store.erased("people"))
    done = verified(store)
    assert done.ok
    says = {one.what: one.says for one in done.unchecked}
    assert says["erased persons"] == UNSIGNED and says["index"] == UNLISTED
    assert {"5_evaluated", "6_attacked", "7_audited"} <= {
        one.where.partition("/")[0] for one in done.unchecked
    }


def test_a_rotation_plan_that_nobody_signed_is_a_problem(copy: Gallery) -> None:
    take_signature(copy.store.rotation("people"))
    assert [one.what for one in verified(copy.store).problems] == ["rotation plan"]


def take_signature(path: Path) -> None:
    content = json.loads(path.read_bytes())
    del content[SIGNATURE]
    path.write_text(json.dumps(content, sort_keys=True, indent=2) + "\n")


def test_a_cut_log_and_a_destroyed_key_that_came_back_are_named(copy: Gallery) -> None:
    keys, log = KeyStore(copy.store.keys, PASSPHRASE), copy.store.keys / "log.jsonl"
    sealed = {path: path.read_bytes() for path in copy.store.keys.glob("*.key")}
    (veiled,) = {record.key_id for record in keys.list()} - {copy.key_id}
    whole = log.read_bytes()
    log.write_bytes(b"".join(line for line in whole.splitlines(True)[:2]))
    (problem,) = verified(copy.store).problems
    assert (
        problem.where == "3_keys/log.jsonl"
        and veiled in problem.says
        and "missing at the end" in problem.says
    )
    log.write_bytes(whole)
    for state in (State.DEACTIVATED, State.DESTROYED):
        keys.transition(veiled, state, actor="test", reason="over")
    assert verified(copy.store).ok  # its record stays, with nothing to compare it with
    back = copy.store.keys / f"{veiled}.key"
    back.write_bytes(sealed[back])
    (problem,) = verified(copy.store).problems
    assert problem.where == name_of(back, copy.store) and "came back" in problem.says


def test_only_what_was_asked_for_is_checked(made: Gallery) -> None:
    store, path = made.store, made.folder("v0001") / "00000.tar"
    with flipped(path, 5000):
        assert not verified(store, gallery="people").ok
        assert verified(store, gallery="people", version="v0002").ok
        assert verified(store, gallery="veiled").ok
    assert verified(store, gallery="people", version="v0001").checked["key"] == 1
    for wrong in ({"gallery": "nobody"}, {"gallery": "people", "version": "v0009"}, {"version": "v0001"}):
        with pytest.raises(UsageError, match="Expected"):
            verified(store, **wrong)
    with pytest.raises(UsageError, match="--store"):
        verified(Store(store.root / "nowhere"))


def test_a_file_of_nobody_is_named_as_unchecked(copy: Gallery) -> None:
    (copy.folder("v0002") / "notes.txt").write_text("mine")
    (copy.store.keys / "old.bak").write_bytes(b"1")
    done = verified(copy.store)
    assert done.ok and {"3_keys/old.bak", name_of(copy.folder("v0002") / "notes.txt", copy.store)} <= wheres(
        done.unchecked
    )
