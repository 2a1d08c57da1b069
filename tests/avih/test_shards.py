"""Shards are whole or not there, come out byte for byte the same, and show every change of a bit."""

import io
import json
import os
import random
import stat
import subprocess
import sys
import tarfile
from pathlib import Path

import pandas as pd
import pytest
import webdataset
from pydantic import BaseModel, ConfigDict

from avih import atomic
from avih.atomic import atomic_file, remove_leftovers, write_bytes, write_json
from avih.errors import IntegrityError, SettingsMismatch, UsageError
from avih.naming import ShardAddress, Store
from avih.shards import (
    DoneRecord,
    Sample,
    file_sha256,
    iter_samples,
    read_done,
    read_rows,
    read_sample,
    settings_sha256,
    shard_state,
    verify_shard,
    write_shard,
)

KEY = "0123456789abcdef"
ADDRESS = ShardAddress("protected", "lfw-gray", "v0001", 3, KEY)
ENDINGS = ("tar", "parquet", "done.json")


class Step(BaseModel):
    model_config = ConfigDict(frozen=True)
    size: float = 0.2
    count: int = 200


class Settings(BaseModel):
    model_config = ConfigDict(frozen=True)
    template: str = "112x96"
    step: Step = Step()


def make_samples(count: int = 4) -> list[Sample]:
    # The names reach past tar's 100 characters, so that the long form of its headers is used as well.
    return [
        Sample(
            key=f"{'p' * (30 * n)}__{n:04d}", files={"png": bytes([n]) * (700 * n + 1), "json": b'{"n": 1}'}
        )
        for n in range(count)
    ]


def make_rows(samples: list[Sample]) -> pd.DataFrame:
    rows = [
        {"image_id": s.key, "person": "p", "status": "protected", "reason": "", "cos": 0.5 + i / 7,
         "file_sha256": file_sha256(s.files)}
        for i, s in enumerate(samples)
    ]  # fmt: skip
    rows.append({"image_id": "dark__0001", "person": "dark", "status": "skipped", "reason": "no_face"})
    return pd.DataFrame(rows)


def write(store: Store, address: ShardAddress = ADDRESS, **changes: object) -> DoneRecord:
    samples = make_samples()
    arguments: dict[str, object] = {
        "samples": samples, "rows": make_rows(samples), "settings": Settings(), "inputs_sha256": "ab" * 32,
        "key_id": address.key_id, "recogniser": "feedfacefeedface",
    }  # fmt: skip
    return write_shard(store=store, address=address, **(arguments | changes))


def contents(store: Store, address: ShardAddress = ADDRESS) -> dict[str, bytes]:
    return {ending: store.shard(address, ending).read_bytes() for ending in ENDINGS}


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


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_shard_without_one_of_its_files_does_not_exist(store: Store, ending: str) -> None:
    write(store)
    store.shard(ADDRESS, ending).unlink()
    assert read_done(store, ADDRESS) is None
    assert verify_shard(store, ADDRESS)


@pytest.mark.parametrize("ending", ["tar", "parquet"])
def test_a_truncated_file_makes_the_shard_missing(store: Store, ending: str) -> None:
    write(store)
    path = store.shard(ADDRESS, ending)
    path.write_bytes(path.read_bytes()[:-1])
    assert shard_state(store, ADDRESS, settings=Settings(), inputs_sha256="ab" * 32) == "missing"


@pytest.mark.parametrize("ending", ENDINGS)
def test_every_flipped_bit_is_found_and_named(store: Store, ending: str) -> None:
    write(store)
    path = store.shard(ADDRESS, ending)
    whole = path.read_bytes()
    drawn = random.Random(7)
    places = drawn.sample(range(len(whole)), 200 if ending == "done.json" else 60)
    for place in places:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << drawn.randrange(8)
        path.write_bytes(damaged)
        problems = verify_shard(store, ADDRESS)
        assert problems, f"bit flip at byte {place} of the {ending} was not found"
        assert f"00003.{ending}" in problems[0]
        with pytest.raises(IntegrityError):
            read_rows(store, ADDRESS) if ending != "tar" else list(iter_samples(store, ADDRESS))


