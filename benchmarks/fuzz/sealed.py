"""Parsers of what is sealed, of what lies inside, and of files from elsewhere: weights and archives."""

import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal
from unittest import mock

import numpy as np
import torch

from avih.datasets.unpack import unpack
from avih.generators import build_generator, load_generator, save_generator
from avih.keys import Key, Vault, find_passphrase, open_sealed, read_generator_facts
from avih.keys.key import pack_key, unpack_key
from avih.keys.store import KEY_CONTEXT
from avih.sealed_copy import open_copy, seal_copy
from avih.veils.veil import Veil, read_veil, veil_bytes
from avih.weights_files import parse_weights
from benchmarks.bad_inputs.archive_files import tar_of, zip_of
from benchmarks.bad_inputs.small_store import CHEAP, GALLERY, PASSPHRASE, store_files
from benchmarks.bad_inputs.weights import checkpoint
from benchmarks.fuzz.parser import Parser, in_file, name_of, stored, workbench

SECRET, SHAPE = bytes(32), (4, 4, 3)
COST_AT: Final = 9  # of a sealed file: what the derivation costs
COST: Final = bytes((CHEAP.log2_n, CHEAP.r, CHEAP.p))


def _open(data: bytes) -> bytes:
    """Open a sealed file; a dearer derivation is asked for by its header only in bad_inputs."""
    small = data[:COST_AT] + COST + data[COST_AT + 3 :] if data[COST_AT + 3 :] else data
    return open_sealed(small, passphrase=PASSPHRASE, context=KEY_CONTEXT)


@cache
def _key() -> tuple[Key, dict[str, Any]]:
    blob = store_files()[name_of("KEY.key")]
    return unpack_key(open_sealed(blob, passphrase=PASSPHRASE, context=KEY_CONTEXT))


def _payload() -> list[bytes]:
    key, record = _key()
    return [pack_key(key, record=record)]


def _unpack(data: bytes) -> tuple[str, Any]:
    key, record = unpack_key(data)
    return key.key_id, record


@cache
def _generator() -> bytes:
    options = {"width": 4, "blocks": 1}
    return save_generator(
        build_generator(architecture="codec", options=options), architecture="codec", options=options
    )


def _load(data: bytes) -> object:
    return len(list(load_generator(data).parameters()))


def _veil() -> list[bytes]:
    return [veil_bytes(Veil(d=torch.full((3, 4, 4), 0.5), alpha=0.2, cosines=torch.ones(2), steps=3))]


def _read_veil(data: bytes) -> bytes:
    return veil_bytes(read_veil(data))


@cache
def _vault() -> Any:
    return Vault(workbench().keys, PASSPHRASE).for_gallery(GALLERY)


def _original() -> list[bytes]:
    return [_vault().seal(b"an original", name="x")]


def _copy() -> list[bytes]:
    return [seal_copy(np.zeros(SHAPE, np.uint8), secret=SECRET, image="x", nonce="n")]


def _open_copy(data: bytes) -> object:
    return open_copy(data, secret=SECRET, image="x", nonce="n", shape=SHAPE).shape


def _passphrase(path: Path) -> object:
    path.chmod(0o600)
    with mock.patch.dict(os.environ, {"AVIH_KEY_FILE": str(path), "AVIH_PASSPHRASE": ""}):
        return find_passphrase()


def _tensors(data: bytes) -> object:
    return type(parse_weights(data, name="x.safetensors"))


def _checkpoint(data: bytes) -> object:
    return type(parse_weights(data, name="x.pth"))


def _unpack_archive(kind: Literal["tar", "zip"]) -> Callable[[Path], None]:
    def read(path: Path) -> None:
        into = path.parent / "into"
        into.mkdir()
        unpack(file=path, into=into, kind=kind, max_bytes=2**20, max_members=100)

    return read


PARSERS: Final = (
    Parser("sealed file", stored("KEY.key"), _open, slow=True),
    Parser("inside of a key", _payload, _unpack),
    Parser("generator's header", lambda: [_generator()], lambda data: read_generator_facts(data).parameters),
    Parser("generator", lambda: [_generator()], _load, slow=True),
    Parser("veil", _veil, _read_veil, _read_veil),
    Parser("sealed original", _original, lambda data: _vault().open(data, name="x")),
    Parser("sealed copy", _copy, _open_copy),
    Parser("file of a passphrase", lambda: [b"correct horse battery staple\n"], in_file("pass", _passphrase)),
    Parser("weights", lambda: [_generator()], _tensors),
    Parser("checkpoint", lambda: [checkpoint({"w": torch.ones(3)}),
                                  checkpoint({"w": torch.ones(3)}, zipped=False)], _checkpoint, slow=True),
    Parser("tar from elsewhere", lambda: [tar_of(kind="w"), tar_of()],
           in_file("a", _unpack_archive("tar")), slow=True),
    Parser("zip from elsewhere", lambda: [zip_of()], in_file("a", _unpack_archive("zip")), slow=True),
)  # fmt: skip
