"""The optimisation: images do not see each other, the best is kept, and only movable values move."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from avih.criteria import Never, StillRecognised
from avih.errors import UsageError
from avih.losses import FeatureDistance, LossTerm, Objective
from avih.methods.avih import HidingResult, hide
from avih.steps import ClosingMomentum, DecayingMomentum, StepRule

SIDE, FEATURES = 8, 6
WEIGHTS = torch.randn(
    FEATURES, 3 * SIDE * SIDE, generator=torch.Generator().manual_seed(3), dtype=torch.float64
)


def recogniser(images: Tensor) -> Tensor:
    """Linear, then unit length; summed per image so that the batch size cannot change the rounding."""
    products = (images.flatten(1)[:, None, :] - 0.5) * WEIGHTS.to(images.dtype)
    return functional.normalize(products.sum(dim=2), dim=1)


def pictures(count: int, seed: int = 0) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, SIDE, SIDE), generator=draw).double() / 255


START, TARGET = pictures(4, seed=1), recogniser(pictures(4, seed=2))
CLOSING = ClosingMomentum(step_size=0.1, momentum=0.9, full_loss=2 / FEATURES)
DECAYING = DecayingMomentum(step_size=0.02)


def run(
    rows: list[int],
    *,
    rule: StepRule = CLOSING,
    cosine: float = 0.99,
    steps: int = 60,
    movable: Tensor | None = None,
    see: Callable[[Tensor], Tensor] = recogniser,
    progress: Callable[[int], None] | None = None,
) -> HidingResult:
    return hide(
        start=START[rows],
        objective=Objective((FeatureDistance(see, TARGET[rows]),)),
        rule=rule,
        stop=StillRecognised(cosine=cosine, feature_size=FEATURES),
        steps=steps,
        movable=movable,
        progress=progress,
    )


@pytest.mark.parametrize("rule", [CLOSING, DECAYING])
def test_a_batch_of_four_is_four_batches_of_one(rule: StepRule) -> None:
    together = run([0, 1, 2, 3], rule=rule)
    assert len(set(together.steps_taken.tolist())) > 1  # they leave at different times
    for row in range(4):
        alone = run([row], rule=rule)
        assert torch.equal(alone.protected[0], together.protected[row])
        assert alone.steps_taken.tolist() == [together.steps_taken[row].item()]
        assert alone.good_enough.tolist() == [together.good_enough[row].item()]
        assert alone.terms["features"][0].item() == pytest.approx(together.terms["features"][row].item())


def test_the_result_is_recognised_and_lies_on_the_grey_levels() -> None:
    result = run([0, 1, 2, 3])
    assert bool(result.good_enough.all())
    assert float((recogniser(result.protected) * TARGET).sum(dim=1).min()) >= 0.99
    levels = (result.protected * 255).round()
    assert torch.equal(levels / 255, result.protected)
    assert 0 <= float(levels.min()) <= float(levels.max()) <= 255


def test_the_best_visited_image_is_the_result() -> None:
    visited: list[tuple[Tensor, Tensor]] = []

    def spy(images: Tensor) -> Tensor:
        features = recogniser(images)
        visited.append((images.detach().clone(), (features - TARGET).square().mean(dim=1).detach()))
        return features

    wild = ClosingMomentum(step_size=0.9, momentum=0.0, full_loss=1e-6)  # never settles
    result = run([0, 1, 2, 3], rule=wild, cosine=1.1, steps=25, see=spy)
    losses = torch.stack([loss for _, loss in visited])
    assert len(visited) == 25
    assert bool((losses[-1] > losses.min(dim=0).values).any())  # the last image is not the best
    best = losses.argmin(dim=0)
    assert torch.equal(result.terms["features"], losses.min(dim=0).values)
    assert torch.equal(result.steps_taken, best + 1)
    assert not bool(result.good_enough.any())
    for row in range(4):
        assert torch.equal(result.protected[row], visited[int(best[row])][0][row])


def test_an_image_that_is_good_enough_leaves_and_stays_as_it_is() -> None:
    sizes: list[int] = []

    def spy(images: Tensor) -> Tensor:
        sizes.append(len(images))
        return recogniser(images)

    target = TARGET.clone()
    target[2] = recogniser(START[2:3])[0]
    result = hide(
        start=START,
        objective=Objective((FeatureDistance(spy, target),)),
        rule=CLOSING,
        stop=StillRecognised(cosine=0.99, feature_size=FEATURES),
        steps=60,
    )
    assert set(sizes) == {4}  # the places of those who left are filled up: a batch has one size
    assert result.steps_taken[2].item() == 1
    assert torch.equal(result.protected[2], START[2])
    assert len(sizes) == int(result.steps_taken.max())  # and the loop ends with the last image


@dataclass(frozen=True)
class Scripted:
    """A term whose values are written down: one list per step, one value per image."""

    name: str
    script: list[list[float]]
    weight: float = 1.0
    calls: list[int] = field(default_factory=list)

    def __call__(self, protected: Tensor) -> Tensor:
        values = self.script[len(self.calls)]
        self.calls.append(len(protected))
        return protected.flatten(1).sum(dim=1) * 0 + torch.tensor(values, dtype=protected.dtype)

    def select(self, rows: Tensor) -> LossTerm:
        return replace(self)


def test_an_image_that_leaves_early_meets_the_stop_rule() -> None:
    """The features get there while another term makes the loss worse than it was."""
    features, other = Scripted("features", [[1.0], [0.0], [0.0]]), Scripted("other", [[0.0], [5.0], [0.0]])
    result = hide(
        start=START[:1],
        objective=Objective((features, other)),
        rule=CLOSING,
        stop=StillRecognised(cosine=0.9, feature_size=FEATURES),
        steps=3,
    )
    assert result.good_enough.tolist() == [True]
    assert result.terms["features"].tolist() == [0.0]


def test_values_that_may_not_move_are_kept_exactly() -> None:
    movable = (torch.rand(START.shape, generator=torch.Generator().manual_seed(9)) < 0.5).double()
    result = run([0, 1, 2, 3], movable=movable)
    assert torch.equal(result.protected[movable == 0], START[movable == 0])
    assert bool((result.protected[movable == 1] != START[movable == 1]).any())
    assert bool(result.good_enough.all())
    for row in range(4):  # the mask of an image stays with it while others leave
        alone = run([row], movable=movable[[row]])
        assert torch.equal(alone.protected[0], result.protected[row])


@dataclass(frozen=True)
class Restless(ClosingMomentum):
    """A rule that would move every value, whatever its gradient."""

    def step(self, gradient: Tensor, loss: Tensor) -> tuple[Tensor, "Restless"]:
        return torch.full_like(gradient, 0.1) + gradient, self


def test_no_rule_can_move_what_may_not_move() -> None:
    movable = torch.zeros_like(START)
    movable[:, 0] = 1
    rule = Restless(step_size=0.1, momentum=0.0, full_loss=1.0)
    target = recogniser((START - 0.5 * movable).clamp(0, 1))
    objective = Objective((FeatureDistance(recogniser, target),))
    result = hide(start=START, objective=objective, rule=rule, stop=Never(), steps=8, movable=movable)
    assert bool((result.steps_taken > 1).all())
    assert torch.equal(result.protected[:, 1:], START[:, 1:])


@pytest.mark.parametrize(("cosine", "steps"), [(0.99, 60), (1.1, 5), (0.9, 8)])
def test_progress_counts_every_image_once(cosine: float, steps: int) -> None:
    counted: list[int] = []
    run([0, 1, 2, 3], cosine=cosine, steps=steps, progress=counted.append)
    assert sum(counted) == 4
    assert min(counted) >= 1


def test_one_step_returns_the_rounded_start() -> None:
    start = START[:2] + 0.4 / 255 * (START[:2] < 0.9)
    objective = Objective((FeatureDistance(recogniser, TARGET[:2]),))
    result = hide(start=start, objective=objective, rule=CLOSING, stop=Never(), steps=1)
    assert torch.equal(result.protected, START[:2])
    assert result.steps_taken.tolist() == [1, 1]


@pytest.mark.parametrize(
    ("start", "steps"),
    [
        (torch.zeros(3, 8, 8), 5),
        (torch.zeros(1, 1, 8, 8), 5),
        (torch.zeros(1, 3, 8, 8), 0),
        (torch.full((1, 3, 8, 8), 128.0), 5),
        (torch.full((1, 3, 8, 8), -0.1), 5),
        (torch.full((1, 3, 8, 8), torch.nan), 5),
    ],
)
def test_bad_input_is_refused(start: Tensor, steps: int) -> None:
    objective = Objective((FeatureDistance(recogniser, TARGET[:1]),))
    with pytest.raises(UsageError, match="Expected"):
        hide(start=start, objective=objective, rule=CLOSING, stop=Never(), steps=steps)
