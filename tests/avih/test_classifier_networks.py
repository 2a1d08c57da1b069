"""ResNet and VGG for small pictures: known sizes, the right layers, and tiny ones that work."""

from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.nn import functional

from avih.classifiers.resnet32 import (
    IMAGENET_MEAN,
    IMAGENET_SPREAD,
    Resnet32,
    Standardise,
    imagenet_resnet50,
    resnet18_32,
    resnet50_32,
)
from avih.classifiers.vgg32 import Vgg32, vgg19_32
from avih.errors import UsageError

IMAGES = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(2))


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def bottleneck_resnet(blocks: list[int], classes: int, width: int) -> int:
    """Values of a bottleneck ResNet with a 3x3 stem, counted layer by layer; a norm has two per channel."""
    total, inputs = 3 * 9 * width + 2 * width, width
    for stage, number in enumerate(blocks):
        inner, outer = width * 2**stage, 4 * width * 2**stage
        for position in range(number):
            total += inputs * inner + 9 * inner * inner + inner * outer + 2 * (inner + inner + outer)
            if position == 0:
                total += inputs * outer + 2 * outer
            inputs = outer
    return total + inputs * classes + classes


def vgg19(classes: int, width: int) -> int:
    """Values of VGG-19 with norms and one linear layer: 16 convolutions with biases."""
    w = width
    channels = [3, w, w, 2 * w, 2 * w, *[4 * w] * 4, *[8 * w] * 8]
    return sum(9 * a * b + b + 2 * b for a, b in pairwise(channels)) + 8 * w * classes + classes


@pytest.mark.parametrize(
    ("build", "known"), [(resnet18_32, 11_173_962), (resnet50_32, 23_520_842), (vgg19_32, 20_040_522)]
)
def test_the_networks_have_their_known_sizes(build: Callable[[], nn.Module], known: int) -> None:
    assert count(build()) == known


@pytest.mark.parametrize(("classes", "width"), [(10, 64), (7, 4), (100, 8)])
def test_the_sizes_follow_from_classes_and_width(classes: int, width: int) -> None:
    assert count(resnet50_32(classes=classes, width=width)) == bottleneck_resnet([3, 4, 6, 3], classes, width)
    assert count(vgg19_32(classes=classes, width=width)) == vgg19(classes, width)


def same_weights(ours: nn.Module, theirs: nn.Module) -> None:
    """Copy every tensor from ``theirs``, in order."""
    own = {name: value for name, value in ours.state_dict().items() if "standardise" not in name}
    given = theirs.state_dict().values()
    ours.load_state_dict({name: value for name, value in zip(own, given, strict=True)}, strict=False)


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_the_resnets_are_torchvisions_but_for_the_stem(name: str) -> None:
    from torchvision import models

    theirs = getattr(models, name)(weights=None, num_classes=10).eval()
    theirs.conv1, theirs.maxpool = nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.Identity()
    ours = {"resnet18": resnet18_32, "resnet50": resnet50_32}[name]().eval()
    same_weights(ours, theirs)
    image = IMAGES[:1, :, :16, :16]
    with torch.no_grad():
        expected = theirs(ours.standardise(image))
        torch.testing.assert_close(ours(image), expected, rtol=1e-3, atol=1e-4)
    assert expected.std() > 0.01


def test_the_convolutions_of_vgg19_are_torchvisions() -> None:
    from torchvision.models import vgg19_bn

    theirs, ours = vgg19_bn(weights=None).features.eval(), vgg19_32().eval()
    same_weights(ours.features, theirs)
    with torch.no_grad():
        expected = theirs(ours.standardise(IMAGES[:1]))
        torch.testing.assert_close(
            ours.features(ours.standardise(IMAGES[:1])), expected, rtol=1e-3, atol=1e-5
        )
        means = expected.mean(dim=(2, 3)) @ ours.head.weight.T + ours.head.bias
        torch.testing.assert_close(ours(IMAGES[:1]), means, rtol=1e-3, atol=1e-5)
    assert expected.std() > 0.01


@pytest.mark.parametrize("build", [resnet18_32, resnet50_32, vgg19_32])
def test_a_tiny_network_gives_logits_picture_by_picture(build: Callable[..., nn.Module]) -> None:
    network = build(classes=5, width=2).eval()
    with torch.no_grad():
        logits = network(IMAGES)
        alone = torch.cat([network(image[None]) for image in IMAGES])
    assert logits.shape == (3, 5)
    assert bool(logits.isfinite().all())
    torch.testing.assert_close(logits, alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("blocks", "side"), [((1,), 32), ((1, 1), 16), ((1, 2, 1), 8), ((1, 1, 1, 1), 4)])
