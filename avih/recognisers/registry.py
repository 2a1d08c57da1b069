"""The architectures that a recogniser card may name.

A new recogniser is one module, one line here and one card in ``cards/``.
"""

import importlib
from collections.abc import Callable

import torch
from torch import nn

from avih.errors import UsageError

# "module:factory", imported only when a card asks for it. A factory takes no arguments and returns a network
# from (batch, 3, H, W) in the card's colour order and range to (batch, feature_size). Where published files
# name their tensors differently, the network has a method ``own_name(published) -> str``.
ARCHITECTURES: dict[str, str] = {
    "mobilefacenet": "avih.recognisers.mobilefacenet:MobileFaceNet",
    "arcface_irse50": "avih.recognisers.irse:arcface_irse50",
    "adaface_ir50": "avih.recognisers.irse:adaface_ir50",
    "adaface_ir101": "avih.recognisers.irse:adaface_ir101",
    "cosface_sphere20": "avih.recognisers.sphere:CosFaceSphere20",
    "sphereface_sphere20": "avih.recognisers.sphere:SphereFaceSphere20",
    "small_facenet": "avih.recognisers.small:SmallFaceNet",
}


def build_network(architecture: str) -> nn.Module:
    """Build one architecture with untrained weights; the global random state is left as it was.

    Raises:
        UsageError: no architecture has that name.
    """
    if architecture not in ARCHITECTURES:
        raise UsageError(
            f"Expected one of the architectures {', '.join(ARCHITECTURES)}, got {architecture!r}: "
            "correct the card, or add the architecture to avih/recognisers/registry.py."
        )
    module, _, factory_name = ARCHITECTURES[architecture].partition(":")
    factory: Callable[[], nn.Module] = getattr(importlib.import_module(module), factory_name)
    with torch.random.fork_rng(devices=[]):
        return factory()
