"""LPIPS: absent without its weights, never random, never from the network, and right by another computation.

AlexNet's weights are not in the repository. A seeded stand-in file proves the loading path and the
arithmetic; it proves nothing about perception.
"""

import hashlib
import importlib.util
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from skimage import data
from torch import Tensor
from torch.nn import functional

from avih.errors import IntegrityError, UsageError
from avih.evaluation.lpips_metric import Lpips, Unavailable

# torchvision's AlexNet: layer number, (out, in, side, side).
SHAPES = {
    0: (64, 3, 11, 11),
    3: (192, 64, 5, 5),
    6: (384, 192, 3, 3),
    8: (256, 384, 3, 3),
    10: (256, 256, 3, 3),
}


def stand_in(seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for layer, shape in SHAPES.items():
        scale = (shape[1] * shape[2] * shape[3]) ** -0.5
        state[f"features.{layer}.weight"] = torch.randn(shape, generator=generator) * scale
        state[f"features.{layer}.bias"] = torch.randn(shape[0], generator=generator) * 0.1
    return state


def pair() -> tuple[np.ndarray, np.ndarray]:
    face = np.ascontiguousarray(data.astronaut()[:96, 170:250])
    hidden = np.random.default_rng(0).integers(0, 256, size=face.shape, dtype=np.uint8)
    return face, hidden


def loaded(path: Path) -> Lpips:
    metric = Lpips.load(path)
    assert isinstance(metric, Lpips)
    return metric


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the network was touched")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", refuse)


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("backbone") / "alexnet.safetensors"
    safetensors.torch.save_file(stand_in(), path)
    return path


@pytest.fixture(scope="module")
def metric(backbone: Path) -> Lpips:
    return loaded(backbone)


def by_hand(state: dict[str, Tensor], a: np.ndarray, b: np.ndarray) -> float:
    """Zhang et al. 2018, Eq. 1, from the tensors of the file and of the wheel, without the package's code."""
    spec = importlib.util.find_spec("lpips")
    assert spec is not None
    assert spec.origin is not None
    heads = torch.load(
        Path(spec.origin).parent / "weights" / "v0.1" / "alex.pth", map_location="cpu", weights_only=True
    )
    mean, std = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])
    strides, pads = {0: 4}, {0: 2, 3: 2}
    features = []
    for picture in (a, b):
        values = torch.tensor(picture.astype(np.float64) / 255 * 2 - 1, dtype=torch.float32)
        x = ((values - mean) / std).permute(2, 0, 1)[None]
        layers = []
        for layer in SHAPES:
            x = functional.max_pool2d(x, kernel_size=3, stride=2) if layer in (3, 6) else x
            x = functional.conv2d(
                x,
                state[f"features.{layer}.weight"],
                state[f"features.{layer}.bias"],
                stride=strides.get(layer, 1),
                padding=pads.get(layer, 1),
            ).clamp(min=0)
            layers.append(x / (x.pow(2).sum(1, keepdim=True).sqrt() + 1e-10))
        features.append(layers)
    total = 0.0
    for number, (p, q) in enumerate(zip(*features, strict=True)):
        weights = heads[f"lin{number}.model.1.weight"]
        total += float(((p - q) ** 2 * weights).sum(1).mean())
    return total


def test_without_a_file_the_metric_is_absent_and_says_why() -> None:
    metric = Lpips.load(None)
    assert isinstance(metric, Unavailable)
    assert "AlexNet's ImageNet weights" in metric.reason
    assert "--lpips-backbone" in metric.reason


