"""The architectures that a recogniser card may name.

A recogniser of this package is one module, one line here and one card in ``cards/``. Other people's networks need
a card alone: classifiers of torchvision and timm by their name (``avih.recognisers.classifiers``), TorchScript
(``avih.recognisers.script``), and the owner's own Python (``avih.recognisers.own_code``).
"""

import importlib
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from avih.errors import UsageError
from avih.recognisers import classifiers, own_code

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


def build_network(architecture: str, *, folder: Path | None = None) -> nn.Module:
    """Build one architecture with untrained weights; the global random state is left as it was.

    Args:
        architecture: what the card names; TorchScript is not built but read.
        folder: where the card is, for the module of a ``python:`` architecture, whose code is run.

    Raises:
        UsageError: no architecture has that name, or it cannot be built.
    """
    with torch.random.fork_rng(devices=[]):
        return _factory(architecture, folder)()


def _factory(architecture: str, folder: Path | None) -> Callable[[], nn.Module]:
    family, _, name = architecture.partition(":")
    if family == "python" and name:
        return lambda: own_code.build(name, folder=folder)
    if family in classifiers.FAMILIES and name:
        return lambda: classifiers.build(family, name)
    if architecture not in ARCHITECTURES:
        raise UsageError(
            f"Expected one of the architectures {', '.join(ARCHITECTURES)}, torchscript, torchvision:NAME, "
            f"timm:NAME or python:MODULE:FACTORY, got {architecture!r}: correct the card."
        )
    module, _, factory_name = ARCHITECTURES[architecture].partition(":")
    factory: Callable[[], nn.Module] = getattr(importlib.import_module(module), factory_name)
    return factory
