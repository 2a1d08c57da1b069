"""Service models: face recognisers that must keep working on protected images, and are never modified.

``load_recogniser`` reads a card, fetches or opens the weights, checks them, and proves by the card's probe
that colour order, value range and weights belong together.
"""

from avih.recognisers.card import Probe, RecogniserCard, bundled_cards, read_card
from avih.recognisers.load import Recogniser, load_recogniser
from avih.recognisers.probe import probe_picture, probe_values

__all__ = [
    "Probe",
    "Recogniser",
    "RecogniserCard",
    "bundled_cards",
    "load_recogniser",
    "probe_picture",
    "probe_values",
    "read_card",
]
