"""Shards are whole or not there, come out byte for byte the same, and show every change of a bit."""

import json
import os
import random
import stat
import tarfile
from pathlib import Path

import pandas as pd
import pytest
import webdataset
from pydantic import BaseModel

from avih.atomic import write_bytes
from avih.errors import IntegrityError, SettingsMismatch, UsageError
from avih.naming import ShardAddress, Store
from avih.shards import (
    Sample,
    iter_samples,
    read_done,
    read_rows,
    read_sample,
    settings_sha256,
    shard_state,
    verify_shard,
)
from small_shards import ADDRESS, ENDINGS, KEY, Settings, Step, contents, make_rows, make_samples, write


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def test_what_was_written_is_read_back(store: Store) -> None:
    record = write(store)
    assert record.counts == {"protected": 4, "skipped": 1}
    assert (record.rows, record.samples) == (5, 4)
    assert read_done(store, ADDRESS) == record
    assert list(iter_samples(store, ADDRESS)) == sorted(make_samples(), key=lambda s: s.key)
    assert read_sample(store, ADDRESS, "__0000").files["png"] == b"\0"
    rows = read_rows(store, ADDRESS)
    assert rows.image_id.tolist() == sorted(rows.image_id)
    assert rows.set_index("image_id").loc["dark__0001", "reason"] == "no_face"
    assert rows.file_sha256.isna().sum() == 1
    assert verify_shard(store, ADDRESS) == []
    with pytest.raises(IntegrityError, match="no-such"):
        read_sample(store, ADDRESS, "no-such")


def test_webdataset_reads_the_tar(store: Store) -> None:
    write(store)
    path = str(store.shard(ADDRESS, "tar"))
    read = list(webdataset.WebDataset(path, shardshuffle=False, empty_check=False))
    expected = sorted(make_samples(), key=lambda s: s.key)
    assert [(s["__key__"], s["png"], s["json"]) for s in read] == [
        (s.key, s.files["png"], s.files["json"]) for s in expected
    ]


def test_a_second_writing_in_another_order_gives_the_same_bytes(tmp_path: Path) -> None:
    first, second = Store(tmp_path / "a"), Store(tmp_path / "b")
    write(first)
    samples = make_samples()
    rows = make_rows(samples)
    random.Random(1).shuffle(samples)
    reversed_files = [Sample(s.key, dict(reversed(s.files.items()))) for s in samples]
    write(second, samples=iter(reversed_files), rows=rows.sample(frac=1, random_state=5))
    assert contents(first) == contents(second)
    write(second)
    assert contents(first) == contents(second)
    with tarfile.open(first.shard(ADDRESS, "tar")) as tar:
        members = tar.getmembers()
    assert {(m.mtime, m.uid, m.gid, m.uname, m.gname) for m in members} == {(0, 0, 0, "", "")}


def test_an_empty_shard_is_a_shard(store: Store) -> None:
    rows = make_rows([]).assign(status="failed")
    assert write(store, samples=[], rows=rows).counts == {"failed": 1}
    assert list(iter_samples(store, ADDRESS)) == []
    assert verify_shard(store, ADDRESS) == []


def broken(case: str) -> dict[str, object]:
    samples = make_samples()
    rows = make_rows(samples)
    changes: dict[str, dict[str, object]] = {
        "two rows": {"rows": pd.concat([rows, rows.iloc[:1]])},
        "two samples": {"samples": [*samples, samples[0]]},
        "sample without row": {"rows": rows.iloc[1:]},
        "row without sample": {"samples": samples[1:]},
        "its row says skipped": {"samples": [*samples, Sample("dark__0001", {"png": b"1"})]},
        "unknown status": {"rows": rows.assign(status="done")},
        "a dot ends a key": {"samples": [*samples[1:], Sample("a.b", {"png": b"1"})]},
        "'a/b'": {"samples": [*samples[1:], Sample("a/b", {"png": b"1"})]},
        "a.cls.png": {"samples": [*samples[1:], Sample("a", {"cls.png": b"1"})]},
        "columns image_id": {"rows": rows.drop(columns="reason")},
        "key id of the address": {"key_id": "f" * 16},
    }
    return changes[case]