@pytest.mark.parametrize("ending", ["safetensors", "pth"])
def test_the_value_is_that_of_the_files_tensors(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"alexnet.{ending}"
    # As published, with the classifier that the metric has no use for.
    state = {**stand_in(), "classifier.1.weight": torch.zeros(2, 2)}
    safetensors.torch.save_file(state, path) if ending == "safetensors" else torch.save(state, path)
    metric = loaded(path)
    face, hidden = pair()
    assert metric(face, hidden) == pytest.approx(by_hand(state, face, hidden), rel=1e-4)
    assert metric(face, hidden) > 0
    assert metric.backbone_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_identical_pictures_are_at_distance_zero(metric: Lpips) -> None:
    face, hidden = pair()
    assert metric(face, face.copy()) == 0.0
    assert metric(face, hidden) == pytest.approx(metric(hidden, face), rel=1e-6)


def test_values_come_from_the_file_and_from_nothing_random(
    tmp_path: Path, backbone: Path, metric: Lpips
) -> None:
    other = tmp_path / "other.safetensors"
    safetensors.torch.save_file(stand_in(seed=1), other)
    face, hidden = pair()
    first = metric(face, hidden)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    assert loaded(backbone)(face, hidden) == first
    assert torch.equal(torch.get_rng_state(), before), "loading moved the caller's random numbers"
    assert loaded(other)(face, hidden) != pytest.approx(first, rel=1e-3)


def test_loading_is_silent(
    backbone: Path, capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    loaded(backbone)
    assert capfd.readouterr() == ("", "")
    assert not list(recwarn)


def test_the_package_is_imported_only_to_load() -> None:
    check = (
        "import sys, avih.evaluation.lpips_metric as m; m.Lpips.load(None); sys.exit('lpips' in sys.modules)"
    )
    root = Path(__file__).resolve().parents[2]
    assert subprocess.run([sys.executable, "-c", check], cwd=root, check=False).returncode == 0


def test_wrong_tensors_are_all_named(tmp_path: Path) -> None:
    path = tmp_path / "wrong.safetensors"
    state = {name: tensor for name, tensor in stand_in().items() if name != "features.6.weight"}
    state |= {
        "features.0.bias": torch.zeros(63),
        "features.13.weight": torch.zeros(4),
        "features.8.bias": torch.full((256,), torch.nan),
    }
    safetensors.torch.save_file(state, path)
    with pytest.raises(UsageError) as caught:
        Lpips.load(path)
    for said in (
        "features.6.weight is missing",
        "features.0.bias is (63,) instead of (64,)",
        "features.13.weight is not AlexNet's",
        "features.8.bias has values that are not finite",
    ):
        assert said in str(caught.value)
    assert "features.3" not in str(caught.value)


def test_another_network_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "vgg.pth"
    torch.save({"layer1.weight": torch.zeros(3)}, path)
    with pytest.raises(UsageError, match=r"features\.0\.bias is missing"):
        Lpips.load(path)
    torch.save([torch.zeros(3)], path)
    with pytest.raises(UsageError, match=r"dictionary of tensors in vgg\.pth, got list"):
        Lpips.load(path)


class RunsCode:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (print, ("code of the file was run",))


def test_a_file_with_code_is_refused_and_not_run(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "alexnet.pth"
    torch.save({**stand_in(), "features.x": RunsCode()}, path)
    with pytest.raises(IntegrityError, match="Nothing in it was run"):
        Lpips.load(path)
    assert "code of the file" not in capfd.readouterr().out


@pytest.mark.parametrize("ending", ["safetensors", "pth"])
def test_a_cut_file_is_refused(tmp_path: Path, ending: str) -> None:
    whole = tmp_path / f"whole.{ending}"
    safetensors.torch.save_file(stand_in(), whole) if ending == "safetensors" else torch.save(
        stand_in(), whole
    )
    cut = tmp_path / f"cut.{ending}"
    for size in (0, 5, 1000, whole.stat().st_size - 1):
        cut.write_bytes(whole.read_bytes()[:size])
        with pytest.raises(IntegrityError, match=f"cut.{ending}"):
            Lpips.load(cut)


def test_paths_that_hold_no_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="found no file: check --lpips-backbone"):
        Lpips.load(tmp_path / "nowhere.pth")
    (tmp_path / "weights.bin").write_bytes(b"x")
    with pytest.raises(UsageError, match=r"got weights\.bin"):
        Lpips.load(tmp_path / "weights.bin")


def test_pictures_are_checked(metric: Lpips) -> None:
    face, hidden = pair()
    with pytest.raises(UsageError, match="one size"):
        metric(face, hidden[1:])
    with pytest.raises(UsageError, match="at least 31 x 31"):
        metric(face[:30], hidden[:30])
    assert metric(face[:31, :31], hidden[:31, :31]) > 0
