"""Watching our loop changes nothing, and shows what the loop itself keeps as best."""

import numpy as np
import pytest
import torch

from avih.generators import build_generator
from avih.recognisers import load_recogniser
from avih.settings import ProtectSettings
from benchmarks.ours import run_ours
from benchmarks.subjects import SECRET
from benchmarks.trajectory import watch_ours, watched_steps

STEPS = 12
SHAPE = (112, 96, 3)
PICTURES = [np.random.default_rng(n).integers(0, 256, SHAPE, dtype=np.uint8) for n in range(3)]
NAMES = ["a", "b", "c"]
# Steps so long that the last image is not the best one.
UNMIXED = ProtectSettings(recovery="unmixed", steps=STEPS, step_size=0.5, stop_cosine=None, batch_size=2)
KEYED = ProtectSettings(recovery="keyed", steps=STEPS, stop_cosine=None, batch_size=2, precision="bfloat16")


@pytest.fixture(scope="module")
def recogniser():
    return load_recogniser(card="synthetic")


def generator(recovery: str):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        architecture = "codec" if recovery == "keyed" else "resnet"
        network = build_generator(architecture=architecture, options={"width": 4, "blocks": 1})
    return network.eval().requires_grad_(False)


@pytest.mark.parametrize("settings", [UNMIXED, KEYED], ids=["unmixed", "keyed, two passes"])
def test_the_last_snapshot_is_the_result(recogniser, settings: ProtectSettings) -> None:
    network = generator(settings.recovery)
    course = watch_ours(
        pictures=PICTURES,
        names=NAMES,
        generator=network,
        recogniser=recogniser,
        settings=settings,
        secret=SECRET,
    )
    assert [snapshot.step for snapshot in course.snapshots] == list(watched_steps(STEPS))
    assert course.batch_size == 2 and course.snapshots[-1].pixels.shape == (3, *SHAPE)
    assert (course.snapshots[-1].pixels == course.shipped.pixels).all()
    assert (course.snapshots[0].pixels != course.snapshots[-1].pixels).any()
    seconds = [snapshot.seconds for snapshot in course.snapshots]
    assert seconds == sorted(seconds) and seconds[-1] <= course.shipped.seconds
    alone = run_ours(
        pictures=PICTURES[:2], names=NAMES[:2], generator=network, recogniser=recogniser, settings=settings,
        secret=SECRET,
    )  # fmt: skip
    assert (np.stack([one.pixels for one in alone]) == course.shipped.pixels[:2]).all()
    assert course.nonces[:2] == tuple(one.nonce for one in alone)


def test_what_is_shipped_stops_by_its_own_rule_though_the_watched_run_does_not(recogniser) -> None:
    settings = KEYED.model_copy(update={"stop_cosine": 0.5, "precision": "float32"})
    course = watch_ours(
        pictures=PICTURES[:1], names=NAMES[:1], generator=generator("keyed"), recogniser=recogniser,
        settings=settings, secret=SECRET,
    )  # fmt: skip
    assert course.snapshots[-1].step == STEPS
    assert course.shipped.step < STEPS
