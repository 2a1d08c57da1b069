"""Veiled photos seen by another recogniser than the one they were crafted for (002, Figure 4)."""

import importlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from avih.reproduction.context import Context
from avih.reproduction.outcome import NotRun
from avih.reproduction.veils.features import Recognise, Unit, match_rates, unit_features
from avih.reproduction.veils.measured import ByPerson, wearing
from avih.reproduction.veils.sets import Kind, VeilSets, veil_sets

MODULE = "avih.reproduction.second.recogniser"


@dataclass(eq=False)
class Second:
    """Another recogniser and the strangers as it sees them.

    Attributes:
        name: for the tables.
        identity: names its weights.
    """

    recognise: Recognise
    sets: VeilSets
    name: str
    identity: str

    @cached_property
    def gallery(self) -> Unit:
        """Features of the strangers in the gallery, ``(s, d)``."""
        return unit_features(self.sets.strangers[1], self.recognise)


def second_of(context: Context) -> Second | None:
    """Return the second recogniser, or none if there is no module for it or it cannot be made here."""
    try:
        module = importlib.import_module(MODULE)
        recognise: Recognise = module.second_recogniser(context)
    except (ModuleNotFoundError, NotRun) as error:
        if isinstance(error, ModuleNotFoundError) and error.name != MODULE:
            raise
        return None
    name = str(getattr(recognise, "name", "second recogniser"))
    return Second(recognise, veil_sets(context), name, str(getattr(recognise, "fingerprint", name)))


def measured_by(sets: VeilSets, second: Second, *, kind: Kind | None) -> ByPerson:
    """Return how often each photo, veiled or (without a kind) bare, is matched by the second recogniser."""
    found = {}
    for name in sets.names:

        def compute(name: str = name) -> dict[str, Any]:
            return _matched(sets, second, name, kind)

        found[name] = sets.remember("second", name, compute, kind=kind, second=second.identity)
    return found


def _matched(sets: VeilSets, second: Second, name: str, kind: Kind | None) -> dict[str, Any]:
    person = sets.person(name)
    bare = unit_features(person.photos, second.recognise)
    found: dict[str, Any] = {"crafting": person.crafting}
    if kind is None:
        return found | {"matched": match_rates(bare, bare, second.gallery, same=True)}
    worn = sets.worn(name, kind)
    placed = unit_features(worn.stored, second.recognise)
    strangers = wearing(sets, worn, second.recognise)
    return found | {
        "matched": match_rates(placed, bare, second.gallery, same=True),
        "strangers": match_rates(strangers, bare, second.gallery, same=False),
    }
