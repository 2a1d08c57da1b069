"""Names in the store: every address comes back from its path, ids are unique, and no name leaves the root."""

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avih import naming
from avih.errors import UsageError
from avih.naming import ShardAddress, Store, image_id

KEY = "0123456789abcdef"
GALLERIES = st.from_regex(r"[a-z0-9][a-z0-9-]{0,62}", fullmatch=True)
VERSIONS = st.integers(1, 10**6).map(naming.version_name)
KEY_IDS = st.from_regex(r"[0-9a-f]{16}", fullmatch=True)
PART = st.text(alphabet="ab_-. éΩ", min_size=1, max_size=5).filter(lambda part: part.strip(".") != "")
PATHS = st.builds(
    lambda parts, ending: "/".join(parts) + ending,
    st.lists(PART, min_size=1, max_size=4),
    st.sampled_from([".jpg", ".png", ".JPG", ".jpeg"]),
)


@st.composite
def addresses(draw: st.DrawFn) -> ShardAddress:
    stage = draw(st.sampled_from(sorted(naming.STAGE_FOLDERS)))
    key_id = draw(KEY_IDS) if stage in naming.KEYED_STAGES else None
    return ShardAddress(stage, draw(GALLERIES), draw(VERSIONS), draw(st.integers(0, 10**7)), key_id)


@given(address=addresses(), ending=st.sampled_from(["tar", "parquet", "done.json"]))
@settings(deadline=None)
def test_an_address_comes_back_from_the_path_of_any_of_its_files(address: ShardAddress, ending: str) -> None:
    store = Store(Path("/store"))
    path = store.shard(address, ending)
    assert ShardAddress.parse(path.relative_to(store.root).as_posix()) == address


def test_the_folders_of_the_stages_are_those_of_the_design() -> None:
    found = [
        str(
            ShardAddress(
                stage, "lfw", "v0002", 7, KEY if stage in ("protected", "evaluated") else None
            ).folder
        )
        for stage in ("index", "aligned", "protected", "evaluated")
    ]
    assert found == [
        "1_index/lfw/v0002",
        "2_aligned/lfw/v0002",
        f"4_protected/lfw/{KEY}/v0002",
        f"5_evaluated/lfw/{KEY}/v0002",
    ]
    assert ShardAddress("index", "lfw", "v0002", 7).name == "00007"


@pytest.mark.parametrize(
    "path",
    [
        "",
        "00000.tar",
        "3_keys/lfw/v0001/00000.tar",
        "2_aligned/lfw/00000.tar",
        f"2_aligned/lfw/{KEY}/v0001/00000.tar",
        "4_protected/lfw/v0001/00000.tar",
        "4_protected/lfw/0123/v0001/00000.tar",
        "2_aligned/../v0001/00000.tar",
        "2_aligned/lfw/v1/00000.tar",
        "2_aligned/lfw/v0001/7.tar",
        "2_aligned/lfw/v0001/photos.parquet",
        "/2_aligned/lfw/v0001/00000.tar",
    ],
)
def test_other_paths_are_no_addresses(path: str) -> None:
    with pytest.raises(UsageError):
        ShardAddress.parse(path)


@pytest.mark.parametrize("name", ["000000007", "\u0660\u0660\u0660\u0660\u0667"])
def test_only_one_spelling_of_a_number_is_an_address(name: str) -> None:
    with pytest.raises(UsageError):
        ShardAddress.parse(f"2_aligned/lfw/v0001/{name}.tar")


@pytest.mark.parametrize(
    ("stage", "key_id"),
    [
        ("aligned", KEY),
        ("protected", None),
        ("protected", KEY.upper()),
        ("protected", KEY + "0"),
        ("keys", None),
    ],
)
def test_key_ids_belong_to_keyed_stages_only_and_have_16_hex_digits(stage: str, key_id: str | None) -> None:
    with pytest.raises(UsageError):
        ShardAddress(stage, "lfw", "v0001", 0, key_id)


