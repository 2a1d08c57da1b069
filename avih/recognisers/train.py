"""Train the small recogniser on synthetic persons: ``python -m avih.recognisers.train --out FILE``.

The persons it learns from are numbered from 1000, so that none of them is in the default gallery.
"""

import argparse
import logging
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional

from avih.datasets.synthetic import SyntheticFaces
from avih.errors import UsageError
from avih.recognisers.small import FEATURES, INPUT_SIZE, SmallFaceNet, normalised

logger = logging.getLogger(__name__)

FIRST_TRAINING_PERSON = 1000
PERSONS, PHOTOS_PER_PERSON, EPOCHS, BATCH_SIZE, SEED = 480, 7, 12, 64, 11
PEAK_RATE = 3e-3
WEIGHT_DECAY = 5e-3
WARM_UP = 0.1  # share of the steps in which the learning rate rises
MARGIN_RISE = 0.4  # share of the steps in which the margin rises from 0 to its value
PHOTOS_AT_ONCE = 64


class ArcFaceLoss(nn.Module):
    """Additive angular margin: the angle to the own person's centre counts ``margin`` more than it is.

    Source: Deng et al., "ArcFace", https://arxiv.org/abs/1801.07698, equation 3:
    ``L_i = -log( e^{s cos(t_y + m)} / (e^{s cos(t_y + m)} + sum_{j != y} e^{s cos t_j}) )``
    with t_j the angle between feature i and the learned centre of person j, s ``scale`` and m ``margin``.
    An angle beyond pi counts as pi, so that the loss never falls while the angle grows.

    Args:
        features: length of a feature.
        persons: number of persons.
        scale: s, above 0.
        margin: m in radians, from 0 to pi / 2.
    """

    def __init__(self, *, features: int, persons: int, scale: float = 32.0, margin: float = 0.4) -> None:
        super().__init__()
        self.centres = nn.Parameter(torch.randn(persons, features) * 0.01)
        self.scale = scale
        self.margin = margin

    def forward(self, features: Tensor, persons: Tensor) -> Tensor:
        """Return one loss per image.

        Shape: features (batch, features), persons (batch,) int64; returns (batch,), at least 0.
        """
        cosines = functional.linear(functional.normalize(features), functional.normalize(self.centres))
        own = cosines.gather(1, persons[:, None])
        angle = torch.acos(own.clamp(-1 + 1e-6, 1 - 1e-6))
        with_margin = torch.cos((angle + self.margin).clamp(max=math.pi))
        logits = self.scale * cosines.scatter(1, persons[:, None], with_margin)
        return functional.cross_entropy(logits, persons, reduction="none")


def vary(images: Tensor, generator: torch.Generator) -> Tensor:
    """Vary faces as cameras and aligners do: mirror, shift, turn, zoom, gain, colour, contrast, blur, noise.

    Shape: images (batch, 3, H, W) float in [-1, 1]; returns the same shape, in about the same range.
    """
    batch = len(images)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(batch, *shape, generator=generator)

    turn, zoom = uniform(-0.06, 0.06), uniform(0.95, 1.05)
    mirror = torch.where(uniform(0, 1) < 0.5, -1.0, 1.0)
    height, width = images.shape[2:]
    ratio = height / width
    rows = [
        torch.stack(
            [mirror * zoom * torch.cos(turn), -zoom * torch.sin(turn) * ratio, uniform(-0.06, 0.06)], dim=1
        ),
        torch.stack(
            [mirror * zoom * torch.sin(turn) / ratio, zoom * torch.cos(turn), uniform(-0.05, 0.05)], dim=1
        ),
    ]
    grid = functional.affine_grid(torch.stack(rows, dim=1), list(images.shape), align_corners=False)
    moved = functional.grid_sample(images, grid, padding_mode="border", align_corners=False)
    light = (moved + 1) / 2 * torch.exp(uniform(-0.3, 0.3, 1, 1, 1)) * uniform(0.88, 1.12, 3, 1, 1)
    light = 0.5 + (light - 0.5) * uniform(0.8, 1.25, 1, 1, 1)
    smooth = functional.avg_pool2d(functional.pad(light, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    light = light + (smooth - light) * (uniform(-1, 1, 1, 1, 1)).clamp(min=0)
    noise = torch.randn(light.shape, generator=generator) * uniform(0, 0.03, 1, 1, 1)
    return (light + noise).clamp(0, 1) * 2 - 1


def _rate(step: int, steps: int) -> float:
    """Return the learning rate as a share of its peak: a rise, then half a cosine down to 0."""
    warm = max(round(WARM_UP * steps), 1)
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(steps - warm, 1)))


def _check(images: NDArray[np.uint8], persons: NDArray[np.int64], batch_size: int) -> None:
    if images.dtype != np.uint8 or images.shape[1:] != (*INPUT_SIZE, 3):
        raise UsageError(
            f"Expected aligned faces as uint8 (n, {INPUT_SIZE[0]}, {INPUT_SIZE[1]}, 3), got {images.dtype} "
            f"{images.shape}: align the photos to the template 112x96."
        )
    if persons.shape != (len(images),) or len(np.unique(persons)) < 2:
        raise UsageError(
            f"Expected one person for each of {len(images)} images and two persons at least, got shape "
            f"{persons.shape} with {len(np.unique(persons))} persons."
        )
    if batch_size < 2:
        raise UsageError(f"Expected at least 2 images per step, for batch normalisation, got {batch_size}.")


