"""The leak budget: counted once per shard, never passed, not even by two writers or across a kill."""

import json
import stat
from pathlib import Path

import pytest
import torch

from avih.errors import IntegrityError, KeyRefused, UsageError
from avih.keys import Key, KeyStore, LeakBudget, Passphrase, ScryptCost, State, Vault, canonical_safetensors
from avih.keys.budget import DEFAULT_LIMITS
from avih.settings import ARCHITECTURE_OF
from small_keys import protected_shard

REPOSITORY = Path(__file__).parents[2]
CHEAP = ScryptCost(log2_n=14)
WORDS = Passphrase(b"quiet copper lantern")
GENERATOR = canonical_safetensors({"w": torch.tensor([1.0])}, {"architecture": "tiny"})


def new_key(folder: Path, *, recovery: str = "keyed", **recipe: int) -> str:
    key = Key.create(generator_bytes=GENERATOR, recipe=recipe, training_seed=None)
    KeyStore(folder, WORDS, cost=CHEAP).add(key, actor="operator", reason="test", recovery=recovery)
    return key.key_id


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "store" / "3_keys"


@pytest.fixture
def budget(folder: Path) -> LeakBudget:
    """A budget of 10 images."""
    return LeakBudget(folder, new_key(folder, leak_budget=10), WORDS, cost=CHEAP)


def test_shards_add_up_to_the_limit_and_not_beyond(budget: LeakBudget) -> None:
    assert (budget.used(), budget.limit()) == (0, 10)
    assert budget.reserve(shard="people/v0001/0", images=6) == 4
    assert budget.reserve(shard="people/v0001/1", images=4) == 0
    before = budget.path.read_bytes()
    with pytest.raises(
        KeyRefused, match=r"at most 10 .*got 10 counted and 1 more.*rotation is due"
    ) as caught:
        budget.reserve(shard="people/v0002/0", images=1)
    assert caught.value.exit_code == 3
    assert budget.path.read_bytes() == before
    assert budget.used() == 10


def test_a_refused_shard_counts_nothing_and_a_smaller_one_still_fits(budget: LeakBudget) -> None:
    budget.reserve(shard="a", images=8)
    with pytest.raises(KeyRefused):
        budget.reserve(shard="b", images=3)
    assert budget.reserve(shard="c", images=2) == 0


def test_a_shard_counts_once_and_its_growth_counts_the_difference(budget: LeakBudget) -> None:
    for images, used in ((4, 4), (4, 4), (6, 6), (2, 6), (6, 6)):
        assert budget.reserve(shard="people/v0001/00003", images=images) == 10 - used
        assert budget.used() == used
    budget.reserve(shard="people/v0001/3", images=6)  # the same shard, its number written otherwise
    assert budget.used() == 6
    budget.reserve(shard="people/v0002/3", images=1)
    budget.reserve(shard="others/v0001/3", images=1)
    assert budget.used() == 8


def test_a_full_budget_lets_a_finished_shard_be_asked_for_again(budget: LeakBudget) -> None:
    budget.reserve(shard="a", images=10)
    assert budget.reserve(shard="a", images=10) == 0
    assert budget.reserve(shard="empty", images=0) == 0


@pytest.mark.parametrize(
    ("recovery", "recipe", "expected"),
    [
        ("keyed", {}, 1_000_000),
        ("sealed", {}, 1_000_000),
        ("unmixed", {}, 8),
        ("unmixed", {"leak_budget": 20_000}, 20_000),
        ("veil", {}, 1_000_000),
        ("inverse", {}, 1),
    ],
)
def test_the_limit_comes_from_the_recipe_or_the_recovery(folder, recovery, recipe, expected) -> None:
    assert LeakBudget(folder, new_key(folder, recovery=recovery, **recipe)).limit() == expected
    assert set(DEFAULT_LIMITS) == set(ARCHITECTURE_OF)


def test_a_limit_that_was_set_counts_and_says_by_whom(budget: LeakBudget) -> None:
    budget.reserve(shard="a", images=9)
    budget.set_limit(12, actor=" operator ", reason="measured again")
    assert (budget.limit(), budget.reserve(shard="b", images=3)) == (12, 0)
    budget.set_limit(5, actor="operator", reason="a leak")
    with pytest.raises(KeyRefused, match=r"at most 5 .*got 12 counted"):
        budget.reserve(shard="c", images=1)
    changes = json.loads(budget.path.read_text())["limits"]
    assert [(c["images"], c["actor"], c["reason"]) for c in changes] == [
        (12, "operator", "measured again"),
        (5, "operator", "a leak"),
    ]


