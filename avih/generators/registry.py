"""Build generators by name, and turn them into canonical safetensors bytes and back."""

import json
from collections.abc import Callable, Mapping

from safetensors import SafetensorError
from safetensors.torch import load
from torch import nn

from avih.errors import AvihError, IntegrityError, UsageError
from avih.generators.codec import CodecGenerator
from avih.generators.none import NoGenerator
from avih.generators.resnet import ResnetGenerator
from avih.json_text import read_json
from avih.keys.canonical import canonical_safetensors

ARCHITECTURES: Mapping[str, Callable[..., nn.Module]] = {
    "codec": CodecGenerator,
    "resnet": ResnetGenerator,
    "none": NoGenerator,
}


_OTHER_BYTES = (KeyError, ValueError, TypeError, AttributeError, RuntimeError, ArithmeticError, MemoryError)


def build_generator(*, architecture: str, options: Mapping[str, float]) -> nn.Module:
    """Build an untrained generator: ``architecture`` is a name of :data:`ARCHITECTURES`.

    Raises:
        UsageError: no such architecture, or it does not take one of the options.
    """
    if architecture not in ARCHITECTURES:
        raise UsageError(f"Expected a generator of {sorted(ARCHITECTURES)}, got {architecture!r}.")
    try:
        return ARCHITECTURES[architecture](**options)
    except TypeError as error:
        raise UsageError(f"Generator {architecture!r} does not take the options {options}: {error}") from None


def save_generator(generator: nn.Module, *, architecture: str, options: Mapping[str, float]) -> bytes:
    """Write a generator as canonical safetensors bytes; the same weights give the same bytes."""
    metadata = {"architecture": architecture, "options": json.dumps(dict(options), sort_keys=True)}
    return canonical_safetensors(generator.state_dict(), metadata)


def load_generator(data: bytes, *, device: str = "cpu") -> nn.Module:
    """Rebuild a generator from its bytes, frozen and in ``eval()``.

    Raises:
        IntegrityError: the bytes are no generator of ours.
    """
    try:
        header_size = int.from_bytes(data[:8], "little")
        metadata = read_json(data[8 : 8 + header_size])["__metadata__"]
        generator = build_generator(
            architecture=metadata["architecture"], options=read_json(metadata["options"])
        )
        generator.load_state_dict(load(data))
    except (SafetensorError, AvihError, *_OTHER_BYTES) as error:
        raise IntegrityError(
            f"Expected a generator in canonical safetensors, got something else ({type(error).__name__}). "
            "The key file is damaged: restore it from your backup."
        ) from None
    return generator.to(device).eval().requires_grad_(False)


def parameter_count(generator: nn.Module) -> int:
    """Count the trained values of a generator."""
    return sum(parameter.numel() for parameter in generator.parameters())
