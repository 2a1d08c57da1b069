"""The probe: a picture made by arithmetic, and the check that a recogniser gives the right feature for it.

The picture differs in every channel and along both axes, so swapped colours, another value range or other
weights change the feature by far more than the tolerance. Its values are whole 8-bit steps: saved as a PNG it
can be given to the publisher's own program, which is the independent way to fill in a card.
"""

import math

import torch
from torch import Tensor, nn

from avih.errors import IntegrityError, UsageError
from avih.recognisers.card import RecogniserCard


def probe_picture(*, height: int, width: int, step: int = 2) -> Tensor:
    r"""Make the ``waves`` picture.

    With u, v in (0, 1) from top to bottom and from left to right, and s the number of waves:
    red   = 0.5 + 0.3 sin(2 pi s u) + 0.2 (2u - 1),
    green = 0.5 + 0.3 sin(2 pi (s + 1) v) + 0.2 (2v - 1),
    blue  = 0.5 + 0.3 sin(2 pi (s + 2) (u + v) / 2) + 0.2 (1 - u - v), each rounded to the nearest k / 255.

    Shape:
        - returns: ``(1, 3, height, width)``, RGB, float32 in ``[0, 1]``.
    """
    rows = (torch.arange(height, dtype=torch.float64) + 0.5) / height
    columns = (torch.arange(width, dtype=torch.float64) + 0.5) / width
    u, v = torch.meshgrid(rows, columns, indexing="ij")
    red = 0.3 * torch.sin(2 * math.pi * step * u) + 0.2 * (2 * u - 1)
    green = 0.3 * torch.sin(2 * math.pi * (step + 1) * v) + 0.2 * (2 * v - 1)
    blue = 0.3 * torch.sin(math.pi * (step + 2) * (u + v)) + 0.2 * (1 - u - v)
    levels = torch.round((0.5 + torch.stack([red, green, blue])) * 255)
    return (levels / 255).float()[None]


def probe_values(*, recogniser: nn.Module, card: RecogniserCard, step: int = 2) -> list[float]:
    """Compute the unit-norm feature of the probe picture, for instance to write the probe of a new card.

    Raises:
        UsageError: the architecture does not take the card's input, or gives features of another size.
        IntegrityError: the feature is not finite.
    """
    picture = probe_picture(height=card.input_height, width=card.input_width, step=step)
    try:
        with torch.no_grad(), torch.autocast(device_type="cpu", enabled=False):
            feature = recogniser(picture)[0]
    except RuntimeError as error:  # a layer that cannot take maps of this size
        raise UsageError(
            f"The architecture {card.architecture} cannot take {card.input_height}x{card.input_width} input "
            f"({_last_line(error)}): correct input_height, input_width and template in the card."
        ) from error
    if feature.shape != (card.feature_size,):
        raise UsageError(
            f"Expected features of size {card.feature_size} from {card.name}, got {tuple(feature.shape)}: "
            "correct feature_size in the card."
        )
    if not torch.isfinite(feature).all():
        raise IntegrityError(
            f"The weights of {card.name} give features that are not finite: fetch them again."
        )
    return [float(value) for value in feature]


def probe_difference(*, recogniser: nn.Module, card: RecogniserCard) -> float:
    """Return the largest difference from the card's expected feature; 0 for a card without a probe.

    Raises:
        UsageError, IntegrityError: as :func:`probe_values`.
    """
    step = card.probe.step if card.probe else 2
    got = probe_values(recogniser=recogniser, card=card, step=step)
    expected = card.probe.expected if card.probe else ()
    return max((abs(a - b) for a, b in zip(got, expected, strict=False)), default=0.0)


def check_probe(*, recogniser: nn.Module, card: RecogniserCard) -> None:
    """Stop the run where the recogniser does not give the card's expected feature.

    Raises:
        IntegrityError: some value differs by more than the probe's tolerance, or is not finite.
        UsageError: the feature has not the size that the card names.
    """
    difference = probe_difference(recogniser=recogniser, card=card)
    if card.probe is None or difference <= card.probe.tolerance:
        return
    got = probe_values(recogniser=recogniser, card=card, step=card.probe.step)
    shown = len(card.probe.expected[:4])
    raise IntegrityError(
        f"The recogniser {card.name} does not give the feature that its card expects for the probe picture: "
        f"largest difference {difference:.4f}, allowed {card.probe.tolerance:g}; "
        f"expected {_rounded(card.probe.expected[:shown])}…, got {_rounded(got[:shown])}…. "
        f"Wrong may be: the colour order (card: {card.colour_order}), the value range (card: mean "
        f"{card.mean}, std {card.std} on 0 to 255), or the weights (another training). "
        "avih recognisers check tries the others. Correct the card, or use the weights it was written for."
    )


def _last_line(error: RuntimeError) -> str:
    """Return what an error says at its end: TorchScript prints its whole program before."""
    return str(error).strip().splitlines()[-1].strip() if str(error).strip() else type(error).__name__


def _rounded(values: tuple[float, ...] | list[float]) -> list[float]:
    return [round(value, 4) for value in values]
