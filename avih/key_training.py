"""Train a generator as the identity (000, section 3.2), in the pix2pix way or, for the codec, under noise.

The training pictures are public by default (scikit-image's photographs and made-up faces): a generator that
never saw the gallery can be handed to anybody.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from avih.errors import UsageError
from avih.generators import build_generator
from avih.generators.codec import CodecGenerator, encode_images
from avih.generators.resnet import PatchDiscriminator
from avih.settings import KeySettings

LEVEL = 1 / 255


class TrainedGenerator(NamedTuple):
    """A trained generator in ``eval()`` and its last training losses, ``name -> mean over the last tenth``."""

    generator: nn.Module
    losses: dict[str, float]


class PictureSampler:
    """Draws random crops of pictures, zoomed, mirrored and recoloured, as training batches.

    Args:
        pictures: uint8 ``(h, w, 3)`` arrays; smaller ones than the crop are refused.
        height: height of a crop in pixels.
        width: width of a crop in pixels.
        rng: source of the draws; as secret as the key it trains.
    """

    def __init__(
        self, *, pictures: Sequence[NDArray[np.uint8]], height: int, width: int, rng: np.random.Generator
    ) -> None:
        usable = [p for p in pictures if p.shape[0] >= height and p.shape[1] >= width]
        if not usable:
            raise UsageError(f"Expected training pictures of at least {height}x{width} pixels, got none.")
        self.pictures, self.height, self.width, self.rng = usable, height, width, rng

    def batch(self, size: int) -> Tensor:
        """Return ``(size, 3, height, width)`` in [0, 1]."""
        return torch.stack([self._draw() for _ in range(size)])

    def _draw(self) -> Tensor:
        rng = self.rng
        picture = self.pictures[rng.integers(len(self.pictures))]
        rows, columns = picture.shape[:2]
        largest = min(rows / self.height, columns / self.width)
        zoom = float(np.exp(rng.uniform(0, np.log(min(largest, 4.0)))))
        height, width = int(self.height * zoom), int(self.width * zoom)
        top, left = rng.integers(rows - height + 1), rng.integers(columns - width + 1)
        crop = (
            torch.from_numpy(picture[top : top + height, left : left + width].copy()).permute(2, 0, 1) / 255
        )
        if zoom > 1:
            crop = functional.interpolate(crop[None], (self.height, self.width), mode="area")[0]
        if rng.random() < 0.5:
            crop = crop.flip(2)
        if rng.random() < 0.25:  # some galleries are grey
            crop = crop.mean(dim=0, keepdim=True).expand(3, -1, -1)
        contrast, brightness = rng.uniform(0.7, 1.3), rng.uniform(-0.15, 0.15)
        return ((crop - 0.5) * contrast + 0.5 + brightness).clamp(0, 1)


def train_generator(
    *,
    settings: KeySettings,
    sampler: PictureSampler,
    seed: int,
    device: str = "cpu",
    progress: Callable[[int], None] | None = None,
) -> TrainedGenerator:
    """Train a generator to return its input: L1 + 1 - SSIM, and a PatchGAN where its weight is above 0.

    Args:
        settings: architecture and recipe.
        sampler: where training batches come from.
        seed: start of the weights; comes from the system's entropy and is as secret as the key.
        device: where to train.
        progress: called with 1 after each step.
    """
    # The global generator is put back, so that training leaves no trace of the secret seed in it.
    with torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed: that would also hand the secret seed to every GPU's generator, for good.
        torch.default_generator.manual_seed(seed)
        generator = build_generator(architecture=settings.architecture, options=settings.options()).to(device)
        judge = PatchDiscriminator().to(device) if settings.adversarial_weight > 0 else None
        losses = _train(generator, judge, settings, sampler, device, progress or (lambda _: None))
    return TrainedGenerator(generator.eval().requires_grad_(False), losses)


def _train(
    generator: nn.Module,
    judge: PatchDiscriminator | None,
    settings: KeySettings,
    sampler: PictureSampler,
    device: str,
    progress: Callable[[int], None],
) -> dict[str, float]:
    betas = (0.9, 0.999) if judge is None else (0.5, 0.999)  # pix2pix: 0.5
    optimiser = torch.optim.Adam(generator.parameters(), lr=settings.learning_rate, betas=betas)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, settings.steps)
    judge_optimiser = judge and torch.optim.Adam(judge.parameters(), lr=settings.learning_rate, betas=betas)
    history: list[float] = []
    generator.train()
    for _ in range(settings.steps):
        pictures = sampler.batch(settings.batch_size).to(device)
        outputs = _identity_pass(generator, pictures, settings.noise_levels)
        if judge is not None and judge_optimiser:
            judge_optimiser.zero_grad()
            _judge_loss(judge, pictures, outputs.detach()).backward()
            judge_optimiser.step()
        l1 = functional.l1_loss(outputs, pictures)
        loss = settings.l1_weight * l1
        if settings.ssim_weight > 0:
            loss = loss + settings.ssim_weight * (1 - structural_similarity(outputs, pictures).mean())
        if judge is not None:
            verdict = judge(pictures, outputs)
            loss = loss + settings.adversarial_weight * _cross_entropy(verdict, real=True)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(generator.parameters(), 1.0 if judge is None else 1e9)
        optimiser.step()
        schedule.step()
        history.append(l1.item())
        progress(1)
    return {"l1": float(np.mean(history[-max(1, len(history) // 10) :]))}


def _identity_pass(generator: nn.Module, pictures: Tensor, noise_levels: float) -> Tensor:
    """Send pictures through the generator as they will come: as noisy 8-bit code, or as they are."""
    strength = torch.rand(len(pictures), 1, 1, 1, device=pictures.device) * noise_levels * LEVEL
    if isinstance(generator, CodecGenerator):
        code = (encode_images(pictures) * 255).round() / 255
        return generator.decode(code + strength * torch.randn_like(code))
    return generator(pictures + strength * torch.randn_like(pictures))


def _cross_entropy(logits: Tensor, *, real: bool) -> Tensor:
    return functional.binary_cross_entropy_with_logits(logits, torch.full_like(logits, float(real)))


def _judge_loss(judge: PatchDiscriminator, pictures: Tensor, outputs: Tensor) -> Tensor:
    return (
        _cross_entropy(judge(pictures, pictures), real=True)
        + _cross_entropy(judge(pictures, outputs), real=False)
    ) / 2


def structural_similarity(first: Tensor, second: Tensor) -> Tensor:
    """SSIM (Wang et al. 2004: 11x11 Gaussian window, sigma 1.5), differentiable, one value per image.

    Shape:
        - inputs ``(batch, 3, H, W)`` in [0, 1]; output ``(batch,)``.
    """
    offsets = torch.arange(11, dtype=first.dtype, device=first.device) - 5
    line = torch.exp(-offsets.square() / (2 * 1.5**2))
    line = line / line.sum()
    window = torch.outer(line, line).expand(first.shape[1], 1, 11, 11)

    def blur(images: Tensor) -> Tensor:
        return functional.conv2d(images, window, groups=images.shape[1])

    mean_1, mean_2 = blur(first), blur(second)
    var_1, var_2 = blur(first * first) - mean_1**2, blur(second * second) - mean_2**2
    covariance = blur(first * second) - mean_1 * mean_2
    c1, c2 = 0.01**2, 0.03**2
    similarity = ((2 * mean_1 * mean_2 + c1) * (2 * covariance + c2)) / (
        (mean_1**2 + mean_2**2 + c1) * (var_1 + var_2 + c2)
    )
    return similarity.flatten(1).mean(dim=1)
