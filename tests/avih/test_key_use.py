"""Who uses a key, how worn it is, and when it may be destroyed."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from avih import gallery
from avih.errors import IntegrityError, KeyRefused, UsageError
from avih.key_destruction import destroy_key, plan_destruction
from avih.key_use import ShardUse, VersionUse, key_status, shards_of_key, versions_of_key
from avih.keys import LeakBudget, State, verify_log
from avih.naming import Store
from small_keys import CHEAP, WORDS, add, make_key, make_store, protected_shard

MAC_KEY = bytes(32)
START = datetime(2026, 3, 1, tzinfo=UTC)


class Clock:
    """The time of a key store, moved by hand."""

    def __init__(self):
        self.now = START

    def __call__(self):
        return self.now

    def wait(self, days):
        self.now += timedelta(days=days)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def keys(tmp_path, clock):
    return make_store(tmp_path / "store", clock=clock)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def promote(store, key_id, name="people", version="v0001"):
    store.folder("protected", gallery=name, version=version, key_id=key_id).mkdir(parents=True, exist_ok=True)
    gallery.promote(store=store, gallery=name, version=version, key_id=key_id, manifest_sha256="0" * 64,
                    actor="operator", reason="test", mac_key=MAC_KEY, expected=None)  # fmt: skip


def two_galleries(store, keys):
    """One key in three versions of two galleries, and another key beside it."""
    key_id, other = add(keys, None, "active").key_id, add(keys).key_id
    protected_shard(keys.folder, key_id, 0, good=3, poor=1, failed=2)
    protected_shard(keys.folder, key_id, 1, good=2)
    protected_shard(keys.folder, key_id, 0, good=4, version="v0002")
    protected_shard(keys.folder, key_id, 0, good=1, gallery="staff")
    protected_shard(keys.folder, other, 0, good=5, gallery="staff", version="v0002")
    promote(store, key_id, version="v0002")
    promote(store, other, name="staff", version="v0002")
    return key_id, other


def status(store, keys, key_id, **limits):
    entries = verify_log(keys.log.path)
    return key_status(store, keys.show(key_id), entries=entries, now=keys.log.clock(), **limits)


# -- use -------------------------------------------------------------------------------------------------


def test_images_are_counted_by_version_and_the_current_one_is_marked(store, keys):
    key_id, other = two_galleries(store, keys)
    assert shards_of_key(store, key_id)[:2] == [
        ShardUse("people", "v0001", 0, 4),
        ShardUse("people", "v0001", 1, 2),
    ]
    assert versions_of_key(store, key_id) == (
        VersionUse("people", "v0001", 6, current=False),
        VersionUse("people", "v0002", 4, current=True),
        VersionUse("staff", "v0001", 1, current=False),
    )
    assert versions_of_key(store, other) == (VersionUse("staff", "v0002", 5, current=True),)


def test_what_is_no_finished_shard_does_not_count_and_a_damaged_one_is_named(store, keys):
    key_id = add(keys, None, "active").key_id
    protected_shard(keys.folder, key_id, 0, good=3)
    protected_shard(keys.folder, key_id, 1, good=3)
    folder = store.folder("protected", gallery="people", version="v0001", key_id=key_id)
    (folder / "notes.done.json").write_text("{}")
    (folder / "00001.tar").unlink()
    assert [use.images for use in versions_of_key(store, key_id)] == [3]
    (folder / "00000.done.json").write_text("{}")
    with pytest.raises(IntegrityError, match=r"00000\.done\.json"):
        versions_of_key(store, key_id)
    with pytest.raises(UsageError, match="16 hex digits"):
        shards_of_key(store, "*")


def test_a_key_is_due_by_age_since_its_activation(store, keys, clock):
    key_id = add(keys, make_key(created=START)).key_id
    clock.wait(200)  # in the pool
    assert (status(store, keys, key_id).age_days, status(store, keys, key_id).due) == (200, ())
    keys.transition(key_id, "active", actor="operator", reason="test")
    clock.wait(89.9)
    assert (status(store, keys, key_id).age_days, status(store, keys, key_id).due) == (89, ())
    keys.transition(key_id, "suspended", actor="operator", reason="test")
    keys.transition(key_id, "active", actor="operator", reason="test")  # does not begin anew
    clock.wait(0.1)
    assert status(store, keys, key_id).due == ("in use for 90 days (limit 90)",)
    assert status(store, keys, key_id, maximum_age_days=91).due == ()


def test_a_key_is_due_by_its_budget(store, keys):
    key_id = add(keys, make_key(recipe={"leak_budget": 10}), "active").key_id
    budget = LeakBudget(keys.folder, key_id, WORDS, cost=CHEAP)
    budget.reserve(shard="people/v0001/0", images=8)
    found = status(store, keys, key_id)
    assert (found.images, found.budget, found.due) == (8, 10, ())
    assert status(store, keys, key_id, budget_share=0.8).due == ("8 images protected of a budget of 10",)
    budget.reserve(shard="people/v0001/1", images=1)
    assert status(store, keys, key_id).due == ("9 images protected of a budget of 10",)


@pytest.mark.parametrize("state", ["suspended", "deactivated", "compromised"])
def test_a_serving_key_that_may_not_protect_is_due(store, keys, state):
    key_id, _ = two_galleries(store, keys)
    keys.transition(key_id, state, actor="operator", reason="test")
    assert status(store, keys, key_id).due == (
        f"{state}, so it may not protect, but people v0002 is current under it",
    )
    unused = add(keys, None, "active", state).key_id
    assert status(store, keys, unused).due == ()
    public = status(store, keys, key_id).public()
    assert json.loads(json.dumps(public))["rotation_due"] is True


# -- destruction -----------------------------------------------------------------------------------------


def destroy(store, keys, key_id, *, confirmed=None, **options):
    planned = plan_destruction(store, keys, key_id, **options)
    return destroy_key(keys, planned, confirmed=confirmed or key_id, actor="operator", reason="over")


@pytest.mark.parametrize("way", [["active", "deactivated"], ["active", "compromised"], ["compromised"], []])
def test_a_key_out_of_use_is_destroyed_after_the_waiting_period(store, keys, clock, way):
    key_id = add(keys, None, *way).key_id
    clock.wait(29.99)
    with pytest.raises(KeyRefused, match=r"for 30 days .* since 2026-03-01\. Wait until 2026-03-31 00:00"):
        destroy(store, keys, key_id)
    clock.wait(0.01)
    assert destroy(store, keys, key_id).state is State.DESTROYED
    assert not (keys.folder / f"{key_id}.key").exists()
    assert verify_log(keys.log.path)[-1].reason == "over; 0 protected images become unrecoverable"


def test_the_wait_begins_with_the_last_change(store, keys, clock):
    key_id = add(keys, None, "active", "deactivated").key_id
    clock.wait(29)
    keys.transition(key_id, "compromised", actor="operator", reason="test")
    clock.wait(29)
    with pytest.raises(KeyRefused, match="compromised since 2026-03-30"):
        destroy(store, keys, key_id)


@pytest.mark.parametrize("way", [["active"], ["active", "suspended"], ["compromised", "destroyed"]])
def test_a_key_in_use_is_not_destroyed_however_long_ago(store, keys, clock, way):
    key_id = add(keys, None, *way).key_id
    clock.wait(1000)
    with pytest.raises(KeyRefused, match=f"follow {way[-1]}"):
        plan_destruction(store, keys, key_id, waiting_days=0)


def test_a_shorter_wait_is_asked_for_and_said_in_the_log(store, keys):
    key_id, _ = two_galleries(store, keys)
    keys.transition(key_id, "deactivated", actor="operator", reason="test")
    with pytest.raises(UsageError, match="0 days or more"):
        plan_destruction(store, keys, key_id, waiting_days=-1)
    planned = plan_destruction(store, keys, key_id, waiting_days=0)
    assert (planned.images, len(planned.lost)) == (11, 3)
    destroy(store, keys, key_id, waiting_days=0)
    entry = verify_log(keys.log.path)[-1]
    assert (entry.actor, entry.to_state) == ("operator", State.DESTROYED)
    assert entry.reason == (
        "over; 11 protected images become unrecoverable; asked for after 0 days instead of 30"
    )


def test_another_id_destroys_nothing(store, keys):
    key_id, other = add(keys).key_id, add(keys).key_id
    before = keys.log.path.read_bytes()
    for typed in (other, key_id[:8], " ", key_id + "0"):
        with pytest.raises(UsageError, match="Nothing was changed"):
            destroy(store, keys, key_id, confirmed=typed, waiting_days=0)
    assert keys.log.path.read_bytes() == before
    assert (keys.folder / f"{key_id}.key").exists()
    destroy(store, keys, key_id, confirmed=f" {key_id.upper()}\n", waiting_days=0)


def test_a_change_of_mind_between_plan_and_deed_counts(store, keys):
    key_id = add(keys).key_id
    planned = plan_destruction(store, keys, key_id, waiting_days=0)
    keys.transition(key_id, "active", actor="somebody else", reason="needed after all")
    with pytest.raises(KeyRefused, match="follow active"):
        destroy_key(keys, planned, confirmed=key_id, actor="operator", reason="over")
    assert keys.show(key_id).state is State.ACTIVE


def test_what_cannot_be_counted_is_not_destroyed(store, keys):
    key_id = add(keys, None, "active", "deactivated").key_id
    protected_shard(keys.folder, key_id, 0, good=1)
    folder = store.folder("protected", gallery="people", version="v0001", key_id=key_id)
    (folder / "00000.done.json").write_text("{}")
    with pytest.raises(IntegrityError):
        plan_destruction(store, keys, key_id, waiting_days=0)
