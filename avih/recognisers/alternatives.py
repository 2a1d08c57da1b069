"""What else a card might say: the other colour order, the usual value ranges, other templates."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch

from avih.errors import AvihError
from avih.recognisers.card import RecogniserCard
from avih.recognisers.load import Recogniser
from avih.recognisers.probe import probe_values

# (mean, std) in units of 0 to 255, and how their users call them.
RANGES: Final[tuple[tuple[str, Any, Any], ...]] = (
    ("range 0 to 1", 0.0, 255.0),
    ("range 0 to 255", 0.0, 1.0),
    ("range -1 to 1", 127.5, 127.5),
    ("range -1 to 1 (128)", 127.5, 128.0),
    ("range -0.5 to 0.5", 127.5, 255.0),
    ("ImageNet's range", (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
)
TEMPLATES_TRIED: Final = ("112x112", "112x96", "64x64", "96x96", "128x128", "160x160", "224x224")


@dataclass(frozen=True)
class Alternative:
    """Another reading of a card.

    Attributes:
        name: for people.
        changes: fields with their other values.
    """

    name: str
    changes: Mapping[str, Any]

    def of(self, recogniser: Recogniser) -> Recogniser:
        """Return the same network behind the altered card."""
        card = recogniser.card.model_copy(update=dict(self.changes))
        return Recogniser(card=card, network=recogniser.network, fingerprint=recogniser.fingerprint)

    def words(self) -> str:
        """Return the lines as the card would have them: ``colour_order = "BGR"``."""
        return ", ".join(f"{name} = {_toml(value)}" for name, value in self.changes.items())


def swapped(card: RecogniserCard) -> Alternative:
    """Return the other colour order."""
    order = "BGR" if card.colour_order == "RGB" else "RGB"
    return Alternative("colours swapped", {"colour_order": order})


def ranges(card: RecogniserCard) -> list[Alternative]:
    """Return the usual ranges but the card's own; three numbers are for RGB and turned round for BGR."""
    found = []
    for name, mean, std in RANGES:
        if card.colour_order == "BGR" and isinstance(mean, tuple):
            mean, std = mean[::-1], std[::-1]
        changes = {"mean": mean} if mean != card.mean else {}
        changes |= {"std": std} if std != card.std else {}
        if changes:
            found.append(Alternative(name, changes))
    return found


def templates(recogniser: Recogniser, tried: Sequence[str] = TEMPLATES_TRIED) -> list[Alternative]:
    """Return the other templates whose size the network takes and answers with the card's feature size."""
    card, found = recogniser.card, []
    for name in tried:
        height, width = map(int, name.split("x"))
        changes = {"template": name, "input_height": height, "input_width": width}
        one = Alternative(f"template {name}", changes)
        if name != card.template and _takes(one.of(recogniser)):
            found.append(one)
    return found


def combined(recogniser: Recogniser) -> Iterator[Alternative]:
    """Yield every colour order with every range, at the card's template first and then at the others."""
    card = recogniser.card
    for place in [Alternative("", {}), *templates(recogniser)]:
        for order in (Alternative("", {}), swapped(card)):
            seen = card.model_copy(update=dict(order.changes))
            for scale in [Alternative("", {}), *ranges(seen)]:
                changes = {**place.changes, **order.changes, **scale.changes}
                if changes:
                    yield Alternative("", changes)


def _takes(recogniser: Recogniser) -> bool:
    try:
        with torch.no_grad():
            probe_values(recogniser=recogniser, card=recogniser.card)
    except AvihError:
        return False
    return True


def _toml(value: object) -> str:
    if isinstance(value, str):
        return f'"{value}"'
    return f"[{', '.join(map(str, value))}]" if isinstance(value, tuple) else str(value)
