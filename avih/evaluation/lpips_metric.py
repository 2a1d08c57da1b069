"""LPIPS, a learned distance between pictures; present only where AlexNet's weights are given as a file."""

import contextlib
import hashlib
import io
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from avih.errors import UsageError
from avih.evaluation.metrics import checked_pair
from avih.weights_files import parse_weights, weights_bytes

PREFIX: Final = "features."
SMALLEST_SIDE: Final = 31  # below it AlexNet's second pooling has nothing left to pool
WITHOUT_FILE: Final = (
    "LPIPS needs AlexNet's ImageNet weights; give the file with --lpips-backbone "
    "(torchvision's AlexNet checkpoint, .pth or .safetensors)."
)


@dataclass(frozen=True)
class Unavailable:
    """Why a metric is absent, in a sentence for the report."""

    reason: str


class Lpips:
    """LPIPS 0.1 with AlexNet (Zhang et al. 2018): 0 for identical pictures, larger for less similar ones.

    Args:
        network: the metric's network with its backbone loaded; made by :meth:`load`.
        backbone_sha256: SHA-256 of the file the backbone came from, for the record.
    """

    def __init__(self, network: nn.Module, *, backbone_sha256: str) -> None:
        self._network = network.eval().requires_grad_(False)
        self.backbone_sha256 = backbone_sha256

    @classmethod
    def load(cls, backbone: Path | None) -> "Lpips | Unavailable":
        """Load the metric with AlexNet's tensors from a file; nothing is ever downloaded or left random.

        Args:
            backbone: file with the tensors ``features.*`` of torchvision's AlexNet (others are ignored);
                None where there is none.

        Raises:
            UsageError: no such file, another kind of file, or tensors that are not AlexNet's.
            IntegrityError: the file is damaged, or holds objects other than tensors.
        """
        if backbone is None:
            return Unavailable(WITHOUT_FILE)
        if not backbone.is_file():
            raise UsageError(
                f"Expected AlexNet's weights at {backbone}, found no file: check --lpips-backbone."
            )
        content = weights_bytes(backbone)
        state = _parse(content, name=backbone.name)
        network = _empty_network()
        _fill(network, state=state, name=backbone.name)
        return cls(network, backbone_sha256=hashlib.sha256(content).hexdigest())

    def __call__(self, a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
        """Return the distance of two pictures, scaled to [-1, 1] as the metric expects.

        Shape:
            a, b: uint8 (H, W, 3), H and W at least 31.
            returns: 0 or more; 0 only for pictures that look the same to the network.

        Raises:
            UsageError: no pictures, different sizes, or too small for AlexNet.
        """
        first, second = checked_pair(a, b, smallest=SMALLEST_SIDE)
        with torch.inference_mode():
            return float(self._network(_scaled(first), _scaled(second)).item())


def _scaled(pixels: NDArray[np.uint8]) -> Tensor:
    """Shape: uint8 (H, W, 3) to float (1, 3, H, W) in [-1, 1]."""
    batch = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1).unsqueeze(0)
    return batch.float() / 127.5 - 1.0


def _parse(content: bytes, *, name: str) -> dict[str, Any]:
    loaded = parse_weights(content, name=name)
    if not isinstance(loaded, Mapping):
        raise UsageError(f"Expected a dictionary of tensors in {name}, got {type(loaded).__name__}.")
    return {str(key): value for key, value in loaded.items() if str(key).startswith(PREFIX)}


def _empty_network() -> nn.Module:
    """Build the metric with its own heads (they are in the wheel) and a backbone still to be filled."""
    import lpips  # here, because it takes a second and most runs do without

    with (
        contextlib.redirect_stdout(io.StringIO()),
        warnings.catch_warnings(),
        # The backbone's first, random values must not move the caller's random numbers.
        torch.random.fork_rng(devices=[]),
    ):
        warnings.simplefilter("ignore")
        network: nn.Module = lpips.LPIPS(net="alex", pretrained=True, pnet_rand=True, verbose=False)
    return network


def _fill(network: nn.Module, *, state: Mapping[str, Any], name: str) -> None:
    """Copy the file's tensors into the backbone, after checking that they are all of it and nothing else."""
    backbone: nn.Module = network.get_submodule("net")
    # The metric cuts AlexNet into slices but keeps the layers' numbers: slice2.3.weight is features.3.weight.
    own = {PREFIX + key.split(".", 1)[1]: value for key, value in backbone.state_dict().items()}
    faults = [f"{key} is missing" for key in own if key not in state]
    faults += [f"{key} is not AlexNet's" for key in state if key not in own]
    for key in own.keys() & state.keys():
        tensor = state[key]
        if not isinstance(tensor, Tensor) or tensor.shape != own[key].shape:
            faults.append(f"{key} is {_described(tensor)} instead of {tuple(own[key].shape)}")
        elif not torch.isfinite(tensor).all():
            faults.append(f"{key} has values that are not finite")
    if faults:
        raise UsageError(
            f"Expected the tensors of torchvision's AlexNet in {name}, got others: "
            f"{'; '.join(sorted(faults))}. {WITHOUT_FILE}"
        )
    with torch.no_grad():
        for key, value in own.items():
            value.copy_(state[key])


def _described(value: object) -> str:
    return str(tuple(value.shape)) if isinstance(value, Tensor) else type(value).__name__