def test_a_flipped_bit_in_a_picture_names_the_image(store: Store) -> None:
    write(store)
    path = store.shard(ADDRESS, "tar")
    damaged = bytearray(path.read_bytes())
    damaged[damaged.index(bytes([3]) * 2000) + 1000] ^= 1
    path.write_bytes(damaged)
    problems = verify_shard(store, ADDRESS)
    assert any(f"{'p' * 90}__0003: its picture is not the one of its row" in problem for problem in problems)


def test_a_done_file_from_another_shard_is_refused(store: Store) -> None:
    other = ShardAddress("protected", "lfw-gray", "v0002", 3, KEY)
    write(store)
    write(store, other)
    store.shard(ADDRESS, "done.json").write_bytes(store.shard(other, "done.json").read_bytes())
    with pytest.raises(IntegrityError, match="v0002/00003"):
        read_done(store, ADDRESS)
    assert "v0002/00003" in verify_shard(store, ADDRESS)[0]


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "null", '{"record_sha256": NaN}', "[" * 5000, "\ufeff{}", '"\\ud800"']
)
def test_a_done_file_that_is_none_says_what_to_do(store: Store, text: str) -> None:
    write(store)
    store.shard(ADDRESS, "done.json").write_text(text)
    with pytest.raises(IntegrityError, match="Delete the shard's three files"):
        read_done(store, ADDRESS)


def retar(store: Store, members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
    """Replace the tar and make the done file agree, as somebody with write access could."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for info, data in members:
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    record = read_done(store, ADDRESS)
    assert record is not None
    data = buffer.getvalue()
    store.shard(ADDRESS, "tar").write_bytes(data)
    hashes = {"tar_bytes": len(data), "tar_sha256": file_sha256({"png": data})}
    store.shard(ADDRESS, "done.json").write_bytes(record.model_copy(update=hashes).to_bytes())


def as_link(info: tarfile.TarInfo) -> tarfile.TarInfo:
    info.type, info.linkname = tarfile.SYMTYPE, "/etc/hostname"
    return info


@pytest.mark.parametrize(
    "infos",
    [
        [as_link(tarfile.TarInfo("a.png"))],
        [tarfile.TarInfo("../a.png")],
        [tarfile.TarInfo("a")],
        [tarfile.TarInfo("a.png"), tarfile.TarInfo("a.png")],
        [tarfile.TarInfo("a.b.png")],
    ],
    ids=["link", "folder", "no ending", "twice", "two dots"],
)
def test_a_tar_of_anything_but_plain_files_is_refused(store: Store, infos: list[tarfile.TarInfo]) -> None:
    write(store)
    retar(store, [(info, b"" if info.issym() else b"1") for info in infos])
    with pytest.raises(IntegrityError, match=r"KEY\.ENDING"):
        list(iter_samples(store, ADDRESS))
    assert any("KEY.ENDING" in problem for problem in verify_shard(store, ADDRESS))


def test_contents_that_do_not_fit_the_rows_are_named(store: Store) -> None:
    write(store)
    retar(store, [(tarfile.TarInfo("__0000.png"), b"other"), (tarfile.TarInfo("new.png"), b"1")])
    problems = "\n".join(verify_shard(store, ADDRESS))
    assert "new: sample without row" in problems
    assert "__0000: its picture is not the one of its row" in problems
    assert "__0001: row without sample" in problems
    assert "counts" in problems


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


KILLER = """
import os, shutil, signal, sys
from pathlib import Path
sys.path[:0] = {paths!r}
import webdataset
from avih import shards
import test_shards as t

calls, last = 0, 0

def fatal(function):
    def wrapped(*args, **kwargs):
        global calls
        calls += 1
        if calls == last:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)
    return wrapped

# Every step that changes the disk is the last one once.
shards._Hashing.write = fatal(shards._Hashing.write)
for owner, names in ((os, ("open", "fsync", "fchmod")), (Path, ("write_bytes", "replace", "unlink"))):
    for name in names:
        setattr(owner, name, fatal(getattr(owner, name)))
