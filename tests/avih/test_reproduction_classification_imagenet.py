"""Table 9 of AVIH: run on public photographs with small networks, since ImageNet cannot be had everywhere."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image
from skimage import data
from torch import Tensor, nn

from avih.errors import IntegrityError
from avih.images import to_pixels
from avih.reproduction.classification import imagenet as classification_imagenet
from avih.reproduction.classification.imagenet_data import (
    CHECKPOINT,
    Target,
    choose,
    find_weights,
    prepared,
    read_weights,
)
from avih.reproduction.context import Context, DataFolders
from avih.reproduction.networks import Network
from avih.reproduction.outcome import NotRun
from avih.settings import KeySettings

TINY_KEY = KeySettings(architecture="resnet", width=4, blocks=1, trunk_norm_only=True, steps=4)


class Reader(nn.Module):
    """Three classes by the mean colour of a picture."""

    def forward(self, images: Tensor) -> Tensor:
        return 20 * images.mean(dim=(2, 3))


def photographs(folder: Path) -> Path:
    """Public photographs in three class folders, and a file that is no picture."""
    for number, name in enumerate(("astronaut", "coffee", "chelsea", "rocket")):
        place = folder / f"n0{number % 3}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(getattr(data, name)()).save(place / f"{name}.png")
    (folder / "n01" / "broken.png").write_bytes(b"no picture")
    (folder / "n01" / "notes.txt").write_text("no picture either")
    return folder


def test_table_9_runs_on_any_image_folder(tmp_path: Path) -> None:
    folder = photographs(tmp_path / "pictures")
    lines: list[str] = []
    context = Context(profile="smoke", data=DataFolders(), work=tmp_path / "work", tell=lines.append)
    target = Target(folder, Reader().eval(), 3, "mean colour", "photographs", shorter=36, side=32)
    outcome = classification_imagenet.measured(context, target, key=TINY_KEY)
    assert (outcome.mark, outcome.data, outcome.model) == ("substitute", "photographs", "mean colour")
    found = {(row.label, row.metric): row for row in outcome.rows}
    paths = dict(choose(target, most=9))
    truth = [label for _, label in paths.items()]
    seen = [int(prepared(path, shorter=36, side=32).mean(axis=(0, 1)).argmax()) for path in paths]
    right = 100 * np.mean([a == b for a, b in zip(seen, truth, strict=True)])
    assert found["ResNet50", "acc_original"].ours == pytest.approx(right)
    assert found["ResNet50", "acc_original"].n == 4
    assert found["ResNet50", "ssim_d"].paper == 0.90
    assert found["ResNet50", "ssim_e"].ours < 1
    said = len(lines)
    assert classification_imagenet.measured(context, target, key=TINY_KEY) == outcome
    assert len(lines) == said  # nothing was trained or protected again
    with pytest.raises(NotRun, match="each of 4 classes"):
        choose(Target(folder, Reader(), 4, "-", "-"), most=1)


def test_pictures_are_prepared_as_torchvision_does(tmp_path: Path) -> None:
    from torchvision import transforms

    path = tmp_path / "rocket.png"
    Image.fromarray(data.rocket()).save(path)  # 427 x 640
    steps = transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224), transforms.ToTensor()])
    with Image.open(path) as picture:
        expected = to_pixels(steps(picture)[None])[0]
    assert np.array_equal(prepared(path, shorter=256, side=224), expected)
    path.write_bytes(b"no picture")
    assert prepared(path, shorter=256, side=224) is None


def test_table_9_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    context = Context(profile="smoke", data=DataFolders(), work=tmp_path)
    outcome = classification_imagenet.imagenet(context)
    assert outcome.mark == "not run"
    assert "validation pictures" in outcome.missing and CHECKPOINT in outcome.missing
    assert {(row.metric, row.paper, row.ours) for row in outcome.rows} == {
        ("acc_original", 86, None),
        ("acc_protected", 86, None),
        ("ssim_d", 0.9, None),
    }


def test_table_9_is_run_where_pictures_and_weights_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = photographs(tmp_path / "pictures")
    (folder / "resnet50.safetensors").write_bytes(safetensors.torch.save({"a": torch.ones(2)}))
    context = Context(profile="smoke", data=DataFolders(imagenet=folder), work=tmp_path / "work")
    given: list[dict[str, Tensor]] = []

    def network(state: dict[str, Tensor]) -> nn.Module:
        given.append(state)
        return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 1000)).eval()

    monkeypatch.setattr(classification_imagenet, "imagenet_resnet50", network)
    identity = Network(nn.Identity().eval(), "identity")
    monkeypatch.setattr(classification_imagenet, "trained_network", lambda *_, **__: identity)
    outcome = classification_imagenet.imagenet(context)
    assert outcome.mark == "not run" and "each of 1000 classes" in outcome.missing
    for number in range(3, 1000):
        (folder / f"n{number:04d}").mkdir()
    monkeypatch.setattr(classification_imagenet, "SMOKE_STEPS", 2)
    outcome = classification_imagenet.imagenet(context)
    assert torch.equal(given[0]["a"], torch.ones(2))
    assert (outcome.mark, outcome.data) == ("substitute", "ImageNet")
    assert next(row for row in outcome.rows if row.metric == "acc_protected").n == 4


def test_weights_are_found_and_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    assert find_weights(None) is None and find_weights(tmp_path) is None
    cached = tmp_path / "cache" / "hub" / "checkpoints" / CHECKPOINT
    cached.parent.mkdir(parents=True)
    torch.save({"a": torch.ones(2)}, cached)
    assert find_weights(tmp_path) == cached
    with pytest.raises(IntegrityError, match="begins with 0676ba61"):
        read_weights(cached)
    named = cached.with_name(f"resnet50-{hashlib.sha256(cached.read_bytes()).hexdigest()[:8]}.pth")
    named.write_bytes(cached.read_bytes())
    assert torch.equal(read_weights(named)["a"], torch.ones(2))
    beside = tmp_path / "resnet50.safetensors"
    beside.write_bytes(b"damaged")
    assert find_weights(tmp_path) == beside
    with pytest.raises(IntegrityError, match="fetch it again"):
        read_weights(beside)
