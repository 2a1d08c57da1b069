"""The recognisers' architectures, computed again by plain functions from the published tensor names."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avih.recognisers import Recogniser, load_recogniser, probe_picture, read_card
from avih.recognisers.irse import STAGES_50
from avih.recognisers.registry import build_network
from avih.recognisers.sphere import SphereFaceSphere20

PERIOD = 65_521  # a prime: no layer's rows repeat each other
PLACES = torch.sin(torch.arange(PERIOD, dtype=torch.float64) * 12.9898) * 43758.5453
NOISE = (2 * (PLACES - torch.floor(PLACES)) - 1).float()


def noise(*, count: int, salt: int) -> Tensor:
    """Give numbers in [-1, 1] by arithmetic alone, the same with every PyTorch release."""
    return NOISE.roll(-7919 * salt).repeat(count // PERIOD + 1)[:count]


def fill_by_arithmetic(network: nn.Module, *, gain: float) -> None:
    """Give every tensor values that keep activations in range and let the picture through."""
    salt = 0
    for module in network.modules():
        middle, spread = (0.8, 0.3) if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) else (0.25, 0.2)
        for name, tensor in module.named_parameters(recurse=False):
            salt += 1
            wave = noise(count=tensor.numel(), salt=salt).reshape(tensor.shape)
            if tensor.ndim > 1:
                values = wave * math.sqrt(gain / tensor.shape[1:].numel())
            else:
                values = 0.05 * wave if name == "bias" else middle + spread * wave
            tensor.data.copy_(values)
        for name, tensor in module.named_buffers(recurse=False):
            if tensor.ndim == 1:
                salt += 1
                wave = noise(count=tensor.numel(), salt=salt)
                tensor.copy_(0.05 * wave if name == "running_mean" else 1 + 0.5 * wave)


def filled(architecture: str) -> tuple[nn.Module, dict[str, Tensor]]:
    network = build_network(architecture).eval()
    # A chain without shortcuts needs a larger gain than a residual network, or the picture fades on the way.
    fill_by_arithmetic(network, gain=12 if architecture == "mobilefacenet" else 3)
    return network, dict(network.state_dict())


def norm(maps: Tensor, state: Mapping[str, Tensor], name: str) -> Tensor:
    mean, variance = state[f"{name}.running_mean"], state[f"{name}.running_var"]
    return F.batch_norm(
        maps, mean, variance, state.get(f"{name}.weight"), state.get(f"{name}.bias"), training=False, eps=1e-5
    )


def sphere_by_hand(images: Tensor, state: Mapping[str, Tensor]) -> Tensor:
    """SphereFace's trunk by its published names: conv<stage>_<number>, relu<stage>_<number>, fc5."""

    def layer(maps: Tensor, label: str, stride: int = 1) -> Tensor:
        made = F.conv2d(maps, state[f"conv{label}.weight"], state.get(f"conv{label}.bias"), stride, 1)
        return F.prelu(made, state[f"relu{label}.weight"])

    maps = images
    for stage, units in ((1, 1), (2, 2), (3, 4), (4, 1)):
        maps = layer(maps, f"{stage}_1", 2)
        for unit in range(units):
            maps = maps + layer(layer(maps, f"{stage}_{2 * unit + 2}"), f"{stage}_{2 * unit + 3}")
    return F.linear(maps.flatten(1), state["fc5.weight"], state["fc5.bias"])


def sphereface_names() -> list[str]:
    names = ["fc5.weight", "fc5.bias"]
    for stage, layers in ((1, 3), (2, 5), (3, 9), (4, 3)):
        for number in range(1, layers + 1):
            names += [
                f"conv{stage}_{number}.weight",
                f"conv{stage}_{number}.bias",
                f"relu{stage}_{number}.weight",
            ]
    return names


