"""Reading JSON that may be anything: our own form comes back, all else is a ValueError."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avih.atomic import json_bytes
from avih.json_text import read_json

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=("Cs",))),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=("Cs",))), inner),
    max_leaves=8,
)  # fmt: skip


@given(content=PLAIN)
def test_what_we_write_comes_back(content):
    assert read_json(json_bytes(content)) == content


@pytest.mark.parametrize(
    "data",
    [
        b"", b"{", b"nothing", b"[" * 100_000, b'{"a":' * 100_000, b'{"a": 1, "a": 2}',
        b'[{"a": {"b": 1, "b": 1}}]',
        b"NaN", b"[Infinity]", b"-Infinity", b'"\\ud800"', b'{"\\udc00": 1}', b'"\xed\xa0\x80"', b'"\xff"',
        '"x"'.encode("utf-16"), b'\xef\xbb\xbf"x"', b"9" * 5000,
    ],
)  # fmt: skip
def test_all_else_is_a_value_error(data):
    with pytest.raises(ValueError):
        read_json(data)


def test_a_pair_of_surrogates_is_a_character():
    assert read_json(b'"\\ud83d\\ude00"') == "\U0001f600"
