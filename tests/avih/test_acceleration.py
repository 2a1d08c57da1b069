"""The copy for gradients: the same features and gradients, and no copy where it would not be the same."""

import gc
import weakref

import pytest
import torch
from torch import Tensor, nn

from avih import acceleration
from avih.acceleration import FrozenPReLU, for_gradients
from avih.recognisers import Recogniser, load_recogniser


@pytest.fixture(scope="module")
def recogniser() -> Recogniser:
    return load_recogniser(card="synthetic")


def pictures(recogniser: Recogniser) -> Tensor:
    card = recogniser.card
    return torch.rand(2, 3, card.input_height, card.input_width, generator=torch.Generator().manual_seed(5))


def gradient(network: nn.Module, images: Tensor) -> Tensor:
    images = images.clone().requires_grad_(True)
    return torch.autograd.grad(network(images)[:, :8].sum(), images)[0]


def test_the_copy_is_folded_and_gives_the_same_features_and_gradients(recogniser: Recogniser) -> None:
    quick = for_gradients(recogniser)
    assert quick is not recogniser and for_gradients(recogniser) is quick
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in quick.modules())
    assert any(isinstance(layer, nn.BatchNorm2d) for layer in recogniser.modules())  # itself is left alone
    images = pictures(recogniser)
    torch.testing.assert_close(quick(images), recogniser(images), rtol=0, atol=1e-5)
    expected = gradient(recogniser, images)
    torch.testing.assert_close(
        gradient(quick, images), expected, rtol=0, atol=1e-4 * float(expected.abs().max())
    )
    assert not any(weight.requires_grad for weight in quick.parameters())


@pytest.mark.parametrize("channels", [1, 5])
def test_the_frozen_prelu_is_prelu(channels: int) -> None:
    layer = nn.PReLU(channels).double()
    nn.init.uniform_(layer.weight, -0.5, 1.5)
    values = torch.randn(3, 5, 4, 4, dtype=torch.float64, requires_grad=True)
    frozen = FrozenPReLU(layer.weight)
    torch.testing.assert_close(frozen(values), layer(values))
    (expected,) = torch.autograd.grad(layer(values).square().sum(), values)
    (got,) = torch.autograd.grad(frozen(values).square().sum(), values)
    torch.testing.assert_close(got, expected)


class Unscaled(nn.Module):
    """A network that ends, as AdaFace's do, in a norm without scale and shift."""

    def __init__(self, feature_size: int) -> None:
        super().__init__()
        self.convolution, self.inner = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, affine=False)
        self.last, self.norm = nn.Linear(4, feature_size), nn.BatchNorm1d(feature_size, affine=False)

    def forward(self, images: Tensor) -> Tensor:
        return self.norm(self.last(self.inner(self.convolution(images)).mean(dim=(2, 3))))


def test_norms_without_a_scale_are_folded_too(recogniser: Recogniser) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        network = Unscaled(recogniser.card.feature_size).eval()
    for norm in (network.inner, network.norm):
        norm.running_mean.uniform_(-1, 1, generator=torch.Generator().manual_seed(4))
        norm.running_var.uniform_(0.5, 2, generator=torch.Generator().manual_seed(5))
    own = Recogniser(card=recogniser.card, network=network, fingerprint="0" * 16)
    quick = for_gradients(own)
    assert not any(isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d) for layer in quick.modules())
    images = pictures(recogniser)
    torch.testing.assert_close(quick(images), own(images), rtol=0, atol=1e-5)


class Branching(nn.Module):
    """A network that cannot be traced: its way depends on its values."""

    def __init__(self, feature_size: int) -> None:
        super().__init__()
        self.project = nn.Conv2d(3, feature_size, 1)

    def forward(self, images: Tensor) -> Tensor:
        features = self.project(images).mean(dim=(2, 3))
        return features if features.sum() > 0 else -features


def test_a_network_that_cannot_be_traced_is_used_as_it_is(recogniser: Recogniser) -> None:
    network = Branching(recogniser.card.feature_size)
    own = Recogniser(card=recogniser.card, network=network, fingerprint="0" * 16)
    assert for_gradients(own) is own


def test_a_copy_that_differs_is_refused(
    recogniser: Recogniser, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Wrong(FrozenPReLU):
        def forward(self, values: Tensor) -> Tensor:
            return super().forward(values) * 1.1

    monkeypatch.setattr(acceleration, "FrozenPReLU", Wrong)
    monkeypatch.setattr(
        acceleration, "fuse", lambda network: shifted(acceleration.fx.symbolic_trace(network))
    )
    other = load_recogniser(card="synthetic")
    assert for_gradients(other) is other
    assert "used as it is" in caplog.text


def shifted(network: nn.Module) -> nn.Module:
    last = [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d)][-1]
    with torch.no_grad():
        last.bias += 0.1
    return network


def test_a_copy_goes_with_its_recogniser() -> None:
    own = load_recogniser(card="synthetic")
    gone = weakref.ref(for_gradients(own))
    del own
    gc.collect()
    assert gone() is None
