"""Veiled photos seen by another recogniser than the one they were crafted for (002, Figure 4)."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from avih.reproduction.context import Context
from avih.reproduction.outcome import NotRun
from avih.reproduction.second.recogniser import second_recogniser
from avih.reproduction.veils.features import Recognise, Unit, match_rates, unit_features
from avih.reproduction.veils.measured import ByPerson, wearing
from avih.reproduction.veils.sets import Kind, VeilSets, veil_sets


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
    """Return the second recogniser, or none if it cannot be made here."""
    try:
        recognise = second_recogniser(context)
    except NotRun:
        return None
    return Second(recognise, veil_sets(context), recognise.name, recognise.fingerprint)


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
