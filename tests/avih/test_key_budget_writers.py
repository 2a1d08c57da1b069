"""The leak budget with several writers: never passed together, whole after a kill."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from avih.keys import Key, KeyStore, LeakBudget, Passphrase, ScryptCost, Vault, canonical_safetensors

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


WRITER = """
import os, signal, sys
from pathlib import Path
from avih.errors import KeyRefused
from avih.keys import LeakBudget, Passphrase, sealing
from avih.keys import budget as module
folder, key_id, name, deadly = sys.argv[1:]
budget = LeakBudget(Path(folder), key_id, Passphrase(b"quiet copper lantern"))
budget.reserve(shard="both", images=1)
print("ready", flush=True)
sys.stdin.readline()
if deadly != "-":
    # Dies without any clean-up: with the lock held, before or after the file has its name.
    kill = lambda *names: os.kill(os.getpid(), signal.SIGKILL)
    if deadly == "before": Path.replace = kill
    if deadly == "after": sealing.sync_folder = kill
won = 0
for number in range(60):
    try:
        budget.reserve(shard=f"{name}/v0001/{number}", images=3)
        won += 3
    except KeyRefused:
        pass
print(won)
"""


def start(budget: LeakBudget, name: str, deadly: str = "-") -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(budget.folder), budget.key_id, name, deadly],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )


def go(writers: "list[subprocess.Popen[str]]") -> list[str]:
    for writer in writers:
        assert writer.stdout and writer.stdout.readline() == "ready\n"
    for writer in writers:
        assert writer.stdin
        writer.stdin.write("go\n")
        writer.stdin.flush()
    return [writer.communicate(timeout=60)[0] for writer in writers]


def test_two_processes_never_pass_the_limit_together(folder: Path) -> None:
    budget = LeakBudget(folder, new_key(folder, leak_budget=200), WORDS, cost=CHEAP)
    Vault(folder, WORDS, cost=CHEAP).mac_key()
    won = [int(text) for text in go([start(budget, "a"), start(budget, "b")])]
    assert sum(won) + 1 == budget.used() == 199  # 1 and 66 times 3; one more shard would be 202
    assert LeakBudget(folder, budget.key_id, WORDS).reserve(shard="both", images=1) == 1


@pytest.mark.parametrize(("deadly", "counted"), [("before", 0), ("after", 3)])
def test_a_killed_writer_leaves_a_whole_count_and_no_lock(folder: Path, deadly: str, counted: int) -> None:
    budget = LeakBudget(folder, new_key(folder, leak_budget=100), WORDS, cost=CHEAP)
    Vault(folder, WORDS, cost=CHEAP).mac_key()
    writer = start(budget, "a", deadly)
    assert go([writer]) == [""]
    assert writer.returncode == -signal.SIGKILL
    assert budget.used() == 1 + counted
    # The next writer resumes: the same shard is counted once, and nothing temporary stays.
    assert budget.reserve(shard="a/v0001/0", images=3) == 96
    assert sorted(path.name for path in folder.glob(".*")) == [".lock"]
