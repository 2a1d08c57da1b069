"""In which number format the networks compute while pictures are moved: float32, or bfloat16 where it pays.

Measured on a CPU with AMX and AVX512-BF16, forward and backward: bfloat16 takes a third of the time with the
papers' generator (0.125 s to 0.044 s per image), half with dense recognisers (Sphere20, IR-SE-50), and a fifth
more with depthwise ones (MobileFaceNet). Its gradients are coarser, so that more steps are needed, and it reads
the cosine wrong by up to 0.0003 near the limit: a picture that a recogniser in bfloat16 calls done has to be
confirmed in float32.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from avih.loop import Hidden, Job, Loop, Source
from avih.losses import FeatureDistance, Objective

Precision = Literal["auto", "float32", "bfloat16"]


def resolve(precision: Precision, *, device: torch.device, network: nn.Module) -> torch.dtype:
    """Choose the number format: ``auto`` is bfloat16 where the device computes in it and the network gains by it.

    Args:
        precision: the setting.
        device: where the network runs.
        network: the recogniser's network, or the generator.
    """
    if precision == "auto":
        pays = computes_bfloat16(device) and not has_depthwise(network)
        return torch.bfloat16 if pays else torch.float32
    return torch.float32 if precision == "float32" else torch.bfloat16


def computes_bfloat16(device: torch.device) -> bool:
    """Say whether the device has instructions for bfloat16, instead of imitating them with float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    # torch.ops.mkldnn._is_mkldnn_bf16_supported is also true for CPUs that only imitate it.
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def has_depthwise(network: nn.Module) -> bool:
    """Say whether a network convolves channel by channel, which no bfloat16 instruction speeds up."""
    return any(isinstance(layer, nn.Conv2d) and layer.groups > 1 for layer in network.modules())


@dataclass(frozen=True)
class InPrecision:
    """A network whose layers compute in a number format; pictures, outputs and gradients stay float32."""

    network: Callable[[Tensor], Tensor]
    dtype: torch.dtype = torch.float32

    def __call__(self, images: Tensor) -> Tensor:
        """Return what the network returns.

        Shape:
            - images: ``(batch, 3, H, W)`` float32 in [0, 1]; returns ``(batch, ...)`` float32.
        """
        if self.dtype == torch.float32:
            return self.network(images)
        with torch.autocast(device_type=images.device.type, dtype=self.dtype):
            outputs = self.network(images)
        return outputs.float()


@dataclass(frozen=True)
class Rough:
    """A source whose jobs see the recogniser in another number format."""

    source: Source
    recogniser: InPrecision

    def take(self, most: int, *, wait: bool) -> list[Job]:
        """Return the next jobs, with the true ones as their tickets."""
        return [
            replace(job, objective=self._rough(job.objective), ticket=job)
            for job in self.source.take(most, wait=wait)
        ]

    def _rough(self, objective: Objective) -> Objective:
        terms = [replace(t, recogniser=self.recogniser) if isinstance(t, FeatureDistance) else t
                 for t in objective.terms]  # fmt: skip
        return Objective(tuple(terms))


@dataclass(frozen=True)
class Confirming:
    """A source that hands what a rough pass finished to a pass over the true objective.

    A picture that is confirmed costs one evaluation more; one that falls short is finished there.
    """

    rough: Loop

    def take(self, most: int, *, wait: bool) -> list[Job]:
        """Return the true jobs, starting where the rough pass ended."""
        return [self._true(hidden) for hidden in self.rough.take(most, wait=wait)]

    def _true(self, hidden: Hidden) -> Job:
        job: Job = hidden.job.ticket
        return replace(job, start=hidden.image, spent=hidden.steps, seconds=hidden.seconds)