CASES = [
    "two rows", "two samples", "sample without row", "row without sample", "its row says skipped",
    "unknown status", "a dot ends a key", "'a/b'", "a.cls.png", "columns image_id", "key id of the address",
]  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_rows_and_samples_that_do_not_fit_are_refused(store: Store, case: str) -> None:
    with pytest.raises(UsageError, match=case):
        write(store, **broken(case))
    assert not store.root.exists() or not list(store.root.rglob("0*"))


def test_nothing_there_is_missing(store: Store) -> None:
    assert read_done(store, ADDRESS) is None
    assert shard_state(store, ADDRESS, settings=Settings(), inputs_sha256="x") == "missing"
    with pytest.raises(IntegrityError, match="Run the protected stage again"):
        read_rows(store, ADDRESS)
    with pytest.raises(IntegrityError, match="got none"):
        list(iter_samples(store, ADDRESS))


def test_the_same_settings_inputs_and_recogniser_are_done(store: Store) -> None:
    write(store)
    assert shard_state(store, ADDRESS, settings=Settings(), inputs_sha256="ab" * 32) == "done"
    assert (
        shard_state(
            store, ADDRESS, settings=Settings(), inputs_sha256="ab" * 32, recogniser="feedfacefeedface"
        )
        == "done"
    )


def test_a_mismatch_says_field_by_field_what_differs(store: Store) -> None:
    write(store)
    now = Settings(template="112x112", step=Step(size=0.3))
    with pytest.raises(SettingsMismatch) as caught:
        shard_state(store, ADDRESS, settings=now, inputs_sha256="cd" * 32, recogniser="other")
    text = str(caught.value)
    assert "template: expected '112x112', got '112x96'" in text
    assert "step.size: expected 0.3, got 0.2" in text
    assert f"inputs: expected '{'cd' * 32}', got '{'ab' * 32}'" in text
    assert "recogniser: expected 'other', got 'feedfacefeedface'" in text
    assert "step.count" not in text
    assert "another gallery name" in text
    assert "new version" in text


def test_settings_digest_does_not_depend_on_the_order_of_fields() -> None:
    class Turned(BaseModel):
        step: Step = Step()
        template: str = "112x96"

    assert settings_sha256(Turned()) == settings_sha256(Settings())
    assert settings_sha256(Settings(template="x")) != settings_sha256(Settings())


def test_modes_do_not_depend_on_the_umask(store: Store) -> None:
    aligned = ShardAddress("aligned", "lfw-gray", "v0001", 0)
    before = os.umask(0o277)
    try:
        write_bytes(store.root.parent / "a", b"1", mode=0o640)
    finally:
        os.umask(before)
    modes = {}
    for mask in (0o000, 0o077):
        os.umask(mask)
        try:
            write(store)
            write(store, aligned)
        finally:
            os.umask(before)
        for address in (ADDRESS, aligned):
            paths = [store.shard(address, ending) for ending in ENDINGS]
            modes[mask, address.stage] = {stat.S_IMODE(path.stat().st_mode) for path in paths}
    assert {modes[m, "protected"] == {0o644} for m in (0o000, 0o077)} == {True}
    assert {modes[m, "aligned"] == {0o600} for m in (0o000, 0o077)} == {True}
    assert stat.S_IMODE((store.root.parent / "a").stat().st_mode) == 0o640


def test_the_done_file_is_readable_json_with_the_facts(store: Store) -> None:
    record = write(store)
    content = json.loads(store.shard(ADDRESS, "done.json").read_text())
    assert content["record_sha256"] == record.digest()
    assert content["key_id"] == KEY
    assert content["settings"]["step"] == {"size": 0.2, "count": 200}
    assert content["tar_bytes"] == store.shard(ADDRESS, "tar").stat().st_size
