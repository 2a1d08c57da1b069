"""Does a network do what protection needs: features of one size, gradients, and always the same answer?"""

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from avih.errors import AvihError, IntegrityError
from avih.recognisers.alternatives import templates
from avih.recognisers.card import RecogniserCard
from avih.recognisers.findings import Finding, ok, refused, warning, wrong
from avih.recognisers.load import Recogniser
from avih.recognisers.probe import probe_picture, probe_values

SAME = 1e-4  # largest difference of a unit feature that batches and threads may make
ALIKE = 0.9999  # cosine above which two quite different pictures are not told apart


def features_finding(recogniser: Recogniser) -> Finding:
    """Ask for one feature; where the network refuses the card's size, name the sizes that it takes."""
    card = recogniser.card
    try:
        probe_values(recogniser=recogniser, card=card)
    except AvihError as error:
        others = [one.words() for one in templates(recogniser)] if error.exit_code == 2 else []
        tried = f"It does take {'; or '.join(others)}." if others else ""
        return refused("features", error, tried)
    except Exception as error:  # the owner's code, or a program, may fail in any way
        return _stopped("features", error)
    return ok("features", f"{card.feature_size} values from {card.template} pictures, all finite")


def behaviour_findings(recogniser: Recogniser) -> list[Finding]:
    """Answer the questions that need a network that gives features."""
    pictures = _pictures(recogniser.card)
    found = []
    for question in (_gradient, _deterministic, _alone, _tells_apart):
        try:
            found.append(question(recogniser, pictures))
        except Exception as error:
            found.append(_stopped(question.__name__.strip("_").replace("_", " "), error))
    return found


def _pictures(card: RecogniserCard) -> Tensor:
    sides = {"height": card.input_height, "width": card.input_width}
    return torch.cat([probe_picture(**sides, step=step) for step in (1, 3, 6)])


def _gradient(recogniser: Recogniser, pictures: Tensor) -> Finding:
    asked = pictures.clone().requires_grad_(True)
    features = recogniser(asked)
    do = (
        "Protection moves pictures by the gradient: take torch.no_grad(), detach() and rounding out of the "
        "network, or export it again without them."
    )
    if not features.requires_grad:
        return wrong("gradient", "no gradient reaches the picture", do)
    features[:, ::2].sum().backward()
    grad = asked.grad
    if grad is None or not torch.isfinite(grad).all() or bool((grad.flatten(1).abs().amax(dim=1) == 0).any()):
        return wrong("gradient", "the gradient of a picture is zero or not finite", do)
    return ok("gradient", "reaches the picture")


def _deterministic(recogniser: Recogniser, pictures: Tensor) -> Finding:
    with torch.no_grad():
        difference = float((recogniser(pictures) - recogniser(pictures)).abs().max())
    if difference > SAME:
        return wrong(
            "deterministic", f"the same picture gives another feature each time (by {difference:.3g})",
            "Dropout or random numbers run in the network: call eval() before it is exported, and draw nothing "
            "in forward().",
        )  # fmt: skip
    return ok("deterministic", "the same picture gives the same feature")


def _alone(recogniser: Recogniser, pictures: Tensor) -> Finding:
    with torch.no_grad():
        together = recogniser(pictures)
        alone = torch.cat([recogniser(picture[None]) for picture in pictures])
    difference = float((together - alone).abs().max())
    if difference > SAME:
        layers = recogniser.network.named_modules()
        norms = [
            name for name, layer in layers if isinstance(layer, _BatchNorm) and layer.running_mean is None
        ]
        named = f" ({norms[0]} has no running mean)" if norms else ""
        return wrong(
            "batch", f"a feature depends on the other pictures of its batch (by {difference:.3g})",
            f"The network uses the statistics of the batch{named}, as in training: call eval() before it is "
            "exported, and give batch norm its running statistics.",
        )  # fmt: skip
    return ok("batch", "a feature does not depend on the other pictures of its batch")


def _tells_apart(recogniser: Recogniser, pictures: Tensor) -> Finding:
    with torch.no_grad():
        features = recogniser(pictures)
    cosine = float((features[0] * features[1]).sum())
    if cosine > ALIKE:
        return warning(
            "contrast", f"two quite different pictures have features of cosine {cosine:.5f}",
            "The value range may be wrong (see probe and --photos), or the weights untrained.",
        )  # fmt: skip
    return ok("contrast", f"two different pictures differ (cosine {cosine:.2f})")


def stable_finding(first: Recogniser, second: Recogniser) -> Finding:
    """Compare two builds of a network that brings its own weights: they may be drawn anew each time."""
    if first.fingerprint != second.fingerprint:
        return wrong(
            "weights", "the factory returns other weights each time it is called: they are drawn, not loaded",
            "Name a weights file in the card, or load the weights in the factory.", kind=IntegrityError,
        )  # fmt: skip
    return ok("weights", "come with the factory, the same at every call")


def _stopped(what: str, error: Exception) -> Finding:
    """The network itself stopped."""
    last = (str(error).strip().splitlines() or [""])[-1].strip()
    return wrong(
        what, f"the network stopped with {type(error).__name__}: {last}", "Correct the network's forward()."
    )
