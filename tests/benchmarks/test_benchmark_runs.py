"""The benchmarks from the command line, at the smallest sizes: what they print is whole and can be read."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from avih.errors import UsageError
from avih.generators import build_generator, save_generator
from avih.settings import KeySettings
from benchmarks import gpu
from benchmarks.levers import Levers, count_flops
from benchmarks.options import Options
from benchmarks.quality import Judge, KeyPair
from benchmarks.subjects import obtain_generator

ROOT = Path(__file__).parents[2]
FIGURES = {"ssim_e", "ssim_d", "cos", "cos_worst", "wrong_key_ssim_d", "batch_size", "steps"}


def generator_file(path: Path, architecture: str, seed: int) -> Path:
    options = {"width": 4, "blocks": 1}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        generator = build_generator(architecture=architecture, options=options)
    path.write_bytes(save_generator(generator, architecture=architecture, options=options))
    return path


def test_the_benchmark_prints_json_alone_and_writes_its_plot(tmp_path) -> None:
    files = {
        "--generator": generator_file(tmp_path / "key.safetensors", "resnet", 1),
        "--wrong-generator": generator_file(tmp_path / "wrong.safetensors", "resnet", 2),
        "--keyed-generator": generator_file(tmp_path / "keyed.safetensors", "codec", 3),
        "--out": tmp_path / "out",
    }
    small = {
        "--images": 2, "--repeats": 1, "--source": "synthetic", "--recogniser": "synthetic",
        "--baseline-steps": 7, "--our-steps": 6, "--baseline-batch": 1,
    }  # fmt: skip
    words = [str(part) for pair in (files | small).items() for part in pair]
    command = [sys.executable, "-m", "benchmarks.protect", "--json", *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert {"ratio", "ratio_spread", "baseline", "paper", "fast", "keyed", "machine", "data"} <= set(summary)
    for name in ("baseline", "paper", "fast", "keyed"):
        variant = summary[name]
        assert set(variant) > FIGURES | {"seconds_to_quality", "seconds_per_image"}
        assert variant["seconds_per_image"]["median"] > 0
        assert variant["curve"][-1]["steps"] == (7 if name in ("baseline", "paper") else 6)
    assert summary["baseline"]["batch_size"] == 1 and summary["fast"]["batch_size"] == 2
    assert summary["keyed"]["ssim_d"] > 0.9 > summary["keyed"]["wrong_key_ssim_d"] + 0.5
    assert summary["data"]["options"]["tolerance"] == 0.01
    assert "given file" in summary["data"]["wrong_key"] and str(tmp_path) not in done.stdout
    assert json.loads((tmp_path / "out" / "protect.json").read_text())["ratio"] == summary["ratio"]
    assert (tmp_path / "out" / "protect.png").is_file()


def test_options_outside_their_range_are_refused_by_name() -> None:
    with pytest.raises(UsageError, match="--images"):
        Options.parse(["--images", "0"])
    options, as_json = Options.parse(["--json", "--tolerance", "0.02", "--threads", "2"])
    assert as_json and options.tolerance == 0.02 and options.threads == 2


def test_a_generator_is_trained_once_and_then_read_from_the_cache(tmp_path) -> None:
    settings = KeySettings(width=4, blocks=1, steps=2, batch_size=1)
    trained: list[int] = []

    def obtain(seed: int):
        return obtain_generator(
            settings=settings, seed=seed, size=(16, 16), cache=tmp_path, progress=trained.append
        )

    first, again, other = obtain(1), obtain(1), obtain(2)
    assert trained == [1, 1, 1, 1]  # two steps for each of the two seeds
    assert first.made == again.made != other.made
    for name, value in first.generator.state_dict().items():
        assert torch.equal(value, again.generator.state_dict()[name])


class MeanColour(torch.nn.Module):
    """Features that a test can compute: the mean of each channel."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.normalize(images.mean(dim=(2, 3)), dim=1)


class Shade(torch.nn.Module):
    """Recovers a picture darkened by a factor."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images * self.factor


def test_quality_is_read_from_files_with_the_right_and_the_wrong_key(tmp_path) -> None:
    pictures = [np.random.default_rng(n).integers(0, 256, (16, 16, 3), dtype=np.uint8) for n in range(2)]
    keys = KeyPair("unmixed", Shade(1.0), Shade(0.0), b"", b"")
    judge = Judge(originals=pictures, recogniser=MeanColour(), folder=tmp_path)
    same = judge.quality(pictures, keys=keys, nonces=["", ""])
    assert same.ssim_e == same.ssim_d == pytest.approx(1)
    assert same.cos == pytest.approx(1) and same.wrong_key_ssim_d < 0.1
    assert len(list(tmp_path.glob("*.png"))) == 2
    grey = judge.quality([pictures[0], np.full_like(pictures[1], 128)], keys=keys, nonces=["", ""])
    assert grey.ssim_d == pytest.approx(0.5, abs=0.05)
    assert grey.cos_worst < grey.cos < 1


def test_the_gpu_benchmark_runs_on_a_cpu_and_says_so(tmp_path, capsys) -> None:
    code = gpu.main(
        ["--json", "--device", "cpu", "--largest", "2", "--width", "4", "--blocks", "1", "--seconds", "0.001",
         "--steps", "100", "--levers", "float32, bfloat16 + channels_last", "--weights", str(tmp_path / "none"),
         "--out", str(tmp_path)]
    )  # fmt: skip
    assert code == 0
    figures = json.loads(capsys.readouterr().out)
    cells = [(row["levers"], row["batch_size"]) for row in figures["rows"]]
    assert cells == [(name, size) for name in ("float32", "bfloat16 + channels_last") for size in (1, 2)]
    row = figures["rows"][1]
    assert row["image_steps_per_second"] == pytest.approx(2 / row["seconds_per_step"])
    assert row["lfw_hours"] == pytest.approx(13_233 * 100 / row["image_steps_per_second"] / 3600)
    flops = sum(figures["flops_per_image_and_step"].values())
    expected = flops * row["image_steps_per_second"] / figures["peak_bfloat16_flops"]
    assert row["utilisation"] == pytest.approx(expected)
    assert figures["notes"] == ["Measured on a CPU: these are no GPU figures."]


def test_the_count_of_operations_is_that_of_the_layers() -> None:
    """MobileFaceNet at 112x96 takes 0.19 G multiplications forward (0.22 G at 112x112), and as many back."""
    networks, _ = gpu.load_networks(
        gpu.parse(["--device", "cpu", "--width", "4", "--blocks", "1", "--weights", "none"])
    )
    assert count_flops(networks, device="cpu")["recogniser"] == pytest.approx(4 * 0.19e9, rel=0.05)


def test_unknown_levers_are_refused(tmp_path) -> None:
    assert gpu.chosen_levers("") == gpu.ALL_LEVERS
    assert gpu.chosen_levers("tf32 + channels_last") == (Levers(tf32=True, channels_last=True),)
    with pytest.raises(UsageError, match="warp drive"):
        gpu.chosen_levers("warp drive")
    assert gpu.batch_sizes(9) == [1, 2, 4, 8]
