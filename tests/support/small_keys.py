"""Small keys and key stores for the tests: a generator of five weights, a cheap derivation."""

from pathlib import Path

import pandas as pd
import torch

from avih.generators import build_generator, save_generator
from avih.keys.canonical import canonical_safetensors
from avih.keys.key import Key
from avih.keys.passphrase import Passphrase
from avih.keys.sealing import ScryptCost
from avih.keys.store import KeyStore
from avih.naming import ShardAddress, Store
from avih.settings import KeySettings
from avih.shards import Sample, file_sha256, write_shard

REPOSITORY = Path(__file__).parents[2]
CHEAP = ScryptCost(log2_n=14)
WORDS = Passphrase(b"quiet copper lantern")
SEED = 5_812_340_017_733_921_904
WEIGHTS = {"b.weight": torch.tensor([[1.5, -2.0], [0.25, 8.0]]), "a.bias": torch.tensor([3.0])}
GENERATOR = canonical_safetensors(WEIGHTS, {"architecture": "tiny", "width": "2"})


def make_key(**changes):
    facts = {"generator_bytes": GENERATOR, "recipe": {"epochs": 3, "loss": 0.125, "data": "synthetic"}}
    return Key.create(**{**facts, "training_seed": SEED, **changes})


def make_store(tmp_path, passphrase=WORDS, **keywords):
    return KeyStore(tmp_path / "3_keys", passphrase, cost=CHEAP, **keywords)


def add(store, key=None, *states):
    key = key or make_key()
    store.add(key, actor="operator", reason="test", recovery="keyed")
    for state in states:
        store.transition(key.key_id, state, actor="operator", reason="test")
    return key


def unavailable():
    raise AssertionError("the passphrase was asked for")


def codec_key():
    """A keyed key as good as a trained one: the codec begins as the exact inverse."""
    with torch.random.fork_rng(devices=[]):
        generator = build_generator(architecture="codec", options={"width": 4, "blocks": 1})
    data = save_generator(generator, architecture="codec", options={"width": 4, "blocks": 1})
    return make_key(generator_bytes=data, recipe={"training_l1": 0.01})


def protected_shard(folder, key_id, number, *, good, poor=0, failed=0, gallery="people", version="v0001"):
    """Write a real protected shard into the store whose key folder this is."""
    statuses = ["protected"] * good + ["below_quality"] * poor + ["failed"] * failed
    rows = pd.DataFrame(
        {"image_id": f"i{n}", "person": "p", "status": status, "reason": ""}
        for n, status in enumerate(statuses)
    )
    files = {"png": b"picture"}
    rows["file_sha256"] = file_sha256(files)
    samples = [Sample(f"i{n}", files) for n in range(good + poor)]
    address = ShardAddress("protected", gallery, version, number, key_id)
    write_shard(store=Store(folder.parent), address=address, samples=samples, rows=rows, settings=KeySettings(),
                inputs_sha256="0" * 64, key_id=key_id)  # fmt: skip
