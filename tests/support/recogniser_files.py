"""Recognisers to test with: an untrained network that lets pictures through, and cards written for one test."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from avih.recognisers.registry import build_network

CardWriter = Callable[..., Path]


def seeded_network() -> nn.Module:
    """Build a MobileFaceNet whose untrained weights let a picture through."""
    network = build_network("mobilefacenet")
    generator = torch.Generator().manual_seed(4)
    for parameter in network.parameters():
        if parameter.ndim > 1:
            nn.init.kaiming_normal_(parameter, generator=generator)
    return network


def seeded_state() -> dict[str, Tensor]:
    """Return the tensors of :func:`seeded_network` as a weights file holds them."""
    return {name: tensor for name, tensor in seeded_network().state_dict().items() if tensor.ndim > 0}


def card_writer(folder: Path) -> CardWriter:
    """Return a function that writes a card for a MobileFaceNet into ``folder``, with fields changed at will."""

    def write(*, probe: list[float] | None = None, **changes: object) -> Path:
        fields: dict[str, object] = {
            **{"name": "mine", "architecture": "mobilefacenet", "description": "for a test"},
            **{"input_height": 112, "input_width": 96, "colour_order": "RGB", "mean": 127.5, "std": 128.0},
            **{"feature_size": 128, "template": "112x96", **changes},
        }
        lines = [f"{name} = {_toml(value)}" for name, value in fields.items() if value is not None]
        if probe is not None:
            lines += ["[probe]", 'kind = "waves"', f"expected = {probe}"]
        path = folder / "mine.toml"
        path.write_text("\n".join(lines), encoding="utf-8")
        return path

    return write


def _toml(value: object) -> str:
    return f'"{value}"' if isinstance(value, str | Path) else repr(value)


def sha256_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
