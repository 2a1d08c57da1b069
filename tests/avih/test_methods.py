"""The list of methods: every name leads to a method that says what it needs, gives and cannot do."""

from pathlib import Path

import pytest

import avih.methods
from avih.errors import UsageError
from avih.methods.pipeline import Entry, personal
from avih.methods.registry import LIBRARY, METHODS, facts_of, pipeline_of
from avih.settings import ARCHITECTURE_OF, RunSettings, preset


@pytest.mark.parametrize("name", METHODS)
def test_every_method_speaks_for_itself(name: str) -> None:
    facts = facts_of(name)
    assert facts.name == name
    assert all(text.strip() for text in facts.as_dict().values())
    assert facts.cannot.endswith(".") and facts.needs.endswith(".") and facts.gives.endswith(".")


def test_no_method_is_left_out() -> None:
    modules = {path.stem for path in Path(avih.methods.__path__[0]).glob("*.py")}
    assert modules - {"__init__", "facts", "pipeline", "registry"} == set(METHODS)


@pytest.mark.parametrize("name", [name for name, use in METHODS.items() if use != LIBRARY])
def test_every_method_that_runs_has_a_preset_that_fits_and_survives_json(name: str) -> None:
    pipeline = pipeline_of(name)
    for recovery in pipeline.recoveries:
        made = preset("fast", method=name, recovery=recovery)
        assert (made.protect.method, made.protect.recovery) == (name, recovery)
        assert made.key.architecture == ARCHITECTURE_OF[recovery]
        again = RunSettings.model_validate_json(made.model_dump_json())
        assert again == made and again.digest() == made.digest()
    assert METHODS[name] == ("avih run" if name == "avih" else f"avih run --method {name}")


def test_a_method_that_does_not_run_says_so() -> None:
    for name in ("itp", "blur"):
        with pytest.raises(UsageError, match="person_veil"):
            pipeline_of(name)


def test_rows_are_grouped_by_person_in_the_order_of_their_images() -> None:
    entries = [Entry("b2", "bert", "m2"), Entry("a1", "anna", "m3"), Entry("b1", "bert", "m1")]
    found = {person: [one.image for one in photos] for person, photos in personal(entries).items()}
    assert found == {"anna": ["a1"], "bert": ["b1", "b2"]}


def test_an_unknown_method_is_an_error_that_names_those_there_are() -> None:
    with pytest.raises(UsageError, match=r"avih, .*got 'blur'"):
        facts_of("blur")
