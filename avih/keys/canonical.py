"""A generator as bytes that can be named by a hash: canonical safetensors.

Tensors sorted by name, float32, little-endian, row-major; the JSON header sorted and without optional spaces;
string metadata that names the architecture and its settings. The same weights give the same bytes on every
machine.
"""

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from avih.errors import UsageError
from avih.json_text import read_json

if TYPE_CHECKING:  # listing keys must not wait for torch
    from torch import Tensor


@dataclass(frozen=True)
class GeneratorFacts:
    """What the header of a generator's bytes says without loading a weight."""

    metadata: dict[str, str]
    parameters: int


def canonical_safetensors(tensors: "Mapping[str, Tensor]", metadata: Mapping[str, str]) -> bytes:
    """Serialise a state dict to canonical safetensors bytes; the order of the mappings does not matter.

    Floating-point tensors are rounded to float32; integer buffers must fit float32 exactly.

    Shape:
        - tensors: any shapes; values finite.

    Raises:
        UsageError: a value is complex, not finite or no exact float32 integer, or a name or metadata is not
            plain text.
    """
    if "__metadata__" in tensors or not all(isinstance(v, str) for kv in metadata.items() for v in kv):
        raise UsageError("Expected string metadata and no tensor called __metadata__. Rename or convert it.")
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    chunks: list[bytes] = []
    position = 0
    for name in sorted(tensors):
        chunk = _float32_bytes(name, tensors[name])
        end = position + len(chunk)
        header[name] = {"dtype": "F32", "shape": list(tensors[name].shape), "data_offsets": [position, end]}
        chunks.append(chunk)
        position = end
    return _header_bytes(header) + b"".join(chunks)


def _float32_bytes(name: str, tensor: "Tensor") -> bytes:
    if tensor.is_complex():
        raise UsageError(f"Expected real weights, got a complex tensor {name!r}. Store its parts separately.")
    plain = tensor.detach().cpu()
    values = plain.float().numpy().astype("<f4", copy=False)
    if not np.isfinite(values).all():
        raise UsageError(
            f"Expected finite weights, got NaN or infinity in {name!r}. Train the generator again."
        )
    if not plain.is_floating_point() and bool(((plain.long() > 2**24) | (plain.long() < -(2**24))).any()):
        raise UsageError(f"Expected integers of at most 2**24 in {name!r}, got larger ones. Drop the buffer.")
    return values.tobytes()  # row-major, whatever the tensor's layout


def _header_bytes(header: Mapping[str, Any]) -> bytes:
    # The library's own writer may put metadata in any order; this one sorts. Padding to 8 bytes as there.
    text = json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def read_generator_facts(generator_bytes: bytes) -> GeneratorFacts:
    """Read metadata and parameter count of canonical safetensors bytes, and check that they are canonical.

    Raises:
        UsageError: the bytes are no safetensors, or not in the canonical form.
    """
    try:
        (length,) = struct.unpack_from("<Q", generator_bytes)
        header = read_json(generator_bytes[8 : 8 + length])
        metadata, parameters, position = dict(header["__metadata__"]), 0, 0
        for name in sorted(header.keys() - {"__metadata__"}):
            entry = header[name]
            count = math.prod(entry["shape"])
            begin, end = entry["data_offsets"]
            if (entry["dtype"], begin, end) != ("F32", position, position + 4 * count):
                raise ValueError(name)
            parameters, position = parameters + count, end
        canonical = _header_bytes(header) == generator_bytes[: 8 + length]
        if not canonical or len(generator_bytes) != 8 + length + position:
            raise ValueError("layout")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, struct.error) as error:
        raise UsageError(
            "Expected a generator as canonical safetensors bytes, got something else. Make them with "
            "avih.keys.canonical_safetensors."
        ) from error
    return GeneratorFacts(metadata=metadata, parameters=parameters)