def cosface_as_sphereface(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give CosFace's published tensors (layer<stage>.<position>...) the numbers of SphereFace's."""
    renamed = {"fc5.weight": state["fc.weight"], "fc5.bias": state["fc.bias"]}
    for stage, units in ((1, 1), (2, 2), (3, 4), (4, 1)):
        renamed[f"conv{stage}_1.weight"] = state[f"layer{stage}.0.weight"]
        renamed[f"conv{stage}_1.bias"] = state[f"layer{stage}.0.bias"]
        renamed[f"relu{stage}_1.weight"] = state[f"layer{stage}.1.weight"]
        for unit in range(units):
            for half in (1, 2):
                number = 2 * unit + 1 + half
                block = f"layer{stage}.{2 + unit}"
                renamed[f"conv{stage}_{number}.weight"] = state[f"{block}.conv{half}.weight"]
                renamed[f"relu{stage}_{number}.weight"] = state[f"{block}.prelu{half}.weight"]
    return renamed


def improved_residual_by_hand(
    images: Tensor, state: Mapping[str, Tensor], *, squeeze: bool, middle: bool
) -> Tensor:
    """IR(-SE) by its published names: input_layer, body.<unit>.{shortcut_layer,res_layer}, output_layer."""
    maps = F.conv2d(images, state["input_layer.0.weight"], padding=1)
    maps = F.prelu(norm(maps, state, "input_layer.1"), state["input_layer.2.weight"])
    strides = [2 if position == 0 else 1 for _, count in STAGES_50 for position in range(count)]
    for number, stride in enumerate(strides):
        unit, layer = f"body.{number}", f"body.{number}.res_layer"
        short = maps[:, :, ::stride, ::stride]
        if f"{unit}.shortcut_layer.0.weight" in state:
            short = norm(
                F.conv2d(short, state[f"{unit}.shortcut_layer.0.weight"]), state, f"{unit}.shortcut_layer.1"
            )
        made = F.conv2d(norm(maps, state, f"{layer}.0"), state[f"{layer}.1.weight"], padding=1)
        made = norm(made, state, f"{layer}.2") if middle else made
        shift = 1 if middle else 0
        made = F.prelu(made, state[f"{layer}.{2 + shift}.weight"])
        made = F.conv2d(made, state[f"{layer}.{3 + shift}.weight"], stride=stride, padding=1)
        made = norm(made, state, f"{layer}.{4 + shift}")
        if squeeze:
            means = F.adaptive_avg_pool2d(made, 1)
            gate = F.relu(F.conv2d(means, state[f"{layer}.5.fc1.weight"]))
            made = made * torch.sigmoid(F.conv2d(gate, state[f"{layer}.5.fc2.weight"]))
        maps = short + made
    flat = norm(maps, state, "output_layer.0").flatten(1)
    return norm(
        F.linear(flat, state["output_layer.3.weight"], state["output_layer.3.bias"]), state, "output_layer.4"
    )


def mobile_by_hand(images: Tensor, state: Mapping[str, Tensor]) -> Tensor:
    """MobileFaceNet by its published names: conv1, dw_conv1, blocks.<number>.conv, conv2, linear7, ..."""

    def layer(maps: Tensor, name: str, stride: int = 1, padding: int = 0, linear: bool = False) -> Tensor:
        kernel = state[f"{name}.conv.weight"]
        made = F.conv2d(maps, kernel, None, stride, padding, groups=maps.shape[1] // kernel.shape[1])
        made = norm(made, state, f"{name}.bn")
        return made if linear else F.prelu(made, state[f"{name}.prelu.weight"])

    maps = layer(layer(images, "conv1", 2, 1), "dw_conv1", 1, 1)
    for number in range(15):
        stride = 2 if number in (0, 5, 12) else 1
        name = f"blocks.{number}.conv"
        made = F.prelu(
            norm(F.conv2d(maps, state[f"{name}.0.weight"]), state, f"{name}.1"), state[f"{name}.2.weight"]
        )
        made = F.conv2d(made, state[f"{name}.3.weight"], None, stride, 1, groups=made.shape[1])
        made = F.prelu(norm(made, state, f"{name}.4"), state[f"{name}.5.weight"])
        made = norm(F.conv2d(made, state[f"{name}.6.weight"]), state, f"{name}.7")
        maps = maps + made if made.shape == maps.shape else made
    return layer(layer(layer(maps, "conv2"), "linear7", linear=True), "linear1", linear=True).flatten(1)


def published_state(architecture: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    if architecture == "sphereface_sphere20":
        return {name: state[SphereFaceSphere20.own_name(name)] for name in sphereface_names()}
    return cosface_as_sphereface(state) if architecture == "cosface_sphere20" else state


BY_HAND: dict[str, Callable[[Tensor, Mapping[str, Tensor]], Tensor]] = {
    "mobilefacenet": mobile_by_hand,
    "arcface_irse50": lambda x, state: improved_residual_by_hand(x, state, squeeze=True, middle=False),
    "adaface_ir50": lambda x, state: improved_residual_by_hand(x, state, squeeze=False, middle=True),
    "cosface_sphere20": sphere_by_hand,
    "sphereface_sphere20": sphere_by_hand,
}
# The first 8 values of the unit feature of the probe picture, with the weights of fill_by_arithmetic.
RECORDED: dict[str, list[float]] = {
    "mobilefacenet": [0.09068, 0.02655, 0.09041, -0.05262, 0.02669, 0.01936, -0.13369, -0.02057],
    "arcface_irse50": [-0.00675, 0.07404, -0.08045, -0.0241, 0.05905, 0.0327, -0.02141, 0.06269],
    "adaface_ir50": [0.02119, 0.05399, 0.05346, -0.02986, -0.06327, 0.01638, -0.03309, 0.03606],
    "cosface_sphere20": [-0.01058, 0.01126, -0.10243, -0.02655, 0.06908, 0.09587, -0.10949, -0.02311],
    "sphereface_sphere20": [0.04137, 0.0877, 0.06471, -0.00269, 0.01935, 0.03625, -0.02301, -0.01709],
}


@pytest.mark.parametrize("architecture", BY_HAND)
def test_architecture_computes_what_its_published_layers_say(architecture: str) -> None:
    network, state = filled(architecture)
    card = read_card(architecture)
    recogniser = Recogniser(card=card, network=network, fingerprint="")
    picture = probe_picture(height=card.input_height, width=card.input_width)
    pixels = picture if card.colour_order == "RGB" else picture[:, [2, 1, 0]]
    with torch.no_grad():
        features = recogniser(picture)
        expected = BY_HAND[architecture](
            (pixels * 255 - card.mean) / card.std, published_state(architecture, state)
        )
    expected = expected / expected.pow(2).sum().sqrt()
    assert features.shape == (1, card.feature_size)
    torch.testing.assert_close(features, expected, rtol=0, atol=2e-5)
    assert features[0, :8].tolist() == pytest.approx(RECORDED[architecture], abs=2e-4)


def improved_residual_count(
    *, stages: list[tuple[int, int]], squeeze: bool, middle: bool, last_scale: bool
) -> int:
    total = 3 * 64 * 9 + 2 * 64 + 64
    inner = 64
    for outer, units in stages:
        for _ in range(units):
            total += 2 * inner + 9 * inner * outer + outer + 9 * outer * outer + 2 * outer
            total += 2 * outer if middle else 0
            total += 2 * outer * (outer // 16) if squeeze else 0
            total += inner * outer + 2 * outer if inner != outer else 0
            inner = outer
    return total + 2 * 512 + 512 * 49 * 512 + 512 + (2 * 512 if last_scale else 0)


def sphere_count(*, unit_bias: bool) -> int:
    total, inner = 512 * 42 * 512 + 512, 3
    for outer, units in ((64, 1), (128, 2), (256, 4), (512, 1)):
        total += 9 * inner * outer + 2 * outer
        total += units * 2 * (9 * outer * outer + outer + (outer if unit_bias else 0))
        inner = outer
    return total


@pytest.mark.parametrize(
    ("architecture", "added_up", "published"),
    [
        (
            "arcface_irse50",
            improved_residual_count(
                stages=[(64, 3), (128, 4), (256, 14), (512, 3)], squeeze=True, middle=False, last_scale=True
            ),
            43_797_696,
        ),
        (
            "adaface_ir50",
            improved_residual_count(
                stages=[(64, 3), (128, 4), (256, 14), (512, 3)], squeeze=False, middle=True, last_scale=False
            ),
            43_585_600,
        ),
        (
            "adaface_ir101",
            improved_residual_count(
                stages=[(64, 3), (128, 13), (256, 30), (512, 3)], squeeze=False, middle=True, last_scale=False
            ),
            65_150_912,
        ),
        ("cosface_sphere20", sphere_count(unit_bias=False), 22_666_944),
        ("sphereface_sphere20", sphere_count(unit_bias=True), 22_670_656),
    ],
)
def test_parameter_count(architecture: str, added_up: int, published: int) -> None:
    with torch.device("meta"):
        network = build_network(architecture)
    assert sum(parameter.numel() for parameter in network.parameters()) == added_up == published


def test_published_sphereface_file_loads_whole(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The published file has numbered layers, the old container, and a classification layer nobody needs."""
    _, state = filled("sphereface_sphere20")
    published = published_state("sphereface_sphere20", state)
    path = tmp_path / "sphere20a.pth"
    torch.save({**published, "fc6.weight": torch.ones(512, 8)}, path, _use_new_zipfile_serialization=False)
    recogniser = load_recogniser(card="sphereface_sphere20", weights=path)
    feature = recogniser(probe_picture(height=112, width=96))[0, :8]
    assert feature.tolist() == pytest.approx(RECORDED["sphereface_sphere20"], abs=2e-4)
    assert "The card of sphereface_sphere20 has no probe" in caplog.text


def test_sphereface_names_cover_every_tensor_once() -> None:
    with torch.device("meta"):
        own = set(build_network("sphereface_sphere20").state_dict())
    translated = [SphereFaceSphere20.own_name(name) for name in sphereface_names()]
    assert len(translated) == len(set(translated)) == 62
    assert set(translated) == own
