"""Service models for the tables on classification (000, section 4.5): which, how trained, and where kept."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import safetensors.torch
import torch
from torch import nn
from torch.nn import functional

from avih.atomic import write_bytes
from avih.classifiers.resnet32 import Resnet32, resnet18_32, resnet50_32
from avih.classifiers.vgg32 import vgg19_32
from avih.images import to_tensor
from avih.reproduction.classification.data import Labels, Pictures, Pixels, moved
from avih.reproduction.context import Context
from avih.reproduction.networks import PUBLIC_SEED
from avih.settings import Count, Frozen

_AT_ONCE: Final = 100


class Training(Frozen):
    """How a service model is trained: Adam, one cycle of the step size."""

    epochs: Count
    batch_size: Count
    learning_rate: float
    seed: int = PUBLIC_SEED


@dataclass(frozen=True)
class Service:
    """A service model to be: the paper's name, and what is really built.

    Attributes:
        paper: the paper's name of it.
        name: what the tables call ours.
        same: is it the paper's own architecture and size?
    """

    paper: str
    name: str
    build: Callable[[], nn.Module]
    training: Training
    same: bool = False


def services(context: Context) -> tuple[Service, Service]:
    """Return the two service models: VGG-19 and ResNet-50 in ``full``, narrow ones that train in minutes else."""
    full = Training(epochs=60, batch_size=128, learning_rate=2e-3)
    small = Training(epochs=8, batch_size=32, learning_rate=5e-3)
    if context.profile == "full":
        return (
            Service("VGG19", "VGG-19 (32x32)", vgg19_32, full, same=True),
            Service("ResNet50", "ResNet-50 (32x32)", resnet50_32, full, same=True),
        )
    if context.profile == "cpu":
        return (
            Service("VGG19", "VGG-19 layout of width 8", lambda: vgg19_32(width=8), small),
            Service("ResNet50", "ResNet-18 layout of width 8", lambda: resnet18_32(width=8), small),
        )
    tiny = Training(epochs=5, batch_size=20, learning_rate=1e-2)
    return (
        Service("VGG19", "VGG-19 layout of width 2", lambda: vgg19_32(width=2), tiny),
        Service(
            "ResNet50",
            "residual network of 3 blocks",
            lambda: Resnet32(blocks=(1, 1, 1), bottleneck=False, width=4),
            tiny,
        ),
    )


def trained_service(
    context: Context,
    pictures: Pictures,
    service: Service,
    *,
    encode: Callable[[Pixels], Pixels] | None = None,
    encoded: str = "plain",
) -> nn.Module:
    """Return a service model trained on pictures, frozen: from the profile's folder, or trained now.

    Args:
        context: where it is kept.
        pictures: what to train on.
        service: what to build and how to train it.
        encode: turns training pictures into what it is to read (LIE); as they are without.
        encoded: name of that, part of what makes two models different.
    """
    facts = f"{service.name} {service.training.digest()} {pictures.facts()} {pictures.moved} {encoded}"
    path = (
        context.folder("networks") / f"service-{hashlib.sha256(facts.encode()).hexdigest()[:16]}.safetensors"
    )
    if not path.is_file():
        context.tell(f"training {service.name} on {len(pictures.train)} pictures ({encoded})")
        network = fit(service, pictures, encode=encode, device=context.device)
        write_bytes(path, safetensors.torch.save(network.cpu().state_dict()))
    network = service.build()
    network.load_state_dict(safetensors.torch.load(path.read_bytes()))
    return network.to(context.device).eval().requires_grad_(False)


def fit(
    service: Service,
    pictures: Pictures,
    *,
    encode: Callable[[Pixels], Pixels] | None = None,
    device: str = "cpu",
) -> nn.Module:
    """Train a new service model; the same settings give the same weights on one machine.

    No test picture is looked at. The process's random state stays as it was.
    """
    plan, draw = service.training, np.random.default_rng(service.training.seed)
    batches = len(pictures.train) // plan.batch_size
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(plan.seed)
        network = service.build().to(device).train()
    optimiser = torch.optim.Adam(network.parameters(), lr=plan.learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, plan.learning_rate, plan.epochs * batches)
    for _ in range(plan.epochs):
        order = draw.permutation(len(pictures.train))[: batches * plan.batch_size]
        for rows in order.reshape(batches, plan.batch_size):
            shown = pictures.train[rows]
            shown = moved(shown, draw) if pictures.moved else shown
            images = to_tensor(encode(shown) if encode else shown).to(device)
            truth = torch.from_numpy(pictures.train_labels[rows]).to(device)
            loss = functional.cross_entropy(network(images), truth)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return network.eval().requires_grad_(False)


def answers(network: nn.Module, pixels: Pixels, *, device: str = "cpu") -> Labels:
    """Return a classifier's answers to 8-bit pictures.

    Shape:
        - pixels: ``(n, H, W, 3)`` uint8; returns ``(n,)`` int64.
    """
    with torch.no_grad():
        parts = [
            network(to_tensor(pixels[start : start + _AT_ONCE]).to(device)).argmax(dim=1).cpu().numpy()
            for start in range(0, len(pixels), _AT_ONCE)
        ]
    return np.concatenate(parts)
