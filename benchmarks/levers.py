"""What makes a step cheaper on a device, each to be switched on alone or together, and one step to be timed."""

import copy
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from typing import cast

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from avih.losses import BlockVariance, FeatureDistance, Objective, RecoveryDistance
from avih.precision import InPrecision
from avih.recognisers import Recogniser
from benchmarks.machine import synchronise

Network = Callable[[Tensor], Tensor]

ROUNDS = 3
WARM_UP = 3  # steps; the first chooses kernels, or compiles


@dataclass(frozen=True)
class Levers:
    """Which levers are on.

    Args:
        tf32: float32 products with 10 bits of mantissa, where the device has such instructions.
        bfloat16: both networks under autocast; pictures, features and gradients stay float32.
        channels_last: pixels' channels side by side in memory.
        compiled: ``torch.compile``.
    """

    tf32: bool = False
    bfloat16: bool = False
    channels_last: bool = False
    compiled: bool = False

    @property
    def name(self) -> str:
        """Name what is on."""
        parts = ["bfloat16" if self.bfloat16 else "tf32" if self.tf32 else "float32"]
        parts += [word for word in ("channels_last", "compiled") if getattr(self, word)]
        return " + ".join(parts)


# Each lever alone on top of float32, and together: what one brings depends on the others.
ALL_LEVERS = (
    Levers(),
    Levers(channels_last=True),
    Levers(tf32=True),
    Levers(tf32=True, channels_last=True),
    Levers(bfloat16=True),
    Levers(bfloat16=True, channels_last=True),
    Levers(compiled=True),
    Levers(tf32=True, channels_last=True, compiled=True),
    Levers(bfloat16=True, compiled=True),
    Levers(bfloat16=True, channels_last=True, compiled=True),
)


@contextmanager
def tf32(on: bool) -> Iterator[None]:
    """Allow or forbid TF32 inside, and put back what was."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = on
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


@dataclass(frozen=True)
class Networks:
    """The two networks of a step, as they were loaded."""

    generator: nn.Module
    recogniser: Recogniser

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of a picture."""
        card = self.recogniser.card
        return card.input_height, card.input_width

    def under(self, levers: Levers) -> tuple[Network, Network]:
        """Return copies of generator and recogniser with the levers on (TF32 is a switch of the process)."""
        dtype = torch.bfloat16 if levers.bfloat16 else torch.float32
        return cast(
            tuple[Network, Network],
            tuple(_prepared(network, levers, dtype) for network in (self.generator, self.recogniser)),
        )


def _prepared(network: nn.Module, levers: Levers, dtype: torch.dtype) -> Network:
    # module.to() changes in place; the next levers need the network as it was.
    prepared: nn.Module = copy.deepcopy(network)
    if levers.channels_last:
        prepared = prepared.to(memory_format=torch.channels_last)
    return InPrecision(cast(Network, torch.compile(prepared) if levers.compiled else prepared), dtype)


def make_step(networks: Networks, levers: Levers, *, batch_size: int, device: str) -> Callable[[], None]:
    """Return a function that computes loss and gradient of a batch once, as a step of our loop does."""
    draw = torch.Generator().manual_seed(0)
    shape = (batch_size, 3, *networks.size)
    images, originals = (torch.rand(shape, generator=draw).to(device) for _ in range(2))
    if levers.channels_last:
        images = images.contiguous(memory_format=torch.channels_last)
    generator, recogniser = networks.under(levers)
    with torch.no_grad():
        target = networks.recogniser(originals[:1]).expand(batch_size, -1)
    objective = Objective(
        (FeatureDistance(recogniser, target), RecoveryDistance(generator, originals), BlockVariance())
    )

    def step() -> None:
        objective.with_gradient(images)

    return step


def seconds_per_call(function: Callable[[], object], *, device: str, least: float) -> float:
    """Time a function: the median of rounds of at least ``least`` seconds, without waiting between calls."""
    for _ in range(WARM_UP):
        function()
    once = _timed(function, 1, device)
    calls = max(1, min(1000, round(least / max(once, 1e-6))))
    return median(_timed(function, calls, device) for _ in range(ROUNDS)) / calls


def _timed(function: Callable[[], object], calls: int, device: str) -> float:
    synchronise(device)
    begun = time.perf_counter()
    for _ in range(calls):
        function()
    synchronise(device)
    return time.perf_counter() - begun


def count_flops(networks: Networks, *, device: str) -> dict[str, int]:
    """Count the floating-point operations of forward and backward pass for one image, by network.

    A multiplication and an addition count as two; convolutions and matrix products alone are counted.
    """
    image = torch.rand(1, 3, *networks.size, device=device)
    counts = {}
    for name, network in (("generator", networks.generator), ("recogniser", networks.recogniser)):
        with FlopCounterMode(display=False) as counter:
            candidate = image.clone().requires_grad_(True)
            network(candidate).sum().backward()  # the counter refuses autograd.grad for a leaf
        counts[name] = int(counter.get_total_flops())
    return counts


def peak_flops(*, device: str, side: int, least: float) -> float:
    """Measure the operations per second of a square bfloat16 matrix product: what the device can do at best."""
    first, second = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    return 2 * side**3 / seconds_per_call(lambda: first @ second, device=device, least=least)
