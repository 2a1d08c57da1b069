"""The stream of images: the batch stays full, nobody sees a neighbour, and a rare look changes nothing."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from avih.criteria import Never, StillRecognised
from avih.errors import UsageError
from avih.generators.resnet import ResnetGenerator
from avih.loop import Fixed, Hidden, Job, Loop
from avih.losses import FeatureDistance, Objective, RecoveryDistance
from avih.precision import InPrecision
from avih.recognisers.registry import build_network
from avih.steps import AdaptiveMomentum, ClosingMomentum

SIDE, FEATURES, IMAGES = 8, 6, 11
WEIGHTS = torch.randn(FEATURES, 3 * SIDE * SIDE, generator=torch.Generator().manual_seed(3)).double()
STARTS = torch.randint(0, 256, (IMAGES, 3, SIDE, SIDE), generator=torch.Generator().manual_seed(1)) / 255.0
CLOSING = ClosingMomentum(step_size=0.1, momentum=0.9, full_loss=2 / FEATURES)


class Watched:
    """A linear recogniser, summed per image, that remembers how many pictures each call had."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def __call__(self, images: Tensor) -> Tensor:
        self.sizes.append(len(images))
        products = (images.flatten(1)[:, None, :].double() - 0.5) * WEIGHTS
        return functional.normalize(products.sum(dim=2), dim=1).to(images.dtype)


def jobs(recogniser: Watched) -> Iterator[Job]:
    targets = recogniser(STARTS.flip(0))
    for i in range(IMAGES):
        term = FeatureDistance(recogniser, targets[i : i + 1])
        yield Job(STARTS[i : i + 1], Objective((term,)), torch.ones(1, 3, SIDE, SIDE), ticket=i)


def loop(source, **changes) -> Loop:
    stop = StillRecognised(cosine=0.99, feature_size=FEATURES)
    return Loop(**({"source": source, "rule": CLOSING, "stop": stop, "steps": 60, "batch_size": 4} | changes))


def everything(made: Loop) -> dict[int, Hidden]:
    done: dict[int, Hidden] = {}
    while left := made.take(3, wait=True):
        done |= {hidden.job.ticket: hidden for hidden in left}
    return done


def test_the_batch_is_full_until_the_source_is_empty() -> None:
    recogniser = Watched()
    done = everything(loop(Fixed(jobs(recogniser))))
    assert sorted(done) == list(range(IMAGES))
    assert len({hidden.steps for hidden in done.values()}) > 2  # they leave one by one
    sizes = recogniser.sizes[1:]
    work = sum(hidden.steps for hidden in done.values())
    assert set(sizes) == {4}  # a batch has one size, so that its kernels are always the same
    # Only when the source is empty do places stay free, until the last image is done.
    assert work / 4 <= len(sizes) < work / 4 + max(hidden.steps for hidden in done.values())


@pytest.mark.parametrize("changes", [{"batch_size": 1}, {"batch_size": 11}, {"look_every": 7}])
def test_results_do_not_depend_on_the_batch_or_on_the_looks(changes: dict[str, int]) -> None:
    expected = everything(loop(Fixed(jobs(Watched()))))
    got = everything(loop(Fixed(jobs(Watched())), **changes))
    for number, hidden in expected.items():
        assert torch.equal(got[number].image, hidden.image)
        assert (got[number].steps, got[number].good_enough) == (hidden.steps, hidden.good_enough)
        assert got[number].terms == hidden.terms


