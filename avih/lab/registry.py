"""The attacks that there are, in the order of their numbers. A new one is one module, one name here, one test."""

import importlib
from collections.abc import Sequence
from typing import Final

from avih.errors import UsageError
from avih.lab.attack import Attack

NAMES: Final = (
    "same_key_network",
    "cross_key_network",
    "zero_leak",
    "external_keys",
    "seed_guessing",
    "many_versions",
    "veils",
    "flips",
    "classical",
    "recogniser_side",
    "gradient",
    "keyed_mixing",
    "robustness",
)


def attacks(names: Sequence[str] = ()) -> tuple[Attack, ...]:
    """Return the attacks of these names, in their order; none: all.

    Raises:
        UsageError: there is no such attack.
    """
    unknown = sorted(set(names) - set(NAMES))
    if unknown:
        raise UsageError(f"Expected attacks among {', '.join(NAMES)}, got {', '.join(unknown)}.")
    return tuple(_attack(name) for name in NAMES if not names or name in names)


def _attack(name: str) -> Attack:
    module = importlib.import_module(f"avih.lab.attacks.{name}")
    return Attack(module.FACTS, module.run)
