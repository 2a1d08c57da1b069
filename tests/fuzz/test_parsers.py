"""Whatever bytes a parser of ours is given, it takes them or raises one of our errors: short runs of each.

Longer ones, guided by coverage: ``python -m benchmarks.fuzz all --seconds 60``.
"""

from random import Random

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from benchmarks.fuzz.mutations import mutate
from benchmarks.fuzz.parser import Parser, check
from benchmarks.fuzz.parsers import PARSERS

INPUTS, SLOW_INPUTS = 80, 20
named = pytest.mark.parametrize("parser", PARSERS.values(), ids=PARSERS.keys())


@named
def test_a_sound_input_is_taken_and_comes_back(parser: Parser) -> None:
    assert [check(parser, example) for example in parser.examples()] == [True] * len(parser.examples())


@named
def test_any_input_is_taken_or_refused_by_name(parser: Parser) -> None:
    examples = parser.examples()

    @settings(
        max_examples=SLOW_INPUTS if parser.slow else INPUTS, deadline=None, database=None, derandomize=True,
        phases=(Phase.generate,), suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(data=st.one_of(st.binary(max_size=200), inputs(examples), inputs(examples), inputs(examples)))
    def try_one(data: bytes) -> None:
        check(parser, data)

    try_one()


def inputs(examples: list[bytes]) -> st.SearchStrategy[bytes]:
    """Sound inputs with a few changes."""
    seeds = st.integers(0, 2**32)
    return st.builds(lambda data, seed: mutate(data, Random(seed)), st.sampled_from(examples), seeds)


def test_the_check_finds_a_bare_error_a_lost_value_and_a_file() -> None:
    def bare(data: bytes) -> object:
        raise KeyError("x")

    with pytest.raises(KeyError):
        check(Parser("x", list, bare), b"")
    with pytest.raises(AssertionError, match="and again"):
        check(Parser("x", list, lambda data: 1, lambda value: 2), b"")

    def leave(data: bytes) -> object:
        from benchmarks.fuzz.parser import workbench

        return (workbench().root / "left").touch()

    with pytest.raises(AssertionError, match="a file was made"):
        check(Parser("x", list, leave), b"")