for case in ("alone", "over"):
    last, status = 0, -1
    while status != 0:
        last += 1
        folder = Path(sys.argv[1]) / case / str(last)
        if case == "over":
            shutil.copytree(sys.argv[2], folder)
        process = os.fork()
        if process == 0:
            t.write(t.Store(folder), settings=t.Settings(template="new"))
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        if status not in (0, -signal.SIGKILL):
            sys.exit(status)
"""
KILL_POINTS = 24  # fewer would mean that the writer has steps this test does not see


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run writers that are killed at their first, second, ... step; alone, and over an older shard."""
    folder, older = tmp_path_factory.mktemp("killed"), tmp_path_factory.mktemp("older")
    write(Store(older))
    paths = [str(Path(atomic.__file__).parents[1]), str(Path(__file__).parent)]
    program = [sys.executable, "-c", KILLER.format(paths=paths), str(folder), str(older)]
    subprocess.run(program, check=True, timeout=300)
    return folder


@pytest.mark.parametrize("case", ["alone", "over"])
def test_a_killed_writer_leaves_nothing_half_and_the_next_run_repairs_it(
    killed: Path, case: str, tmp_path: Path
) -> None:
    new = Store(tmp_path / "new")
    write(new, settings=Settings(template="new"))
    states = []
    stores = [Store(path) for path in sorted((killed / case).iterdir(), key=lambda path: int(path.name))]
    assert len(stores) > KILL_POINTS
    for store in stores:
        record = read_done(store, ADDRESS)
        states.append(str(record and record.settings["template"]))
        if record:
            assert verify_shard(store, ADDRESS) == []
        else:
            with pytest.raises(IntegrityError):
                read_rows(store, ADDRESS)
        write(store, settings=Settings(template="new"))
        assert contents(store) == contents(new)
        assert partial(store) == []
    # In the order of the steps: first what was there, then nothing, then the new shard; never back.
    order = ["112x96", "None", "new"]
    assert states == sorted(states, key=order.index)
    assert set(states) == (set(order) if case == "over" else {"None", "new"})


def partial(store: Store) -> list[Path]:
    return sorted(store.root.rglob("*.part"))


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


def test_an_error_while_writing_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_bytes(path, b"old")
    with pytest.raises(ZeroDivisionError), atomic_file(path) as temporary:
        temporary.write_bytes(b"new")
        assert temporary.parent == tmp_path
        assert temporary.name.startswith(".")
        assert temporary.name.endswith(".part")
        raise ZeroDivisionError
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_only_files_of_dead_processes_are_left_over(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    with atomic_file(tmp_path / "living") as mine:
        left = mine.with_name(mine.name.replace(f"-{os.getpid()}-", f"-{dead.pid}-"))
        elsewhere = left.with_name(f".file.00000000-{dead.pid}-00000000.part")
        foreign = tmp_path / ".other.part"
        for path in (left, elsewhere, foreign):
            path.write_bytes(b"1")
        assert remove_leftovers(tmp_path) == [left]
        assert mine.exists()
    assert sorted(tmp_path.iterdir()) == sorted([elsewhere, foreign, tmp_path / "living"])
    assert remove_leftovers(tmp_path / "nowhere") == []


def test_json_is_sorted_and_ends_with_a_newline(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": [1, None], "a": "é"})
    assert (tmp_path / "a.json").read_text() == '{\n  "a": "é",\n  "b": [\n    1,\n    null\n  ]\n}\n'
    for content in (float("nan"), {1, 2}):
        with pytest.raises(UsageError, match="plain JSON"):
            write_json(tmp_path / "b.json", content)
    assert not (tmp_path / "b.json").exists()


def test_the_done_file_is_readable_json_with_the_facts(store: Store) -> None:
    record = write(store)
    content = json.loads(store.shard(ADDRESS, "done.json").read_text())
    assert content["record_sha256"] == record.digest()
    assert content["key_id"] == KEY
    assert content["settings"]["step"] == {"size": 0.2, "count": 200}
    assert content["tar_bytes"] == store.shard(ADDRESS, "tar").stat().st_size


def test_another_format_is_refused(store: Store) -> None:
    write(store)
    path = store.shard(ADDRESS, "done.json")
    path.write_text(path.read_text().replace('"format_version": 1', '"format_version": 2'))
    with pytest.raises(IntegrityError, match="format 1"):
        read_done(store, ADDRESS)
