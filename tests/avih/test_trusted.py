"""A shard counts as this store's own by its signature, or where a signed manifest speaks for it."""

import pytest

from avih.carry_over import earlier_shard
from avih.errors import IntegrityError
from avih.naming import ShardAddress, Store
from avih.shards import read_done
from avih.trusted import read_trusted, trusted_state
from small_manifest import KEY_ID, MAC_KEY, NUMBERS, Settings, place, sign, verify, write_one

FIRST = ShardAddress("protected", "lfw-gray", "v0001", 0, KEY_ID)
OTHER_MAC_KEY = bytes(32)


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path)


def state(store: Store) -> str:
    return trusted_state(store, FIRST, mac_key=MAC_KEY, settings=Settings(), inputs_sha256="in")


def found(store: Store) -> object:
    later = ShardAddress("protected", "lfw-gray", "v0002", 0, KEY_ID)
    return earlier_shard(store, later, fits=lambda *_: True, mac_key=MAC_KEY)


def taken_over(store: Store) -> bool:
    store.folder("index", gallery="lfw-gray", version="v0001").mkdir(parents=True, exist_ok=True)
    return found(store) is not None


def test_a_shard_with_this_store_s_signature_counts(store) -> None:
    write_one(store, 0)
    record = read_done(store, FIRST)
    assert record.is_signed_by(MAC_KEY) and not record.is_signed_by(OTHER_MAC_KEY)
    assert state(store) == "done" and taken_over(store)


@pytest.mark.parametrize("mac_key", [None, OTHER_MAC_KEY])
def test_one_without_it_is_made_again_not_taken_over_and_not_signed(store, mac_key) -> None:
    for number in NUMBERS:
        write_one(store, number, mac_key=mac_key if number == 0 else MAC_KEY)
    assert read_done(store, FIRST) and read_trusted(store, FIRST, mac_key=MAC_KEY) is None
    assert state(store) == "missing" and not taken_over(store)
    with pytest.raises(IntegrityError, match="nothing proves that this store made it"):
        sign(store)


def test_a_signature_of_another_place_or_of_other_contents_does_not_count(store) -> None:
    write_one(store, 0, content=b"other")
    stolen = read_done(store, FIRST).hmac_sha256
    write_one(store, 0, mac_key=None)
    unsigned = read_done(store, FIRST)
    store.shard(FIRST, "done.json").write_bytes(
        unsigned.model_copy(update={"hmac_sha256": stolen}).to_bytes()
    )
    assert read_done(store, FIRST) and state(store) == "missing"
    elsewhere = unsigned.signed(MAC_KEY).model_copy(
        update={"shard": unsigned.shard.replace("v0001", "v0002")}
    )
    assert not elsewhere.is_signed_by(MAC_KEY)


def test_an_earlier_release_s_shard_counts_where_its_signed_manifest_names_it(store) -> None:
    """Earlier releases signed manifests only; their bytes and digests stay what they were."""
    for number in NUMBERS:
        write_one(store, number)
    signed = {number: read_done(store, ShardAddress("protected", "lfw-gray", "v0001", number, KEY_ID))
              for number in NUMBERS}  # fmt: skip
    for number in NUMBERS:
        write_one(store, number, mac_key=None)
    assert read_done(store, FIRST).digest() == signed[0].digest()
    assert b"hmac" not in store.shard(FIRST, "done.json").read_bytes()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("avih.shards.record.DoneRecord.is_signed_by", lambda *_: True)
        sign(store)
    assert verify(store) == [] and state(store) == "done" and taken_over(store)
    assert sign(store).counts == {"failed": 3, "protected": 3}  # signing it again, as an erasure does
    write_one(store, 0, content=b"other", mac_key=None)
    assert state(store) == "missing" and not taken_over(store)
    (place(store) / "manifest.json").unlink()
    assert read_trusted(store, FIRST, mac_key=MAC_KEY) is None