class Little(Watched):
    """A recogniser on a device that holds only so many pictures; the targets were made elsewhere."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most

    def __call__(self, images: Tensor) -> Tensor:
        if self.sizes and len(images) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return super().__call__(images)


@pytest.mark.parametrize(("most", "used"), [(3, 2), (2, 2), (1, 1)])
def test_a_batch_that_the_device_cannot_hold_is_halved_and_nothing_changes(most, used, caplog) -> None:
    expected, little = everything(loop(Fixed(jobs(Watched())))), Little(most)
    with caplog.at_level("WARNING"):
        got = everything(loop(Fixed(jobs(little))))
    assert set(little.sizes[1:]) == {used}  # it is not tried whole again
    assert [record.args for record in caplog.records] == [(2,), (1,)][: 2 // used]
    assert got.keys() == expected.keys()
    for number, hidden in expected.items():
        assert torch.equal(got[number].image, hidden.image)
        assert (got[number].steps, got[number].terms) == (hidden.steps, hidden.terms)


def test_an_image_that_the_device_cannot_hold_alone_is_an_error() -> None:
    with pytest.raises(torch.OutOfMemoryError):
        everything(loop(Fixed(jobs(Little(0)))))


def test_a_rare_look_still_keeps_to_the_steps() -> None:
    recogniser = Watched()
    done = everything(loop(Fixed(jobs(recogniser)), stop=Never(), steps=5, look_every=4))
    assert all(hidden.steps <= 5 and not hidden.good_enough for hidden in done.values())
    for number, hidden in everything(loop(Fixed(jobs(Watched())), stop=Never(), steps=5)).items():
        assert torch.equal(done[number].image, hidden.image)


class Slow:
    """A source that has nothing at the moment, unless it is waited for."""

    def __init__(self, source: Fixed) -> None:
        self.source, self.waited = source, 0

    def take(self, most: int, *, wait: bool) -> list[Job]:
        self.waited += wait
        return self.source.take(1, wait=wait) if wait else []


def test_an_empty_moment_is_not_waited_out_while_there_is_work() -> None:
    source = Slow(Fixed(jobs(Watched())))
    made = loop(source)
    assert made.take(1, wait=False) == []
    done = everything(made)
    assert sorted(done) == list(range(IMAGES))
    assert source.waited == IMAGES + 1  # one at a time, and once more for the end


def test_the_watcher_sees_every_step_and_the_best_so_far() -> None:
    seen: list[tuple[int, Tensor]] = []
    made = loop(
        Fixed(list(jobs(Watched()))[:2]), stop=Never(), steps=6, watch=lambda *step: seen.append(step)
    )
    done = everything(made)
    assert [step for step, _ in seen] == [1, 2, 3, 4, 5, 6]
    assert torch.equal(seen[-1][1], torch.cat([done[0].image, done[1].image]))


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"batch_size": 0}])
def test_impossible_sizes_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="Expected at least 1"):
        loop(Fixed([]), **wrong)


def real_jobs(numbers: list[int]) -> list[Job]:
    """Images with a real network shape each: depthwise recogniser with a linear layer, ResNet generator."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        recogniser = build_network("small_facenet").eval().requires_grad_(False)
        generator = ResnetGenerator(width=16, blocks=1).eval().requires_grad_(False)
        starts, targets = torch.rand(9, 3, 112, 96), functional.normalize(torch.randn(9, 128), dim=1)

    def seen(images: Tensor) -> Tensor:
        return functional.normalize(recogniser(images * 2 - 1), dim=1)

    return [
        Job(
            starts[i : i + 1],
            Objective((
                FeatureDistance(InPrecision(seen), targets[i : i + 1]),
                RecoveryDistance(InPrecision(generator, torch.bfloat16), starts[8 - i : 9 - i], 1.0),
            )),
            torch.ones(1, 3, 112, 96),
            ticket=i,
        )
        for i in numbers
    ]  # fmt: skip


@pytest.mark.parametrize("numbers", [[3], [5, 3], [0, 1, 3, 2, 4, 6], [8, 7, 6, 3]])
def test_real_networks_give_the_same_bytes_whoever_the_neighbours_are(numbers: list[int]) -> None:
    def hidden(chosen: list[int]) -> Tensor:
        rule = AdaptiveMomentum(step_size=0.3, steps=4)
        made = Loop(source=Fixed(real_jobs(chosen)), rule=rule, stop=Never(), steps=4, batch_size=4)
        return everything(made)[3].image

    assert torch.equal(hidden(numbers), hidden([1, 2, 3, 4]))
