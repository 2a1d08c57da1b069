"""The methods that there are. A new one is one module with ``FACTS``, one line here and one test file."""

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from avih.errors import UsageError
from avih.methods.facts import MethodFacts

if TYPE_CHECKING:  # the modules need torch, and naming the methods does not
    from avih.methods.pipeline import Pipeline

# Name -> how it is used. One that runs has a ``PIPELINE`` in its module beside its ``FACTS``.
LIBRARY: Final = "Python only"
METHODS: Final[Mapping[str, str]] = {
    "avih": "avih run",
    "avih_classifier": LIBRARY,  # its service model is a classifier, and shards carry no classes
    "person_veil": "avih run --method person_veil",
    "v_uap": "avih run --method v_uap",
    "veil_privacy": "avih run --method veil_privacy",
    "lie": "avih run --method lie",
    "itp": LIBRARY,  # trains a network per gallery with a classifier, and nothing comes back
}


def facts_of(name: str) -> MethodFacts:
    """Return what a method says of itself; its module is ``avih.methods.<name>``.

    Raises:
        UsageError: there is no such method.
    """
    if name not in METHODS:
        raise UsageError(f"Expected one of the methods {', '.join(METHODS)}, got {name!r}.")
    facts: MethodFacts = importlib.import_module(f"avih.methods.{name}").FACTS
    return facts


def pipeline_of(name: str) -> "Pipeline":
    """Return how galleries run through a method.

    Raises:
        UsageError: there is no such method, or it is used from Python only.
    """
    if METHODS.get(name, LIBRARY) == LIBRARY:
        running = ", ".join(method for method, use in METHODS.items() if use != LIBRARY)
        what = "which is used from Python only" if name in METHODS else "which does not exist"
        raise UsageError(
            f"Expected a method of avih run ({running}), got {name!r}, {what}. See: avih methods"
        )
    pipeline: Pipeline = importlib.import_module(f"avih.methods.{name}").PIPELINE
    return pipeline