def test_each_stage_after_the_first_halves_the_picture(blocks: tuple[int, ...], side: int) -> None:
    network = Resnet32(blocks=blocks, bottleneck=False, width=2).eval()
    assert network.features(IMAGES).shape == (3, 2 * 2 ** (len(blocks) - 1), side, side)


def test_a_block_adds_its_input() -> None:
    network = Resnet32(blocks=(1,), bottleneck=False, width=4).eval()
    block = network.features[2]
    with torch.no_grad():
        block.body[-1][1].weight.zero_()  # the last norm's scale: the body gives nothing
        values = torch.rand(2, 4, 8, 8)
        assert torch.equal(block(values), values)


def test_pictures_are_standardised_inside_the_network() -> None:
    layer = Standardise(mean=(0.5, 0.25, 0.0), spread=(0.5, 0.25, 2.0))
    found = layer(torch.ones(1, 3, 2, 2))
    assert found[0, :, 0, 0].tolist() == [1.0, 3.0, 0.5]
    plain = Resnet32(blocks=(1,), bottleneck=False, width=2, mean=(0, 0, 0), spread=(1, 1, 1)).eval()
    shifted = Resnet32(blocks=(1,), bottleneck=False, width=2, mean=(0.5, 0.5, 0.5), spread=(0.5, 0.5, 0.5))
    parameters = {n: v for n, v in plain.state_dict().items() if "standardise" not in n}
    shifted.load_state_dict(parameters, strict=False)
    assert torch.allclose(shifted.eval()(IMAGES), plain((IMAGES - 0.5) / 0.5))


@pytest.mark.parametrize("build", [resnet18_32, vgg19_32])
def test_a_tiny_network_learns_two_colours(build: Callable[..., nn.Module]) -> None:
    draw = torch.Generator().manual_seed(3)
    labels = torch.arange(16) % 2
    images = torch.rand(16, 3, 32, 32, generator=draw) * 0.3
    images[labels == 1, 0] += 0.6
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        network = build(classes=2, width=4).train()
        optimiser = torch.optim.Adam(network.parameters(), lr=3e-3)
        for _ in range(12):
            loss = functional.cross_entropy(network(images), labels)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    assert bool((network(images).argmax(dim=1) == labels).all())


def test_the_imagenet_network_takes_pictures_in_0_to_1() -> None:
    from torchvision.models import resnet50
    from torchvision.transforms.functional import normalize

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        theirs = resnet50(weights=None).eval()
    ours = imagenet_resnet50(theirs.state_dict())
    assert not ours.training
    assert not any(parameter.requires_grad for parameter in ours.parameters())
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        expected = theirs(normalize(image, list(IMAGENET_MEAN), list(IMAGENET_SPREAD)))
        torch.testing.assert_close(ours(image), expected, rtol=1e-4, atol=1e-4)
    assert expected.shape == (1, 1000)
    assert count(ours) == 25_557_032


def test_torchvision_documents_the_same_mean_and_spread() -> None:
    from torchvision.models import ResNet50_Weights

    documented = ResNet50_Weights.IMAGENET1K_V1.transforms()
    assert tuple(documented.mean) == IMAGENET_MEAN
    assert tuple(documented.std) == IMAGENET_SPREAD
    assert (documented.crop_size, documented.resize_size) == ([224], [256])
    assert ResNet50_Weights.IMAGENET1K_V2.transforms().resize_size == [232]


def test_what_makes_no_network_is_refused() -> None:
    with pytest.raises(UsageError, match="2 classes"):
        resnet18_32(classes=1, width=2)
    with pytest.raises(UsageError, match="width"):
        vgg19_32(width=0)
    with pytest.raises(UsageError, match="one stage"):
        Resnet32(blocks=(), bottleneck=True)
    with pytest.raises(UsageError, match="one block"):
        Resnet32(blocks=(1, 0), bottleneck=True)
    with pytest.raises(UsageError, match="32x32 pixels for VGG-19, got 32x31"):
        Vgg32(width=2)(IMAGES[..., :31])
    with pytest.raises(UsageError, match="another network"):
        imagenet_resnet50(resnet18_32(width=2).state_dict())