@given(paths=st.lists(PATHS, min_size=2, max_size=12, unique=True))
@settings(deadline=None, max_examples=200)
def test_ids_are_plain_and_different_paths_have_different_ids(paths: list[str]) -> None:
    ids = [image_id(path) for path in paths]
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,120}", name) for name in ids)
    assert len(set(ids)) == len(paths)
    assert ids == [image_id(path) for path in paths]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("anna/1.jpg", "anna/1.png"),
        ("anna/1.jpg", "anna/1.JPG"),
        ("x/anna/1.jpg", "y/anna/1.jpg"),
        ("anna/1.jpg", "x/anna/1.jpg"),
        ("a b.jpg", "a-b.jpg"),
        ("\u00e9.jpg", "e\u0301.jpg"),
        ("a.b.jpg", "a-b.jpg"),
        ("a" * 200 + "1.jpg", "a" * 200 + "2.jpg"),
        ("anna/1.jpg", "anna__1.jpg"),
        ("a_/b.jpg", "a/_b.jpg"),
    ],
)
def test_near_twins_have_different_ids(first: str, second: str) -> None:
    assert image_id(first) != image_id(second)


def test_a_plain_path_keeps_a_readable_id() -> None:
    assert image_id("Anna_Lee/Anna_Lee_0001.jpg") == "Anna_Lee__Anna_Lee_0001"
    assert image_id("Anna_Lee_0001.jpg") == "Anna_Lee_0001"
    assert re.fullmatch(r"a-b-[0-9a-f]{8}", image_id("a b.jpg"))


@pytest.mark.parametrize("name", ["", "-a", "A", "a_b", "a/b", "..", "a.b", "é", "a" * 64, "a\n"])
def test_bad_gallery_names_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="gallery name"):
        naming.gallery_name(name)


@given(text=st.text(max_size=80))
@settings(deadline=None)
def test_a_suggested_gallery_name_is_always_a_good_one(text: str) -> None:
    name = naming.suggest_gallery_name(text)
    assert naming.gallery_name(name) == name


def test_a_suggested_name_comes_from_the_last_folder() -> None:
    assert naming.suggest_gallery_name("/data/LFW_gray/") == "lfw-gray"
    assert naming.suggest_gallery_name("/") == "gallery"


@given(number=st.integers(1, 10**7))
def test_versions_come_back(number: int) -> None:
    assert naming.version_number(naming.version_name(number)) == number


def test_a_version_has_four_digits() -> None:
    assert naming.version_name(1) == "v0001"
    assert naming.version_name(12345) == "v12345"


@pytest.mark.parametrize(
    "name", ["", "v1", "v0000", "v00001", "0001", "V0001", "v0001\n", "v\u0660\u0660\u0660\u0661", "v-001"]
)
def test_other_texts_are_no_versions(name: str) -> None:
    with pytest.raises(UsageError, match="version"):
        naming.version_number(name)


def test_there_is_no_version_before_the_first() -> None:
    with pytest.raises(UsageError):
        naming.version_name(0)


def test_the_argument_goes_before_the_environment_and_that_before_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AVIH_STORE", str(tmp_path / "env"))
    assert Store.find("given").root == tmp_path / "given"
    assert Store.find().root == tmp_path / "env"
    monkeypatch.delenv("AVIH_STORE")
    assert Store.find().root == tmp_path / "data"


@given(
    gallery=st.text(max_size=12) | st.just(".."),
    version=st.text(max_size=8) | VERSIONS,
    key=st.text(max_size=16),
)
@settings(deadline=None)
def test_no_name_leads_out_of_the_store(gallery: str, version: str, key: str) -> None:
    store = Store(Path("/store"))
    for attempt in (
        lambda: store.gallery_root("index", gallery),
        lambda: store.folder("aligned", gallery=gallery, version=version),
        lambda: store.folder("aligned", gallery="lfw", version=version),
        lambda: store.folder("protected", gallery="lfw", version="v0001", key_id=key),
    ):
        try:
            path = attempt()
        except UsageError:
            continue
        assert path.is_relative_to(store.root)
        assert ".." not in path.parts


def test_plans_lie_beside_the_versions_and_are_none() -> None:
    store = Store(Path("/store"))
    assert store.plans("lfw") == store.erased("lfw").with_name("plans.jsonl")
    assert store.plans("lfw").parent == store.folder("index", gallery="lfw", version="v0001").parent
    with pytest.raises(UsageError, match="gallery name"):
        store.plans("../lfw")


def test_versions_are_listed_in_number_order_and_strangers_are_left_out(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for name in ("v10000", "v0002", "v9999", "notes", "v00003", "v0000"):
        (tmp_path / "1_index" / "lfw" / name).mkdir(parents=True)
    assert store.versions("lfw") == ["v0002", "v9999", "v10000"]
    assert store.versions("other") == []
    assert store.galleries() == ["lfw"]
