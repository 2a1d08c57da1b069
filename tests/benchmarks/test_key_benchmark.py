"""The benchmark of key training: what it prints is whole, and the clock stands still while it looks."""

import json

import numpy as np
import pytest
import torch

from avih.errors import UsageError
from avih.settings import KeySettings
from benchmarks import key_training
from benchmarks.key_course import Course, Look
from benchmarks.quality import Quality

QUALITY = Quality(ssim_e=0.02, ssim_d=0.91, cos=0.99, cos_worst=0.98, wrong_key_ssim_d=0.2)


class Examination:
    """An examiner for whom every look takes 100 s on the test's clock."""

    def __init__(self) -> None:
        self.time, self.protected = 0.0, 0

    def now(self) -> float:
        self.time += 0.5
        return self.time

    def identity(self, generator: torch.nn.Module) -> float:
        self.time += 100
        return 0.8

    def quality(self, generator: torch.nn.Module, wrong: torch.nn.Module) -> Quality:
        self.protected += 1
        return QUALITY


def test_the_benchmark_prints_json_alone_and_writes_its_plot(tmp_path, capsys) -> None:
    code = key_training.main(
        ["--json", "--recipes", "fast,keyed", "--seconds", "0.2", "--wrong-seconds", "0.1", "--images", "2",
         "--protected", "1", "--protect-steps", "2", "--most-width", "4", "--device", "cpu",
         "--out", str(tmp_path), "--source", "synthetic", "--recogniser", "synthetic"]
    )  # fmt: skip
    assert code == 0
    printed = capsys.readouterr().out
    assert str(tmp_path) not in printed
    summary = json.loads(printed)
    assert summary == json.loads((tmp_path / "key_training.json").read_text())
    assert list(summary["recipes"]) == ["fast", "keyed"]
    for figures in summary["recipes"].values():
        assert set(figures["seconds_to_ssim_d"]) == {"0.85", "0.90", "0.93"}
        assert figures["curve"][0]["step"] == 1
        assert figures["end"] == figures["curve"][-1]
        assert -1 <= figures["end"]["quality"]["ssim_d"] <= 1
    keyed = summary["recipes"]["keyed"]
    assert keyed["seconds_to_identity"]["0.93"] == keyed["curve"][0]["seconds"]  # it begins as the inverse
    assert keyed["end"]["quality"]["ssim_d"] > 0.9
    assert (tmp_path / "key_training.png").is_file() and (tmp_path / "key-fast.safetensors").is_file()


def test_the_clock_stands_still_while_somebody_looks() -> None:
    examination = Examination()
    course = Course(
        settings=KeySettings(steps=60), limit=20.0, device=torch.device("cpu"), examiner=examination,
        wrong=torch.nn.Identity(), now=examination.now,
    )  # fmt: skip
    steps = next(step for step in range(1, 61) if course(step, torch.nn.Identity()))
    assert 20 <= course.looks[-1].seconds < 22 < examination.time / 3
    assert steps == course.looks[-1].step > len(course.looks)
    seconds = np.array([look.seconds for look in course.looks])
    assert bool((np.diff(seconds) > 0).all())
    assert course.looks[0].quality == course.looks[-1].quality == QUALITY
    assert examination.protected < len(course.looks)


def test_a_course_ends_with_the_recipe() -> None:
    examination = Examination()
    course = Course(settings=KeySettings(steps=3), limit=1e9, device=torch.device("cpu"), now=examination.now)
    assert [course(step, torch.nn.Identity()) for step in (1, 2, 3)] == [False, False, True]
    assert not course.looks


def test_the_table_names_the_first_look_that_reached_a_target() -> None:
    looks = [Look(1, 1, 0.2, QUALITY), Look(5, 9, 0.87), Look(8, 14, 0.89), Look(10, 20, 0.931, QUALITY)]
    figures = key_training.describe(KeySettings(), looks)
    assert figures["seconds_to_identity"] == {"0.85": 5, "0.90": 10, "0.93": 10}
    assert figures["seconds_to_ssim_d"] == {"0.85": 1, "0.90": 1, "0.93": None}
    shown = key_training.table({"targets": key_training.TARGETS, "recipes": {"fast": figures}})
    cells = [next(iter(column.cells)) for column in shown.columns]
    assert cells == ["fast", "5.0", "10.0", "10.0", "1.0", "1.0", "—", "10", "20",
                     "0.931", "0.910", "0.990", "0.020", "0.200"]  # fmt: skip


@pytest.mark.parametrize(
    "words", [["--recipes", "slow"], ["--recipes", "fast,fast"], ["--seconds", "0"], ["--images", "-1"]]
)
def test_options_that_make_no_sense_are_refused(words: list[str]) -> None:
    with pytest.raises(UsageError, match="Expected"):
        key_training.parse(words)
