"""Key models: the papers' layout, the codec's built-in ignorance, and the way to bytes and back."""

import json

import numpy as np
import pytest
import torch
from skimage import data
from skimage.transform import resize

from avih.errors import IntegrityError, UsageError
from avih.evaluation.metrics import ssim
from avih.generators import build_generator, load_generator, save_generator
from avih.generators.codec import CodecGenerator, encode, encode_images, free_mask
from avih.generators.registry import parameter_count
from avih.generators.resnet import PatchDiscriminator, ResnetGenerator
from avih.images import to_pixels, to_tensor

OPTIONS = {"codec": {"width": 8, "blocks": 1}, "resnet": {"width": 4, "blocks": 1, "trunk_norm_only": False}}


def photo() -> np.ndarray:
    face = resize(data.astronaut()[0:240, 120:326], (112, 96), anti_aliasing=True)
    return (face * 255).round().astype(np.uint8)


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def small(architecture: str, seed: int = 0) -> torch.nn.Module:
    """A small generator whose every weight matters (the codec starts with a head of zeros)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        generator = build_generator(architecture=architecture, options=OPTIONS[architecture])
        for parameter in generator.parameters():
            parameter.data += 0.02 * torch.randn_like(parameter)
    return generator.eval()


def test_the_resnet_has_the_papers_number_of_parameters() -> None:
    assert parameter_count(ResnetGenerator()) == 11_383_427


def test_fewer_norms_leave_the_trunk_normalised() -> None:
    norms = [
        sum(isinstance(part, torch.nn.InstanceNorm2d) for part in network.modules())
        for network in (
            ResnetGenerator(width=4, blocks=2),
            ResnetGenerator(width=4, blocks=2, trunk_norm_only=True),
        )
    ]
    assert norms == [9, 4]


@pytest.mark.parametrize("architecture", ["codec", "resnet"])
@pytest.mark.parametrize("size", [(16, 16), (112, 96)])
@torch.no_grad()
def test_pictures_come_back_in_their_size_and_range(architecture: str, size: tuple[int, int]) -> None:
    output = small(architecture)(to_tensor([noise(*size, 3)]))
    assert output.shape == (1, 3, *size)
    assert 0 <= float(output.min()) < float(output.max()) <= 1


@pytest.mark.parametrize("architecture", ["codec", "resnet"])
@torch.no_grad()
def test_a_picture_does_not_depend_on_its_batch(architecture: str) -> None:
    generator, images = small(architecture), to_tensor(noise(3, 16, 16, 3))
    together = generator(images)
    assert torch.equal(generator(images), together)  # dropout is off
    for row in range(3):
        torch.testing.assert_close(
            generator(images[row : row + 1]), together[row : row + 1], atol=1e-5, rtol=0
        )
    others = images.clone()
    others[1:] = 1 - others[1:]
    torch.testing.assert_close(generator(others)[:1], together[:1], atol=1e-5, rtol=0)


def test_dropout_works_in_training_only() -> None:
    generator, images = small("resnet"), to_tensor(noise(1, 16, 16, 3))
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        generator.train()
        assert not torch.equal(generator(images), generator(images))


def test_the_judge_looks_at_the_pair() -> None:
    judge = PatchDiscriminator(width=4)
    first, second = to_tensor(noise(2, 64, 64, 3)), to_tensor(noise(2, 64, 64, 3, seed=1))
    with torch.no_grad():
        verdict = judge(first, second)
        assert verdict.shape == (2, 1, 6, 6)
        assert not torch.allclose(verdict, judge(first, first))
        assert not torch.allclose(verdict, judge(second, second))


@pytest.mark.parametrize("size", [(2, 2), (112, 96), (16, 30)])
def test_half_of_the_values_is_free(size: tuple[int, int]) -> None:
    mask = free_mask(*size)
    assert mask.shape == (*size, 3)
    assert mask.sum() * 2 == mask.size
    assert not mask[..., 0].any()
    assert mask[..., 2].all()
    assert not mask[0::2, :, 1].any()


@pytest.mark.parametrize("size", [(111, 96), (112, 95)])
def test_odd_sides_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match="even sides"):
        free_mask(*size)
    with pytest.raises(UsageError, match="even sides"):
        encode(noise(*size, 3))


@torch.no_grad()
def test_the_codec_ignores_the_free_values_and_reads_all_others() -> None:
    generator, mixed = small("codec"), noise(16, 16, 3)
    free = free_mask(16, 16)
    reference = generator(to_tensor([mixed]))
    for seed in (1, 2):
        changed = np.where(free, noise(16, 16, 3, seed=seed), mixed)
        assert torch.equal(generator(to_tensor([changed])), reference)
    # Every other value counts: around the middle of the range nothing is clamped.
    with torch.enable_grad():
        images = (0.5 + 0.02 * (to_tensor([mixed]) - 0.5)).requires_grad_(True)
        generator(images).square().sum().backward()
    assert np.array_equal((images.grad[0] != 0).permute(1, 2, 0).numpy(), ~free)


@torch.no_grad()
def test_the_untrained_codec_inverts_the_code() -> None:
    picture = photo()
    grey = np.repeat(picture.mean(axis=2, keepdims=True).round().astype(np.uint8), 3, axis=2)
    for original, least in ((picture, 0.98), (grey, 0.999)):
        recovered = to_pixels(CodecGenerator()(to_tensor([encode(original)])))[0]
        assert ssim(original, recovered) > least
    assert np.abs(recovered.astype(int) - grey).max() <= 1


def test_the_code_of_plain_colours_is_that_of_bt_601() -> None:
    colours = {(0, 0, 0): (16, 128, 128), (255, 255, 255): (235, 128, 128), (255, 0, 0): (81, 90, 240)}
    for colour, (luma, blue, red) in colours.items():
        code = encode(np.full((2, 2, 3), colour, np.uint8))
        assert code[..., 0].tolist() == [[luma, luma], [luma, luma]]
        assert code[..., 1].tolist() == [[blue, red], [0, 0]]
        assert not code[..., 2].any()


def test_both_encoders_agree() -> None:
    for picture in (photo(), noise(16, 16, 3)):
        exact = encode_images(to_tensor([picture]).double())
        stored = torch.nn.functional.pixel_unshuffle(to_tensor([encode(picture)]).double(), 2)[:, :6]
        assert float((exact - stored).abs().max()) * 255 <= 0.5 + 1e-3


@pytest.mark.parametrize("architecture", ["codec", "resnet"])
def test_bytes_come_back_as_the_same_generator_and_the_same_bytes(architecture: str) -> None:
    generator = small(architecture)
    saved = save_generator(generator, architecture=architecture, options=OPTIONS[architecture])
    loaded = load_generator(saved)
    assert save_generator(loaded, architecture=architecture, options=OPTIONS[architecture]) == saved
    images = to_tensor(noise(1, 16, 16, 3))
    with torch.no_grad():
        assert torch.equal(loaded(images), generator(images))
    assert not loaded.training
    assert not any(parameter.requires_grad for parameter in loaded.parameters())


def with_metadata(**changes: object) -> bytes:
    """A saved codec with other metadata."""
    saved = save_generator(small("codec"), architecture="codec", options=OPTIONS["codec"])
    size = int.from_bytes(saved[:8], "little")
    header = json.loads(saved[8 : 8 + size])
    header["__metadata__"] |= changes
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + saved[8 + size :]


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"no generator",
        bytes(100),
        (2).to_bytes(8, "little") + b"{}",
        (2).to_bytes(8, "little") + b"[]",
        (4).to_bytes(8, "little") + b"null",
        with_metadata()[:-4],
        with_metadata(architecture="unet"),
        with_metadata(architecture="resnet"),
        with_metadata(options="{"),
        with_metadata(options="[1]"),
        with_metadata(options='{"width": 16}'),
        with_metadata(options='{"height": 8}'),
        with_metadata(options='{"width": -1}'),
    ],
)
def test_bytes_that_are_no_generator_are_refused(damaged: bytes) -> None:
    with pytest.raises(IntegrityError, match="generator"):
        load_generator(damaged)


def test_unknown_architectures_and_options_are_refused() -> None:
    with pytest.raises(UsageError, match="unet"):
        build_generator(architecture="unet", options={})
    with pytest.raises(UsageError, match="depth"):
        build_generator(architecture="codec", options={"depth": 3})
