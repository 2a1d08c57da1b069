"""The authors' loop (000, Algorithm 1) as their released code runs it: what every claim of speed is held against.

Written from the papers. Kept because it is what users of the method run today: one loss, one block variance and
one step size for the whole batch; gradients of the networks' weights that nobody uses; the graph kept after each
backward pass; a host synchronisation per step; float32; the last image, not the best one.

Where we are kinder to it than its own code: the generator runs in ``eval()`` (live dropout and batch statistics
would make its recovery random and worse), f(x) is computed once and takes no gradient, the gradient of each
picture is divided by its own mean, and its batch size is the fastest found. Its result is judged as everybody's:
rounded to 8 bits and read back from a file, though the papers measure floats in memory.
"""

import itertools
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional

Watch = Callable[[int, Tensor], None]

BLOCK = 4  # pixels: side of the block of 000, Equation 13
SMALLEST = torch.finfo(torch.float32).tiny


@dataclass(frozen=True)
class AuthorsSettings:
    """The constants of the authors' face experiments.

    Args:
        steps: K of Algorithm 1.
        step_size: beta, in units of the pixel range [0, 1].
        momentum: alpha.
        decay: factor on beta once the batch's loss has risen ``patience`` times.
        patience: rises before the step shrinks.
        recovery_weight: mu.
        variance_weight: lambda.
    """

    steps: int = 800
    step_size: float = 0.01
    momentum: float = 0.3
    decay: float = 0.85
    patience: int = 16
    recovery_weight: float = 0.2
    variance_weight: float = 0.001


@contextmanager
def weights_with_gradients(*networks: nn.Module) -> Iterator[None]:
    """Let the networks' weights take gradients, as in the authors' code, and freeze them again afterwards."""
    weights = [weight for network in networks for weight in network.parameters()]
    frozen = [not weight.requires_grad for weight in weights]
    for weight in weights:
        weight.requires_grad_(True)
    try:
        yield
    finally:
        for weight, was_frozen in zip(weights, frozen, strict=True):
            weight.grad = None
            weight.requires_grad_(not was_frozen)


def batch_block_variance(images: Tensor) -> Tensor:
    """Return the unbiased variance of 4x4 block sums over the whole batch, summed over the channels.

    Shape:
        - images: ``(batch, channels, H, W)`` in [0, 1]; returns a scalar.
    """
    sums = functional.avg_pool2d(images, BLOCK, 1) * BLOCK**2
    return sums.transpose(0, 1).flatten(1).var(dim=1, unbiased=True).sum()


def protect_like_the_authors(
    *,
    originals: Tensor,
    start: Tensor,
    generator: nn.Module,
    recogniser: nn.Module,
    settings: AuthorsSettings | None = None,
    watch: Watch | None = None,
) -> Tensor:
    """Run the authors' loop on one batch and return the last images, as floats.

    Args:
        originals: x, ``(batch, 3, H, W)`` in [0, 1].
        start: x'_0, the same shape: uniform noise.
        generator: G, in ``eval()``.
        recogniser: f, giving unit features ``(batch, d)``.
        settings: the constants.
        watch: called after each step with its number, from 1, and the images.
    """
    chosen = settings or AuthorsSettings()
    with torch.no_grad():
        target = recogniser(originals)
    images, velocity = start.clone(), torch.zeros_like(start)
    size, rises, previous = chosen.step_size, 0, float("inf")
    with weights_with_gradients(generator, recogniser):
        for step in range(1, chosen.steps + 1):
            images = images.detach().requires_grad_(True)
            loss = (
                (recogniser(images) - target).square().mean()
                + chosen.recovery_weight * (generator(images) - originals).square().mean()
                + chosen.variance_weight * batch_block_variance(images)
            )
            loss.backward(retain_graph=True)
            gradient = images.grad
            assert gradient is not None
            mean = gradient.abs().mean(dim=(1, 2, 3), keepdim=True).clamp_min(SMALLEST)
            velocity = chosen.momentum * velocity + gradient / mean
            images = (images.detach() - size * velocity).clamp(0, 1)
            value = loss.item()  # the host waits for the device here, at every step
            rises += value > previous
            previous = value
            if rises >= chosen.patience:
                size, rises = size * chosen.decay, 0
            if watch is not None:
                watch(step, images)
    return images.detach()


def uniform_noise(shape: tuple[int, ...], *, seed: int, device: torch.device | str = "cpu") -> Tensor:
    """Return the start images of the authors' loop: uniform in [0, 1), the same for the same seed."""
    draw = torch.Generator().manual_seed(seed)
    return torch.rand(shape, generator=draw).to(device)


def seconds_per_image_and_step(
    *,
    originals: Tensor,
    generator: nn.Module,
    recogniser: nn.Module,
    batch_size: int,
    settings: AuthorsSettings | None = None,
    timed_steps: int = 3,
) -> float:
    """Time a few steps of the authors' loop at one batch size; the first step warms up and does not count.

    Args:
        originals: pictures, repeated until they fill the batch.
        generator: G.
        recogniser: f.
        batch_size: pictures in the batch.
        settings: the constants; their number of steps is not used.
        timed_steps: steps whose median counts.
    """
    copies = -(-batch_size // len(originals))
    batch = originals.repeat(copies, 1, 1, 1)[:batch_size]
    ends: list[float] = []

    def note_the_time(_: int, images: Tensor) -> None:
        if images.is_cuda:
            torch.cuda.synchronize(images.device)
        ends.append(time.perf_counter())

    protect_like_the_authors(
        originals=batch,
        start=uniform_noise(tuple(batch.shape), seed=0, device=batch.device),
        generator=generator,
        recogniser=recogniser,
        settings=replace(settings or AuthorsSettings(), steps=timed_steps + 1),
        watch=note_the_time,
    )
    steps = [later - earlier for earlier, later in itertools.pairwise(ends)]
    return statistics.median(steps) / batch_size


def calibrate(
    *, originals: Tensor, generator: nn.Module, recogniser: nn.Module, batch_sizes: tuple[int, ...]
) -> dict[int, float]:
    """Return seconds per image and step of the authors' loop for each batch size."""
    return {
        size: seconds_per_image_and_step(
            originals=originals, generator=generator, recogniser=recogniser, batch_size=size
        )
        for size in batch_sizes
    }
