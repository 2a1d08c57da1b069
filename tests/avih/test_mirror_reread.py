"""Everything is fetched again to be verified, and nobody else on the machine notices."""

import pytest

from avih.errors import UsageError
from avih.mirror.seam import reread
from avih.naming import Store
from avih.shards import verify_shard
from small_shards import ADDRESS, write
from tasks import verify_store as verifying


def test_a_finished_shard_stays_finished_while_everything_is_fetched_again(shared):
    a, b = shared.open("a"), shared.open("b")
    write(a)
    b.refreshed()
    done, there = b.shard(ADDRESS, "done.json"), []
    done.write_bytes(b"damaged here alone")
    shared.line.mend()
    shared.line.before = lambda _: there.append(done.exists())
    reread(b.root)
    assert len(there) > 3 and all(there)
    assert shared.asked("GET", "done.json") == shared.asked("GET", "parquet") == 1
    assert verify_shard(b, ADDRESS) == []
    changed = write(a, inputs_sha256="cd" * 32)  # another state of the shard: now it stops existing first
    there.clear()
    reread(b.root)
    assert not all(there) and verify_shard(b, ADDRESS) == [] and done.read_bytes() == changed.to_bytes()


def test_one_gallery_is_fetched_again_by_itself(shared, monkeypatch):
    a, asked = shared.open("a"), []
    write(a)
    shared.line.mend()
    reread(a.root, "3_keys/", *Store.prefixes("others"))
    assert shared.asked("GET", "done.json") == 0
    reread(a.root, "3_keys/", *Store.prefixes(ADDRESS.gallery))
    assert shared.asked("GET", "done.json") == 1
    monkeypatch.setattr(verifying, "reread", lambda root, *prefixes: asked.append(prefixes))
    for gallery in ("others", None):
        with pytest.raises(UsageError):
            verifying.verify_store(store=Store(a.root.parent / "none"), passphrase=None, gallery=gallery)
    assert asked == [("3_keys/", *Store.prefixes("others")), ()]
