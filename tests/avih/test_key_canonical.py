"""A generator as canonical bytes: the same weights give the same bytes, and nothing else makes a key."""

import json
import os
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors

from avih.errors import UsageError
from avih.keys.canonical import canonical_safetensors, read_generator_facts
from small_keys import GENERATOR, REPOSITORY, WEIGHTS, make_key


def test_canonical_bytes_are_safetensors_with_the_same_weights():
    loaded = load_safetensors(GENERATOR)
    assert set(loaded) == set(WEIGHTS)
    assert all(torch.equal(loaded[name], WEIGHTS[name]) for name in WEIGHTS)
    length = int.from_bytes(GENERATOR[:8], "little")
    header = json.loads(GENERATOR[8 : 8 + length])
    assert (8 + length) % 8 == 0
    assert list(header) == ["__metadata__", "a.bias", "b.weight"]
    assert header["__metadata__"] == {"architecture": "tiny", "width": "2"}
    assert GENERATOR[8 + length :] == b"\0\0\x40\x40\0\0\xc0\x3f\0\0\0\xc0\0\0\x80\x3e\0\0\0\x41"


@settings(max_examples=30, deadline=None)
@given(names=st.permutations(["a", "b", "c.d"]), keys=st.permutations(["x", "y", "architecture"]))
def test_the_order_of_the_mappings_does_not_matter(names, keys):
    tensors = {name: torch.full((2, 3), float(ord(name[0]))) for name in names}
    expected = canonical_safetensors(dict(sorted(tensors.items())), {k: k for k in sorted(keys)})
    assert canonical_safetensors(tensors, {k: k for k in keys}) == expected


def test_other_processes_make_the_same_bytes():
    program = (
        "import hashlib, torch\n"
        "from avih.keys import canonical_safetensors\n"
        "names = {f'layer{n}' for n in range(20)}\n"  # a set: its order follows the hash seed
        "tensors = {n: torch.full((3,), float(n[5:])) for n in names}\n"
        "made = canonical_safetensors(tensors, {n: n for n in names})\n"
        "print(list(names)[0], hashlib.sha256(made).hexdigest())\n"
    )
    runs = [
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(REPOSITORY)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        for seed in ("1", "2")
    ]
    assert runs[0][0] != runs[1][0]  # the orders did differ
    assert runs[0][1] == runs[1][1]


def test_layout_and_precision_do_not_matter():
    weight = torch.arange(6.0).reshape(2, 3)
    expected = canonical_safetensors({"w": weight.t().contiguous()}, {})
    assert canonical_safetensors({"w": weight.t()}, {}) == expected
    assert canonical_safetensors({"w": weight.t().half()}, {}) == expected
    assert canonical_safetensors({"w": weight.t().double().requires_grad_()}, {}) == expected


def test_a_whole_state_dict_comes_back(tmp_path):
    def network():
        return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))

    torch.manual_seed(0)
    trained, fresh = network(), network()
    trained(torch.rand(2, 3, 8, 8))  # moves the running statistics and the integer batch count
    fresh.load_state_dict(load_safetensors(canonical_safetensors(trained.state_dict(), {})))
    assert all(
        torch.equal(a, b)
        for a, b in zip(trained.state_dict().values(), fresh.state_dict().values(), strict=True)
    )
    assert fresh[1].num_batches_tracked == 1


def test_a_key_without_a_generator_has_empty_bytes_that_are_canonical():
    empty = canonical_safetensors({}, {"architecture": "none"})
    assert load_safetensors(empty) == {}
    assert read_generator_facts(empty).parameters == 0


@pytest.mark.parametrize(
    ("tensors", "metadata"),
    [
        ({"w": torch.tensor([float("nan")])}, {}),
        ({"w": torch.tensor([float("inf")])}, {}),
        ({"w": torch.tensor([1e39], dtype=torch.float64)}, {}),
        ({"w": torch.tensor([1j])}, {}),
        ({"w": torch.tensor([2**24 + 1])}, {}),
        ({"w": torch.tensor([-(2**24) - 1])}, {}),
        ({"__metadata__": torch.zeros(1)}, {}),
        ({"w": torch.zeros(1)}, {"width": 2}),
    ],
)
def test_weights_that_are_no_plain_numbers_are_refused(tensors, metadata):
    with pytest.raises(UsageError, match="Expected"):
        canonical_safetensors(tensors, metadata)


def test_facts_are_read_without_loading_weights():
    facts = read_generator_facts(GENERATOR)
    assert (facts.metadata, facts.parameters) == ({"architecture": "tiny", "width": "2"}, 5)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        GENERATOR[:-1],
        GENERATOR + b"\0",
        GENERATOR[:20],
        GENERATOR.replace(b'":{"data', b'": {"data', 1),
        GENERATOR.replace(b'"architecture":"tiny","width":"2"', b'"width":"2","architecture":"tiny"'),
        save_safetensors({"w": torch.zeros(2).half()}, {"a": "b"}),
        save_safetensors({"w": torch.zeros(2)}),
        b"\xff" * 64,
        b"\x02\0\0\0\0\0\0\0[]",
    ],
)
def test_bytes_that_are_not_canonical_make_no_key(data):
    with pytest.raises(UsageError, match="canonical safetensors"):
        make_key(generator_bytes=data)
