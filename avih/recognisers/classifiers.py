"""Classifiers of torchvision and timm as recognisers: the layers up to the features before the classes.

Only the layers come from there: weights come from the card's file, and nothing is fetched.
"""

from typing import Any, Final

from torch import nn

from avih.errors import UsageError

FAMILIES: Final = ("torchvision", "timm")


def build(family: str, name: str) -> nn.Module:
    """Build a classifier without its last layer, so that it returns the features before it.

    Args:
        family: ``"torchvision"`` or ``"timm"``.
        name: what the family calls the network, for instance ``"resnet18"``.

    Raises:
        UsageError: the family is not installed or does not know the name, or the network ends otherwise.
    """
    return _of_timm(name) if family == "timm" else _of_torchvision(name)


def _of_timm(name: str) -> nn.Module:
    try:
        import timm
    except ImportError:
        raise UsageError(
            f"Expected timm for the architecture timm:{name}, got none: pip install 'avih[timm]'."
        ) from None
    # timm also takes addresses of models elsewhere; a card must not reach for the network.
    if not timm.is_model(name.partition(".")[0]) or not name.replace(".", "").replace("_", "").isalnum():
        raise UsageError(
            f"Expected a model of timm {timm.__version__}, got {name!r}: see timm.list_models()."
        )
    network: nn.Module = timm.create_model(name, pretrained=False, num_classes=0)
    return network


def _of_torchvision(name: str) -> nn.Module:
    from torchvision import models

    if name not in models.list_models(module=models):
        raise UsageError(
            f"Expected a classifier of torchvision, got {name!r}: see torchvision.models.list_models()."
        )
    network: Any = models.get_model(name, weights=None)
    linear = [path for path, layer in network.named_modules() if isinstance(layer, nn.Linear)]
    if not linear:
        raise UsageError(
            f"Expected a classifier that ends in a linear layer, got torchvision:{name}: write a factory that "
            "returns its features and name it as python:MODULE:FACTORY."
        )
    parent, _, last = linear[-1].rpartition(".")
    setattr(network.get_submodule(parent), last, nn.Identity())
    return network
