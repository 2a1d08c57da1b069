"""The learned start: what it prints is whole, and its views of a picture are what a hand makes of them."""

import json
from functools import partial
from pathlib import Path

import pytest
import torch

from avih.datasets.pictures import public_pictures
from avih.errors import UsageError
from avih.generators import build_generator, save_generator
from benchmarks import learned_start
from benchmarks.learned_start import SLACK, Proposer, hiding_terms, verdict, views_of

NOISE = {"start": "noise", "steps": 100, "ssim_e": 0.03, "low_pass": 0.08, "folded": 0.08, "ssim_d": 0.9,
         "cos": 0.99, "wrong_key_ssim_d": 0.2}  # fmt: skip


def generator_file(path: Path, seed: int) -> Path:
    options = {"width": 4, "blocks": 1}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        generator = build_generator(architecture="resnet", options=options)
    path.write_bytes(save_generator(generator, architecture="resnet", options=options))
    return path


def cells(*values: float) -> torch.Tensor:
    """Four 8x8 cells of one value each, grey."""
    wide = torch.tensor(values).view(1, 1, 2, 2).repeat_interleave(8, dim=2).repeat_interleave(8, dim=3)
    return wide.expand(1, 3, 16, 16)


def test_the_benchmark_prints_all_its_rows_and_no_path(tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setattr(learned_start, "public_pictures", partial(public_pictures, faces=2))
    files = [generator_file(tmp_path / f"{seed}.safetensors", seed) for seed in (1, 2)]
    words = ["--generator", str(files[0]), "--wrong-generator", str(files[1]), "--minutes", "0.001",
             "--images", "1", "--steps", "0", "1", "2", "--source", "synthetic",
             "--recogniser", "synthetic"]  # fmt: skip
    assert learned_start.main([*words, "--json"]) == 0
    printed = capsys.readouterr().out
    summary = json.loads(printed)
    assert str(tmp_path) not in printed
    gentle = f"S, steps of {learned_start.GENTLE}"
    expected = [(name, steps) for name in ("noise", "S") for steps in (0, 1, 2)] + [(gentle, 1), (gentle, 2)]
    assert [(row["start"], row["steps"]) for row in summary["rows"]] == expected
    for row in summary["rows"]:
        assert list(row) == ["start", "steps", *SLACK]
        assert all(-1 <= row[name] <= 1 for name in SLACK)
    assert summary["training"]["steps"] >= 1 and summary["verdict"] == verdict(summary["rows"])


def test_views_against_a_hand_worked_example() -> None:
    original = cells(0, 0, 1, 1)
    # Means of 0, 0, 0, 1 against 0, 0, 1, 1: 0.5 / sqrt(1 * 0.75). Folded, all cells are 0.5: nothing to see.
    seen = views_of(cells(0, 0, 0, 1), original)
    assert seen == pytest.approx({"low_pass": 0.57735, "folded": 0.0}, abs=1e-4)
    # A chequerboard of 0.5 +- 1/4 and +- 1/8: even cells, but its contrast is the picture, here turned over.
    board = torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).repeat(8, 8)
    seen = views_of(0.5 + board * cells(0.25, 0.25, 0.125, 0.125), original)
    assert seen == pytest.approx({"low_pass": 0.0, "folded": 1.0}, abs=1e-4)


def test_an_untrained_network_returns_its_noise_and_hiding_terms_see_what_shows() -> None:
    noise, picture = (
        torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)),
        torch.zeros(2, 3, 64, 64),
    )
    picture[..., 24:40, 24:40] = 1
    with torch.no_grad():
        start = Proposer(width=4)(picture, noise)
    assert torch.allclose(start, noise, atol=2e-3)
    hidden = hiding_terms(start, noise, picture)
    assert hidden["low_pass"] < 0.01 and hidden["block_variance"] < 0.01 and hidden["correlation"] < 0.02
    mean, contrast = (picture + noise) / 2, 0.5 + (noise - 0.5) * (1 - 0.8 * picture)
    for shown in (mean, contrast):
        assert hiding_terms(shown, noise, picture)["low_pass"] > 1
        assert hiding_terms(shown, noise, picture)["correlation"] > 0.05
    assert hiding_terms(mean, noise, picture)["block_variance"] > 0.1


def test_the_verdict_names_what_is_worse() -> None:
    early = NOISE | {"start": "S", "steps": 25}
    assert verdict([NOISE, early]).startswith(
        "no worse than noise after 100 steps: S, 25 steps; the attack check"
    )
    said = verdict([NOISE, early | {"ssim_e": 0.17, "folded": 0.4}, NOISE | {"steps": 25, "ssim_d": 0.5}])
    assert said.startswith("rejected") and said.endswith("S, 25 steps: ssim_e, folded")
    assert "ssim_d" in verdict([NOISE, early | {"ssim_d": 0.85}])


@pytest.mark.parametrize("words", [["--minutes", "0"], ["--images", "0"], ["--steps", "-1"]])
def test_options_that_make_no_sense_are_refused(words: list[str]) -> None:
    with pytest.raises(UsageError, match="Expected"):
        learned_start.parse(["--generator", "a", "--wrong-generator", "b", *words])
