"""Attack networks that are trained side by side come out as they would alone, and none outlives what broke."""

import threading

import numpy as np
import pytest
import torch

from avih.attack.network import Stopped, Training
from avih.attack.side_by_side import finish_all
from small_attack import SMALL, SmallService, small_faces

SERVICE = SmallService()
SHORT = SMALL.model_copy(update={"steps": 6, "minimum_steps": 6, "check_every": 3, "judge_width": 4,
                                 "adversarial_weight": 0.01, "identity_weight": 0.02})  # fmt: skip


@pytest.fixture(autouse=True)
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def trainings(count=3, settings=SHORT):
    faces = small_faces()
    return [
        Training(pairs=faces.named(faces.images[: 8 + turn]), settings=settings, recogniser=SERVICE)
        for turn in range(count)
    ]


def test_each_comes_out_as_it_would_alone_and_progress_adds_up():
    told = []
    together = finish_all(trainings(), progress=told.append)
    assert torch.get_num_threads() == 2
    begun, seen = trainings(), small_faces().protected[:4]
    torch.set_num_threads(1)  # as each has it beside the others
    for one, alone in zip(together, (each.finish() for each in begun), strict=True):
        assert np.array_equal(one.guess(seen), alone.guess(seen))
    assert sum(told) == 3 * SHORT.steps


def test_they_run_at_the_same_time():
    """Each waits at its first look until the other is there: one after the other would never end."""
    both = threading.Barrier(2)
    first = threading.local()

    def wait(steps):
        if not getattr(first, "met", False):
            first.met = True
            both.wait(timeout=60)

    assert len(finish_all(trainings(2), progress=wait)) == 2


def test_one_that_breaks_ends_the_others():
    first, second, *_ = trainings(2, SHORT.model_copy(update={"steps": 100_000, "minimum_steps": 100_000}))

    class Broken(Exception):
        pass

    def breaks(steps):
        raise Broken

    def count(steps):
        counted.append(steps)

    counted = []
    finish, began = second.finish, threading.Event()
    first.finish = lambda progress, stop: began.wait(60) and breaks(0)
    second.finish = lambda progress, stop: began.set() or finish(count, stop=stop)
    with pytest.raises(Broken):
        finish_all([first, second])
    assert sum(counted) < 100_000


def test_a_training_that_is_given_up_says_so():
    with pytest.raises(Stopped):
        trainings(1)[0].finish(stop=lambda: True)
