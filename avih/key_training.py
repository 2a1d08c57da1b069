"""Train a generator as the identity (000, section 3.2), in the pix2pix way or, for the codec, under noise.

The training pictures are public by default (scikit-image's photographs and made-up faces): a generator that
never saw the gallery can be handed to anybody.
"""

import math
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from avih.generators import build_generator
from avih.generators.codec import CodecGenerator, encode_images
from avih.generators.resnet import PatchDiscriminator, told_as
from avih.key_pictures import PictureSampler
from avih.precision import resolve
from avih.settings import KeySettings

__all__ = ["PictureSampler", "TrainedGenerator", "structural_similarity", "train_generator"]

LEVEL = 1 / 255


class TrainedGenerator(NamedTuple):
    """A trained generator in ``eval()`` and its last training losses, ``name -> mean over the last tenth``."""

    generator: nn.Module
    losses: dict[str, float]


def train_generator(
    *,
    settings: KeySettings,
    sampler: PictureSampler,
    seed: int,
    device: torch.device | str = "cpu",
    progress: Callable[[int], None] | None = None,
    watch: Callable[[int, nn.Module], bool] | None = None,
) -> TrainedGenerator:
    """Train a generator to return its input: L1 + 1 - SSIM, and a PatchGAN where its weight is above 0.

    Args:
        settings: architecture and recipe.
        sampler: where training batches come from.
        seed: start of the weights; comes from the system's entropy and is as secret as the key.
        device: where to train.
        progress: called with 1 after each step; on a GPU the step may still be under way.
        watch: called after each step with the steps so far and the generator in training; training ends when
            it returns true.

    Raises:
        UsageError: the crops of the settings are larger than the sampler's.
    """
    place = torch.device(device)
    gpus = [_index(place)] if place.type == "cuda" else []
    # The generators of random numbers are put back, so that training leaves no trace of the secret seed in them.
    with torch.random.fork_rng(devices=gpus):
        # Not torch.manual_seed: that would also hand the secret seed to every other GPU's generator, for good.
        torch.default_generator.manual_seed(seed)
        for index in gpus:
            torch.cuda.default_generators[index].manual_seed(seed)
        training = _Training(settings=settings, sampler=sampler, place=place)
        losses = training.run(progress or (lambda _: None), watch or (lambda _, __: False))
    return TrainedGenerator(training.generator.eval().requires_grad_(False), losses)


def _index(place: torch.device) -> int:
    """Return the number of a GPU; of the current one where the device names none."""
    return torch.cuda.current_device() if place.index is None else place.index


class _Training:
    """Networks, optimisers and number format of one training."""

    def __init__(self, *, settings: KeySettings, sampler: PictureSampler, place: torch.device) -> None:
        self.settings, self.sampler, self.place = settings, sampler, place
        generator = build_generator(architecture=settings.architecture, options=settings.options())
        _set_dropout(generator, settings.dropout)
        # Channels last: a tenth less time per step on a CPU (bfloat16), and what tensor cores of a GPU want.
        self.generator = generator.to(place).to(memory_format=torch.channels_last)
        self.judge = None
        betas = (0.9, 0.999)
        if settings.adversarial_weight > 0:
            self.judge = PatchDiscriminator().to(place).to(memory_format=torch.channels_last)
            betas = (0.5, 0.999)  # pix2pix
        self.optimiser = _adam(self.generator, settings.learning_rate, betas, place)
        self.judge_optimiser = self.judge and _adam(self.judge, settings.learning_rate, betas, place)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimiser, lambda step: step_share(step, settings)
        )
        self.dtype = number_format(settings, place, generator)

    def run(
        self, progress: Callable[[int], None], watch: Callable[[int, nn.Module], bool]
    ) -> dict[str, float]:
        """Train to the end, or until the watcher has seen enough; return the mean of the last losses."""
        # Losses stay on the device: to read one means to wait for the step.
        last: deque[Tensor] = deque(maxlen=max(1, self.settings.steps // 10))
        for step in range(1, self.settings.steps + 1):
            self.generator.train()
            last.append(self.step())
            progress(1)
            if watch(step, self.generator):
                break
        self.generator.to(memory_format=torch.contiguous_format)
        return {"l1": float(torch.stack(list(last)).mean())}

    def step(self) -> Tensor:
        """Take one step; return its mean absolute error, on the device."""
        settings, judge = self.settings, self.judge
        pictures = self._pictures()
        with self._format():
            outputs = _identity_pass(self.generator, pictures, settings.noise_levels).float()
        if judge is not None and self.judge_optimiser:
            self.judge_optimiser.zero_grad()
            with self._format():
                judge_loss = judge.loss(inputs=pictures, true=pictures, false=outputs.detach())
            judge_loss.backward()
            self.judge_optimiser.step()
        l1 = functional.l1_loss(outputs, pictures)
        loss = settings.l1_weight * l1
        if settings.ssim_weight > 0:
            loss = loss + settings.ssim_weight * (1 - structural_similarity(outputs, pictures).mean())
        if judge is not None:
            with self._format():
                verdict = judge(pictures, outputs)
            loss = loss + settings.adversarial_weight * told_as(verdict, real=True)
        self.optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.generator.parameters(), 1.0 if judge is None else 1e9)
        self.optimiser.step()
        self.schedule.step()
        return l1.detach()

    def _pictures(self) -> Tensor:
        pictures = self.sampler.batch(self.settings.batch_size, side=self.settings.crop)
        if self.place.type == "cuda":
            pictures = pictures.pin_memory()
        return pictures.to(self.place, non_blocking=True, memory_format=torch.channels_last)

    def _format(self) -> AbstractContextManager[object]:
        if self.dtype == torch.float32:
            return nullcontext()
        return torch.autocast(device_type=self.place.type, dtype=self.dtype)


def _adam(
    network: nn.Module, step_size: float, betas: tuple[float, float], place: torch.device
) -> torch.optim.Adam:
    fused = place.type in ("cpu", "cuda")
    return torch.optim.Adam(network.parameters(), lr=step_size, betas=betas, fused=fused)


def step_share(step: int, settings: KeySettings) -> float:
    """Return the step size in units of the first: a straight rise, then half a cosine."""
    if step < settings.warm_up:
        return (step + 1) / settings.warm_up
    done = (step - settings.warm_up) / max(1, settings.steps - settings.warm_up)
    return (1 + math.cos(math.pi * done)) / 2


def number_format(settings: KeySettings, place: torch.device, generator: nn.Module) -> torch.dtype:
    """Choose what a training computes in: ``auto`` is bfloat16 for a ResNet where the device computes in it.

    The codec's linear part has to keep 8-bit levels apart, which bfloat16 does not.
    """
    if settings.precision == "auto" and isinstance(generator, CodecGenerator):
        return torch.float32
    return resolve(settings.precision, device=place, network=generator)


def _set_dropout(generator: nn.Module, share: float) -> None:
    """Set what only a training sees: it is no part of a saved generator."""
    for module in generator.modules():
        if isinstance(module, nn.Dropout):
            module.p = share


def _identity_pass(generator: nn.Module, pictures: Tensor, noise_levels: float) -> Tensor:
    """Send pictures through the generator as they will come: as noisy 8-bit code, or as they are."""
    strength = torch.rand(len(pictures), 1, 1, 1, device=pictures.device) * noise_levels * LEVEL
    if isinstance(generator, CodecGenerator):
        code = (encode_images(pictures) * 255).round() / 255
        return generator.decode(code + strength * torch.randn_like(code))
    return generator(pictures + strength * torch.randn_like(pictures))


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
