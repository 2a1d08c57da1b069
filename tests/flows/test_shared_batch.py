"""Shards in threads share one optimisation: each gets its own results, and a failure is everybody's."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Semaphore

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from avih.criteria import Never
from avih.loop import Hidden, Job, Loop, Source
from avih.losses import FeatureDistance, Objective
from avih.steps import ClosingMomentum
from tasks import shared_batch
from tasks.shared_batch import SharedBatch

FEATURES, SIDE, BATCH, STEPS = 4, 6, 4, 12
WEIGHTS = torch.randn(FEATURES, 3 * SIDE * SIDE, generator=torch.Generator().manual_seed(1))


class Seen:
    """A small recogniser that counts its calls."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, images: Tensor) -> Tensor:
        self.calls += 1
        return functional.normalize((images.flatten(1)[:, None] * WEIGHTS).sum(dim=2), dim=1)


def build(source: Source) -> Loop:
    rule = ClosingMomentum(step_size=0.1, momentum=0.5, full_loss=0.5)
    return Loop(source=source, rule=rule, stop=Never(), steps=STEPS, batch_size=BATCH)


def jobs(shard: int, count: int, recogniser: Seen) -> Iterator[Job]:
    draw = torch.Generator().manual_seed(shard)
    for number in range(count):
        start = torch.rand(1, 3, SIDE, SIDE, generator=draw)
        target = functional.normalize(torch.randn(1, FEATURES, generator=draw), dim=1)
        objective = Objective((FeatureDistance(recogniser, target),))
        yield Job(start, objective, torch.ones_like(start), ticket=(shard, number))


def results(hidden: Iterator[Hidden]) -> dict[tuple[int, int], Hidden]:
    return {one.job.ticket: one for one in hidden}


def test_two_shards_get_their_own_results_as_if_they_were_alone() -> None:
    recogniser, together, batch = Seen(), Barrier(2), SharedBatch(build)

    def shard(number: int) -> dict[tuple[int, int], Hidden]:
        together.wait(60)
        return results(batch.hide(jobs(number, 6, recogniser), ahead=8))

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(shard, (1, 2))
    assert sorted(first) == [(1, n) for n in range(6)] and sorted(second) == [(2, n) for n in range(6)]
    assert not batch.in_use and batch.busy_seconds > 0
    for number, got in ((1, first), (2, second)):
        alone = results(SharedBatch(build).hide(jobs(number, 6, Seen()), ahead=8))
        assert all(torch.equal(alone[ticket].image, hidden.image) for ticket, hidden in got.items())


def test_the_shards_share_one_batch() -> None:
    """Both hand in half a batch before it begins: twelve images of twelve steps need three full batches."""
    recogniser, batch = Seen(), SharedBatch(build)
    one, other = jobs(1, 6, recogniser), jobs(2, 6, recogniser)
    woven = (job for pair in zip(one, other, strict=True) for job in pair)
    assert len(results(batch.hide(woven, ahead=12))) == 12
    # A batch may begin before it is full: at most one image's steps are lost by that.
    assert 3 * STEPS <= recogniser.calls <= 4 * STEPS


def test_no_more_images_are_prepared_than_may_be_under_way() -> None:
    prepared: list[int] = []

    def counted() -> Iterator[Job]:
        for number, job in enumerate(jobs(1, 10, Seen())):
            prepared.append(number)
            yield job

    returned = 0
    for _ in SharedBatch(build).hide(counted(), ahead=5):
        assert len(prepared) - returned <= 5
        returned += 1
    assert returned == 10


class Breaking(Seen):
    """Breaks down once both shards have handed in all they have."""

    def __init__(self) -> None:
        super().__init__()
        self.handed_in = Semaphore(0)

    def __call__(self, images: Tensor) -> Tensor:
        for _ in range(2):
            assert self.handed_in.acquire(timeout=60)
        raise RuntimeError("the device is gone")

    def jobs(self, shard: int) -> Iterator[Job]:
        yield from jobs(shard, 6, self)
        self.handed_in.release()


def test_a_failure_reaches_every_shard_and_the_next_try_works() -> None:
    recogniser, batch = Breaking(), SharedBatch(build)

    def shard(number: int) -> str:
        with pytest.raises(RuntimeError) as failure:
            results(batch.hide(recogniser.jobs(number), ahead=8))
        return str(failure.value)

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(shard, (1, 2))) == ["the device is gone"] * 2
    assert not batch.in_use
    assert len(results(batch.hide(jobs(3, 3, Seen()), ahead=8))) == 3


def test_a_shard_that_gives_up_takes_its_waiting_images_along() -> None:
    recogniser, batch = Seen(), SharedBatch(build)
    leaving = batch.hide(jobs(1, 10, recogniser), ahead=10)
    next(leaving)
    leaving.close()
    assert not batch.in_use
    assert sorted(results(batch.hide(jobs(2, 3, recogniser), ahead=8))) == [(2, 0), (2, 1), (2, 2)]


def test_a_batch_of_another_key_replaces_an_unused_one() -> None:
    shared_batch.forget()
    first = shared_batch.shared_batch("one key", build)
    assert shared_batch.shared_batch("one key", build) is first
    shared_batch.shared_batch("another key", build)
    assert shared_batch.shared_batch("one key", build) is not first
    shared_batch.forget()
    assert shared_batch.current() == []
