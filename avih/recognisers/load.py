"""Loading a service model: a card's facts, checked weights, and one wrapper with one input contract."""

import logging
from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from avih.device import chosen_device
from avih.errors import UsageError
from avih.recognisers import own_code, script
from avih.recognisers.card import RecogniserCard, read_card
from avih.recognisers.probe import check_probe
from avih.recognisers.registry import build_network
from avih.recognisers.state import find_weights, fingerprint_of, fit_state, read_state

logger = logging.getLogger(__name__)


class Recogniser(nn.Module):
    """A frozen service model behind one input contract: ``[0, 1]`` RGB in, unit-norm features out.

    The wrapper owns the network's colour order and value range (from its card), so no caller knows them.
    It stays in evaluation mode and its weights take no gradient; gradients do reach the images.

    Attributes:
        card: the facts it was loaded with.
        fingerprint: 16 hex digits naming the weights and the facts that change a feature.
    """

    def __init__(self, *, card: RecogniserCard, network: nn.Module, fingerprint: str) -> None:
        super().__init__()
        self.card = card
        self.fingerprint = fingerprint
        self.network = network
        # It tells where the recogniser is: frozen TorchScript has no parameter that could.
        self._where = nn.Parameter(torch.empty(0))
        self.train()
        self.requires_grad_(False)

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode, whatever is asked: a service model never learns here."""
        return super().train(False)

    def forward(self, images: Tensor) -> Tensor:
        """Return one unit-norm feature per image.

        Shape:
            - images: ``(batch, 3, input_height, input_width)``, RGB, floating point in ``[0, 1]``.
            - returns: ``(batch, feature_size)``, float32, each row of length 1.

        Raises:
            UsageError: another shape, or whole-number pixels.
        """
        self._check_input(images)
        # Pixels stay float32 under autocast: bfloat16 cannot tell neighbouring 8-bit levels apart.
        pixels = images.to(self.device).float() * 255.0
        if self.card.colour_order == "BGR":
            pixels = pixels.flip(1)
        features = self.network((pixels - _units(self.card.mean, pixels)) / _units(self.card.std, pixels))
        return functional.normalize(features.float(), dim=1).to(images.device)

    @property
    def device(self) -> torch.device:
        """Where it computes; images come from anywhere, and features go back there."""
        return self._where.device

    def _check_input(self, images: Tensor) -> None:
        expected = (3, self.card.input_height, self.card.input_width)
        if images.ndim != 4 or tuple(images.shape[1:]) != expected:
            raise UsageError(
                f"{self.card.name} expected images of shape (batch, {', '.join(map(str, expected))}), got "
                f"{tuple(images.shape)}: align the faces to the template {self.card.template}."
            )
        if not images.is_floating_point():
            raise UsageError(
                f"{self.card.name} expected floating-point images in [0, 1], got {images.dtype}: "
                "divide 8-bit pixels by 255."
            )


def _units(numbers: float | tuple[float, float, float], pixels: Tensor) -> Tensor | float:
    return pixels.new_tensor(numbers).view(1, 3, 1, 1) if isinstance(numbers, tuple) else numbers


def load_recogniser(
    *, card: str | Path, weights: Path | None = None, cache: Path | None = None, device: str = "cpu"
) -> Recogniser:
    """Load a service model and prove by its card's probe that it is used as it was trained.

    Args:
        card: the name of a bundled card, or the path of a ``.toml`` file.
        weights: a weights file; without it the card's own file, or else its address, is used.
        cache: folder for fetched weights, directly in the store; without it the user's cache folder.
        device: where the recogniser is moved after the check; see :func:`avih.device.chosen_device`.

    Raises:
        UsageError: a bad card, no weights, weights that do not fit, or an unknown device.
        IntegrityError: another SHA-256, a damaged file, a file that would run code, or another probe feature.
        DownloadFailed: the card's address did not deliver the weights.
    """
    facts = read_card(card)
    target = chosen_device(device)
    if cache is not None and facts.folder is not None and facts.architecture.startswith("python:"):
        own_code.refuse_in_store(facts.folder, store=cache.parent)
    recogniser = open_network(card=facts, weights=weights, cache=cache)
    if target.type != "cpu" and next(recogniser.network.parameters(), None) is None:
        raise UsageError(
            f"Expected a network that can be moved to {target}, got {facts.name}, whose weights are frozen into "
            "its code: export it without torch.jit.freeze, or set AVIH_DEVICE=cpu."
        )
    check_probe(recogniser=recogniser, card=facts)
    if facts.probe is None:
        logger.warning(
            "The card of %s has no probe: nothing proves its colour order, value range and weights. "
            "Check the recogniser on photos whose persons you know, then add a probe to the card.",
            facts.name,
        )
    return recogniser.to(target)


def open_network(*, card: RecogniserCard, weights: Path | None, cache: Path | None) -> Recogniser:
    """Build what a card describes with its weights, unproven: ``load_recogniser`` also asks the probe.

    Raises:
        UsageError, IntegrityError, DownloadFailed: as ``load_recogniser``.
    """
    if card.architecture == script.NAME:
        path = find_weights(card=card, weights=weights, cache=cache)
        network, program = script.read_script(card=card, path=path)
    else:
        network, program = _built(card, weights=weights, cache=cache)
    fingerprint = fingerprint_of(card=card, network=network, program=program)
    return Recogniser(card=card, network=network, fingerprint=fingerprint)


def brings_weights(card: RecogniserCard, weights: Path | None) -> bool:
    """Say whether the network has its weights from the owner's own code, because no file is named."""
    return card.architecture.startswith("python:") and not (weights or card.weights or card.address)


def _built(card: RecogniserCard, *, weights: Path | None, cache: Path | None) -> tuple[nn.Module, str]:
    state = None
    if not brings_weights(card, weights):
        state = read_state(card=card, path=find_weights(card=card, weights=weights, cache=cache))
    family, _, name = card.architecture.partition(":")
    program = own_code.source_digest(name, folder=card.folder) if family == "python" else ""
    network = build_network(card.architecture, folder=card.folder)
    if state is not None:
        fit_state(network=network, state=state, card=card)
    return network.float(), program
