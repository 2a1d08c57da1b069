"""The list of methods: every name leads to a method that says what it needs, gives and cannot do."""

from pathlib import Path

import pytest

import avih.methods
from avih.errors import UsageError
from avih.methods.registry import METHODS, facts_of


@pytest.mark.parametrize("name", METHODS)
def test_every_method_speaks_for_itself(name: str) -> None:
    facts = facts_of(name)
    assert facts.name == name
    assert all(text.strip() for text in facts.as_dict().values())
    assert facts.cannot.endswith(".") and facts.needs.endswith(".") and facts.gives.endswith(".")


def test_no_method_is_left_out() -> None:
    modules = {path.stem for path in Path(avih.methods.__path__[0]).glob("*.py")}
    assert modules - {"__init__", "facts", "registry"} == set(METHODS)


def test_an_unknown_method_is_an_error_that_names_those_there_are() -> None:
    with pytest.raises(UsageError, match=r"avih, .*got 'blur'"):
        facts_of("blur")
