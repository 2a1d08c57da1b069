"""In which number format the recogniser computes while pictures are moved: float32, or bfloat16 where it pays.

Measured on a CPU with AMX and AVX512-BF16, one thread, forward and backward: bfloat16 halves the time of dense
convolutions (Sphere20 0.37 s to 0.17 s, IR-SE-50 0.87 s to 0.46 s) and lengthens that of depthwise ones
(MobileFaceNet 0.51 s to 0.62 s). Its gradients are coarser, so that more steps are needed, and it reads the
cosine wrong by up to 0.0003 near the limit: a picture that is done in bfloat16 has to be confirmed in float32.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from avih.criteria import Criterion
from avih.losses import Objective
from avih.methods.avih import HidingResult, hide
from avih.steps import StepRule

Precision = Literal["auto", "float32", "bfloat16"]


def resolve(precision: Precision, *, device: torch.device, network: nn.Module) -> torch.dtype:
    """Choose the number format: ``auto`` is bfloat16 where the device computes in it and the network gains by it.

    Args:
        precision: the setting.
        device: where the network runs.
        network: the recogniser's network.
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
    """A network whose layers compute in another number format; pictures, features and gradients stay float32."""

    network: Callable[[Tensor], Tensor]
    dtype: torch.dtype

    def __call__(self, images: Tensor) -> Tensor:
        """Return the network's features.

        Shape:
            - images: ``(batch, 3, H, W)`` float32 in [0, 1]; returns ``(batch, d)`` float32.
        """
        if self.dtype == torch.float32:
            return self.network(images)
        with torch.autocast(device_type=images.device.type, dtype=self.dtype):
            features = self.network(images)
        return features.float()


def hide_confirmed(
    *,
    start: Tensor,
    objective: Objective,
    rough: Objective | None,
    rule: StepRule,
    stop: Criterion,
    steps: int,
    movable: Tensor | None = None,
    progress: Callable[[int], None] | None = None,
) -> HidingResult:
    """Optimise a rough objective first, then confirm each picture by the true one and finish what falls short.

    The rough pass takes at most half of the steps. A picture that is confirmed costs one evaluation more.

    Args:
        start: x'_0, ``(batch, 3, H, W)`` in [0, 1].
        objective: the loss, in float32.
        rough: the same loss in another number format; none leaves that pass out.
        rule: the update rule; each pass begins it anew.
        stop: when a picture is good enough.
        steps: most gradient evaluations per picture, both passes together.
        movable: the values that may change.
        progress: called with the number of pictures that are finished.
    """
    spent, first_pass = torch.zeros(len(start), dtype=torch.long, device=start.device), 0
    if rough is not None and steps > 1:
        first_pass = steps // 2
        begun = hide(start=start, objective=rough, rule=rule, stop=stop, steps=first_pass, movable=movable)
        start, spent = begun.protected, begun.steps_taken
    result = hide(
        start=start,
        objective=objective,
        rule=rule,
        stop=stop,
        steps=steps - first_pass,
        movable=movable,
        progress=progress,
    )
    return replace(result, steps_taken=spent + result.steps_taken)