def test_what_cannot_be_counted_is_refused(folder: Path, budget: LeakBudget) -> None:
    for shard, images in (("", 1), (" ", 1), ("a", -1)):
        with pytest.raises(UsageError):
            budget.reserve(shard=shard, images=images)
    with pytest.raises(UsageError):
        budget.set_limit(-1, actor="operator", reason="test")
    with pytest.raises(UsageError, match="actor and a reason"):
        budget.set_limit(1, actor="operator", reason=" ")
    with pytest.raises(UsageError, match="16 hex digits"):
        LeakBudget(folder, "../elsewhere")
    with pytest.raises(UsageError, match="fits none"):
        LeakBudget(folder, "0123456789abcdef", WORDS, cost=CHEAP).reserve(shard="a", images=1)
    assert not budget.path.exists()


def test_reading_needs_no_passphrase_and_changing_does(folder: Path, budget: LeakBudget) -> None:
    def unavailable() -> Passphrase:
        raise AssertionError("the passphrase was asked for")

    budget.reserve(shard="a", images=3)
    public = LeakBudget(folder, budget.key_id, unavailable)
    assert (public.used(), public.limit()) == (3, 10)
    with pytest.raises(AssertionError):
        public.reserve(shard="b", images=1)
    with pytest.raises(KeyRefused, match="passphrase is wrong"):
        LeakBudget(folder, budget.key_id, Passphrase(b"another passphrase")).reserve(shard="b", images=1)
    assert stat.S_IMODE(budget.path.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "change",
    [
        {"shards": {"a": 1}},
        {"shards": {}},
        {"limits": [{"time": "", "images": 99, "actor": "x", "reason": "y"}]},
    ],
)
def test_an_altered_count_or_limit_is_found(budget: LeakBudget, change: dict[str, object]) -> None:
    budget.reserve(shard="a", images=3)
    budget.path.write_text(json.dumps(json.loads(budget.path.read_text()) | change))
    for write in (
        lambda: budget.reserve(shard="b", images=1),
        lambda: budget.set_limit(20, actor="operator", reason="test"),
    ):
        with pytest.raises(IntegrityError, match="signed"):
            write()


def test_the_file_of_another_key_or_store_does_not_count(
    folder: Path, budget: LeakBudget, tmp_path: Path
) -> None:
    budget.reserve(shard="a", images=3)
    other = LeakBudget(folder, new_key(folder), WORDS, cost=CHEAP)
    other.path.write_bytes(budget.path.read_bytes())
    with pytest.raises(IntegrityError, match="something else"):
        other.used()
    other.path.unlink()
    # A lost vault is named; it is not replaced by a new one, under which nothing would open.
    (folder / "vault.key").unlink()
    with pytest.raises(IntegrityError, match=r"vault\.key"):
        LeakBudget(folder, budget.key_id, WORDS, cost=CHEAP).reserve(shard="b", images=1)
    assert not (folder / "vault.key").exists()
    Vault(folder, WORDS, cost=CHEAP).mac_key()
    with pytest.raises(IntegrityError, match="vault is another"):
        LeakBudget(folder, budget.key_id, WORDS, cost=CHEAP).reserve(shard="b", images=1)


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"\xff", b'{"shards": {"a": -5}}'])
def test_a_damaged_file_stops_counting(budget: LeakBudget, content: bytes) -> None:
    budget.reserve(shard="a", images=3)
    budget.path.write_bytes(content)
    for use in (budget.used, budget.limit, lambda: budget.reserve(shard="b", images=1)):
        with pytest.raises(IntegrityError, match=budget.path.name):
            use()


def test_without_a_file_what_is_in_the_store_counts(folder: Path, budget: LeakBudget) -> None:
    """A store from before there were budgets, or a file that was removed to begin at zero."""
    protected_shard(folder, budget.key_id, 0, good=4, poor=1, failed=2)
    protected_shard(folder, budget.key_id, 1, good=2, poor=0, failed=0)
    protected_shard(folder, new_key(folder), 2, good=3, poor=0, failed=0)
    assert budget.used() == 7
    assert budget.reserve(shard="people/v0001/00000", images=5) == 3
    assert json.loads(budget.path.read_text())["shards"] == {"people/v0001/0": 5, "people/v0001/1": 2}
    budget.path.unlink()
    with pytest.raises(KeyRefused, match="got 7 counted"):
        budget.reserve(shard="people/v0002/0", images=4)


def test_destroying_a_key_keeps_its_count(folder: Path, budget: LeakBudget) -> None:
    budget.reserve(shard="a", images=3)
    KeyStore(folder).transition(budget.key_id, State.DESTROYED, actor="operator", reason="test")
    assert budget.used() == 3