def train_small_recogniser(
    *,
    images: NDArray[np.uint8],
    persons: NDArray[np.int64],
    epochs: int = EPOCHS,
    batch_size: int = BATCH_SIZE,
    seed: int = SEED,
    progress: Callable[[int, int], None] | None = None,
) -> SmallFaceNet:
    """Train ``SmallFaceNet`` with the ArcFace loss; the global random state stays as it was.

    Args:
        images: aligned faces.
        persons: whose face each is; any whole numbers.
        epochs: passes over the images.
        batch_size: images per step; the rest of an epoch that fills no batch is left out of that epoch.
        seed: of weights, order and variations. It is no secret.
        progress: called as ``progress(step, steps)`` after each step.

    Shape: images (n, 112, 96, 3) uint8 RGB; persons (n,).

    Raises:
        UsageError: arrays of another shape or type, fewer than two persons, or steps of one image.
    """
    _check(images, persons, batch_size)
    names, labels = np.unique(persons, return_inverse=True)
    faces, targets = torch.from_numpy(images).permute(0, 3, 1, 2), torch.from_numpy(labels).long()
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = SmallFaceNet().to(memory_format=torch.channels_last).train()
        loss = ArcFaceLoss(features=FEATURES, persons=len(names))
    parameters = [*network.parameters(), *loss.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=PEAK_RATE, weight_decay=WEIGHT_DECAY)
    per_epoch = max(len(faces) // batch_size, 1)
    steps, margin = epochs * per_epoch, loss.margin
    for step in range(steps):
        if step % per_epoch == 0:
            order = torch.randperm(len(faces), generator=generator)
            total = 0.0
        chosen = order[step % per_epoch * batch_size :][:batch_size]
        loss.margin = margin * min(step / (MARGIN_RISE * steps), 1.0)
        for group in optimiser.param_groups:
            group["lr"] = PEAK_RATE * _rate(step, steps)
        varied = vary(normalised(faces[chosen]), generator).contiguous(memory_format=torch.channels_last)
        value = loss(network(varied), targets[chosen]).mean()
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        total += float(value.detach())
        if step % per_epoch == per_epoch - 1:
            logger.info("Epoch %d of %d: mean loss %.3f", step // per_epoch + 1, epochs, total / per_epoch)
        if progress is not None:
            progress(step + 1, steps)
    return network.to(memory_format=torch.contiguous_format).eval()


def save_weights(network: SmallFaceNet, path: Path) -> None:
    """Write the weights as safetensors: matrices as float16, the rest as they are; temporary name first."""
    state = {
        name: (value.half() if value.is_floating_point() and value.ndim >= 2 else value).contiguous()
        for name, value in network.state_dict().items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    with temporary.open("wb") as file:
        file.write(save(state))
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def training_faces(*, persons: int, photos_per_person: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Make and align the training photos; photos without a found face are left out.

    Shape: returns (n, 112, 96, 3) uint8 and (n,) numbers of persons from 1000.
    """
    from avih.align import AlignedFace, Aligner

    faces = SyntheticFaces(
        persons=persons, photos_per_person=photos_per_person, first_person=FIRST_TRAINING_PERSON
    )
    wanted = [
        (person, index)
        for person in range(faces.first_person, faces.first_person + persons)
        for index in range(photos_per_person)
    ]
    aligner, pixels, numbers = Aligner(template="112x96"), [], []
    for start in range(0, len(wanted), PHOTOS_AT_ONCE):
        part = wanted[start : start + PHOTOS_AT_ONCE]
        for (person, _), face in zip(part, aligner.align([faces.photo(*one) for one in part]), strict=True):
            if isinstance(face, AlignedFace):
                pixels.append(face.pixels)
                numbers.append(person)
    logger.info("A face was found in %d of %d training photos.", len(pixels), len(wanted))
    return np.stack(pixels), np.asarray(numbers, np.int64)


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the photos, align them, train, and write the weights."""
    parser = argparse.ArgumentParser(description="Train the small recogniser on synthetic faces.")
    parser.add_argument("--out", type=Path, required=True, help="safetensors file to write")
    parser.add_argument("--persons", type=int, default=PERSONS)
    parser.add_argument("--photos-per-person", type=int, default=PHOTOS_PER_PERSON)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--batch-size", type=int, default=BATCH_SIZE)
    parser.add_argument("--seed", type=int, default=SEED)
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    images, persons = training_faces(persons=given.persons, photos_per_person=given.photos_per_person)
    network = train_small_recogniser(
        images=images, persons=persons, epochs=given.epochs, batch_size=given.batch_size, seed=given.seed
    )
    save_weights(network, given.out)
    logger.info("Wrote %s (%d bytes).", given.out, given.out.stat().st_size)


if __name__ == "__main__":
    main()
