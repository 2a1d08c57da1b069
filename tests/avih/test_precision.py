"""Number formats: when bfloat16 is chosen, what stays float32, and that nothing leaves unconfirmed."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from avih.criteria import StillRecognised
from avih.loop import Fixed, Job, Loop
from avih.losses import FeatureDistance, Objective
from avih.methods.avih import HidingResult, gather, hide
from avih.precision import Confirming, InPrecision, Rough, computes_bfloat16, has_depthwise, resolve
from avih.recognisers.registry import build_network
from avih.steps import ClosingMomentum

CPU = torch.device("cpu")
DENSE = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten())
FEATURES, LIMIT = 16, 0.998


class Seen(nn.Module):
    """A small recogniser that remembers in which number formats it was asked, once per picture."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[torch.dtype] = []
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(7)
            self.body = nn.Sequential(
                nn.Conv2d(3, 8, 4, stride=4), nn.Tanh(), nn.Flatten(), nn.Linear(8 * 64, FEATURES)
            )
        self.requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        features = self.body(images - 0.5)
        self.asked += [features.dtype] * len(images)
        return functional.normalize(features.float(), dim=1)


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    """Start values, and other pictures whose features are the target."""
    generator = torch.Generator().manual_seed(3)
    return torch.rand(4, 3, 32, 32, generator=generator), torch.rand(4, 3, 32, 32, generator=generator)


def objective(recogniser, target) -> Objective:
    return Objective((FeatureDistance(recogniser, target),))


def hidden(batch, *, dtype, steps=200, cosine=LIMIT, recogniser=None) -> tuple[HidingResult, Seen, Tensor]:
    start, pictures = batch
    recogniser = recogniser or Seen()
    with torch.no_grad():
        target = recogniser(pictures)
    recogniser.asked.clear()
    jobs = [
        Job(start[i : i + 1], objective(recogniser, target[i : i + 1]), torch.ones(1, 3, 32, 32), ticket=i)
        for i in range(len(start))
    ]

    def one_pass(source, most: int) -> Loop:
        rule = ClosingMomentum(step_size=0.2, momentum=0.9, full_loss=2 / FEATURES)
        stop = StillRecognised(cosine=cosine, feature_size=FEATURES)
        return Loop(source=source, rule=rule, stop=stop, steps=most, batch_size=4)

    if dtype == torch.float32:
        loop = one_pass(Fixed(jobs), steps)
    else:
        rough = one_pass(Rough(Fixed(jobs), InPrecision(recogniser, dtype)), steps // 2)
        loop = one_pass(Confirming(rough), steps - steps // 2)
    return gather(loop), recogniser, target


@pytest.mark.parametrize(
    ("avx512", "amx", "network", "expected"),
    [
        (True, False, DENSE, torch.bfloat16),
        (False, True, DENSE, torch.bfloat16),
        (False, False, DENSE, torch.float32),
        (True, True, build_network("mobilefacenet"), torch.float32),
    ],
    ids=["AVX512-BF16", "AMX", "neither", "depthwise network"],
)
def test_auto_takes_bfloat16_where_the_cpu_has_it_and_the_network_gains(
    monkeypatch, avx512, amx, network, expected
):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    assert resolve("auto", device=CPU, network=network) == expected
    assert resolve("float32", device=CPU, network=network) == torch.float32
    assert resolve("bfloat16", device=CPU, network=network) == torch.bfloat16


@pytest.mark.parametrize("native", [True, False])
def test_a_gpu_that_only_imitates_bfloat16_does_not_count(monkeypatch, native):
    asked = []
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **how: asked.append(how) or native)
    assert computes_bfloat16(torch.device("cuda")) is native
    assert asked == [{"including_emulation": False}]


def test_devices_that_nobody_tried_compute_in_float32():
    assert not computes_bfloat16(torch.device("mps"))


@pytest.mark.parametrize(
    ("architecture", "expected"),
    [("mobilefacenet", True), ("small_facenet", True), ("cosface_sphere20", False)],
)
def test_depthwise_networks_are_told_from_dense_ones(architecture, expected):
    assert has_depthwise(build_network(architecture)) is expected


def test_layers_compute_in_bfloat16_and_features_and_gradients_are_float32(batch):
    network = Seen()
    images = batch[0].requires_grad_(True)
    features = InPrecision(network, torch.bfloat16)(images)
    (gradient,) = torch.autograd.grad(features[:, 0].sum(), images)
    assert set(network.asked) == {torch.bfloat16}
    assert features.dtype == gradient.dtype == torch.float32
    exact = network(batch[0])
    assert not torch.equal(features, exact)
    assert (features * exact).sum(dim=1).min() > 0.999
    assert torch.allclose(features.norm(dim=1), torch.ones(4), atol=1e-5)


def test_float32_is_the_network_itself(batch):
    network = Seen()
    assert torch.equal(InPrecision(network, torch.float32)(batch[0]), network(batch[0]))


def test_float32_alone_is_the_plain_optimisation(batch):
    result, recogniser, target = hidden(batch, dtype=torch.float32)
    assert set(recogniser.asked) == {torch.float32}
    plain = hide(
        start=batch[0], objective=objective(recogniser, target), steps=200,
        rule=ClosingMomentum(step_size=0.2, momentum=0.9, full_loss=2 / FEATURES),
        stop=StillRecognised(cosine=LIMIT, feature_size=FEATURES),
    )  # fmt: skip
    assert torch.equal(result.protected, plain.protected)
    assert torch.equal(result.steps_taken, plain.steps_taken)


def test_what_bfloat16_calls_done_is_confirmed_in_float32(batch):
    result, recogniser, target = hidden(batch, dtype=torch.bfloat16)
    assert bool(result.good_enough.all())
    asked = list(recogniser.asked)
    assert torch.bfloat16 in asked and asked.count(torch.float32) >= len(target)
    assert asked[-1] == torch.float32  # which has the last word
    assert len(asked) >= int(result.steps_taken.sum())
    assert (recogniser(result.protected) * target).sum(dim=1).min() >= LIMIT - 1e-6


def test_a_picture_that_float32_refuses_is_finished_in_float32(batch):
    class Boasting(Seen):
        """In bfloat16 it sees every picture as its own target."""

        def forward(self, images: Tensor) -> Tensor:
            seen = super().forward(images)
            if self.asked[-1] == torch.bfloat16:
                return self.target[: len(images)] + 0 * seen
            return seen

    boasting = Boasting()
    with torch.no_grad():
        boasting.target = boasting(batch[1])
    result, _, target = hidden(batch, dtype=torch.bfloat16, recogniser=boasting)
    assert bool(result.good_enough.all()) and bool((result.steps_taken > 2).all())
    assert (boasting(result.protected) * target).sum(dim=1).min() >= LIMIT - 1e-6


def test_both_passes_together_keep_to_the_steps(batch):
    result, recogniser, target = hidden(batch, dtype=torch.bfloat16, steps=7, cosine=1.0)
    assert not bool(result.good_enough.any())
    assert result.steps_taken.max() <= 7 and len(recogniser.asked) == 7 * len(target)
    assert recogniser.asked.count(torch.bfloat16) == 3 * len(target)
