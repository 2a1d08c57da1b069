"""The methods that there are. A new one is one module with ``FACTS``, one line here and one test file."""

import importlib
from collections.abc import Mapping
from typing import Final

from avih.errors import UsageError
from avih.methods.facts import MethodFacts

# Name -> how it is used today. Imported only when somebody asks: the modules need torch.
PIPELINE: Final = "avih run"
LIBRARY: Final = "Python only"
METHODS: Final[Mapping[str, str]] = {
    "avih": PIPELINE,
    "avih_classifier": LIBRARY,
    "person_veil": LIBRARY,
    "v_uap": LIBRARY,
    "veil_privacy": LIBRARY,
    "lie": LIBRARY,
    "itp": LIBRARY,
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
