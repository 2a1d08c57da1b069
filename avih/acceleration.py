"""The same function, cheaper to differentiate: what the optimisation asks of a recogniser, thousands of times.

The service model is never changed: this makes a copy for the loop, proves on the spot that it gives the same
features, and is used for gradients alone. Every published figure comes from the model itself.

Measured with MobileFaceNet (112x96, batch 16, two cores): batch norm folded into the convolutions takes the step
from 13.4 to 10.9 ms per image, channels-last memory to 9.8, PReLU without a gradient for its slope to 8.5.
"""

import copy
import logging
import operator
from threading import Lock
from typing import Final, cast
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, fx, nn
from torch.fx.experimental.optimization import fuse

from avih.device import device_of
from avih.recognisers import Recogniser

logger = logging.getLogger(__name__)

SAME: Final = 1e-4  # largest difference of a unit feature; folding moves the last bits only
LOOKS: Final = 2  # random pictures that it is tried on


class FrozenPReLU(nn.Module):
    """PReLU (He et al., 2015) whose slope takes no gradient, which would cost as much as that of its input.

    Shape:
        - input and output: ``(batch, channels, ...)``.
    """

    def __init__(self, slope: Tensor) -> None:
        super().__init__()
        self.register_buffer("slope", slope.detach().clone())

    def forward(self, values: Tensor) -> Tensor:
        """Return max(v, 0) + slope * min(v, 0), as slope * v + (1 - slope) * max(v, 0)."""
        slope = cast(Tensor, self.slope)
        if slope.numel() > 1:
            slope = slope.view(1, -1, *[1] * (values.ndim - 2))
        return torch.addcmul(values * slope, torch.relu(values), 1 - slope)


_made: WeakKeyDictionary[nn.Module, nn.Module] = WeakKeyDictionary()
_making = Lock()


def for_gradients(recogniser: Recogniser) -> nn.Module:
    """Return a copy of a recogniser that is cheaper to differentiate, or itself where the copy is not the same.

    Args:
        recogniser: frozen, on the device where it will run; the copy is made once.
    """
    with _making:
        if recogniser not in _made:
            quick = _folded(recogniser) if isinstance(recogniser, Recogniser) else recogniser
            if quick is recogniser:
                return recogniser  # a value that is its own weak key would never be let go
            _made[recogniser] = quick
        return _made[recogniser]


def _folded(recogniser: Recogniser) -> nn.Module:
    try:
        network = fuse(_with_scales(recogniser.network))
        if not isinstance(network, fx.GraphModule):
            return recogniser
        _freeze_slopes(network)
    except Exception as error:  # a network that cannot be traced works as it is
        logger.info("%s is used as it is: %s", recogniser.card.name, type(error).__name__)
        return recogniser
    quick = copy.copy(recogniser)
    quick._modules = {"network": network.to(memory_format=torch.channels_last).requires_grad_(False)}
    return quick if _alike(recogniser, quick) else recogniser


def _with_scales(network: nn.Module) -> nn.Module:
    """Return a copy whose norms all have a scale and a shift: folding one without stumbles over the missing."""
    network = copy.deepcopy(network)
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d) and norm.weight is None:
            mean = cast(Tensor, norm.running_mean)
            norm.weight, norm.bias = nn.Parameter(torch.ones_like(mean)), nn.Parameter(torch.zeros_like(mean))
    return network


def _freeze_slopes(network: fx.GraphModule) -> None:
    for name, module in list(network.named_modules()):
        if isinstance(module, nn.PReLU):
            parent, _, child = name.rpartition(".")
            owner = operator.attrgetter(parent)(network) if parent else network
            setattr(owner, child, FrozenPReLU(module.weight))


def _alike(recogniser: Recogniser, quick: nn.Module) -> bool:
    card, device = recogniser.card, device_of(recogniser)
    draw = torch.Generator().manual_seed(0)
    pictures = torch.rand(LOOKS, 3, card.input_height, card.input_width, generator=draw).to(device)
    with torch.no_grad():
        difference = float((recogniser(pictures) - quick(pictures)).abs().max())
    if difference > SAME:
        logger.warning(
            "%s is used as it is: its folded copy differs by %.1g in a feature, expected at most %g.",
            card.name, difference, SAME,
        )  # fmt: skip
    return difference <= SAME
