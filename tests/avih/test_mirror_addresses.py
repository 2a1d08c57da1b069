"""Addresses of stores: what is taken, what is refused, and that nothing secret is repeated."""

import pytest

from avih.errors import StoreUnreachable, UsageError
from avih.naming import Store


@pytest.mark.parametrize(
    ("address", "what"),
    [
        ("s3://user:word@bucket/x", "credentials"),
        ("s3://bucket/x?token=word", "credentials"),
        ("https://word.example/x", "https://"),
        ("ftp://host/word", "ftp://"),
        ("zip::s3://bucket/word", "zip::s3"),
        ("s3://bucket/../word", "dotted"),
        ("s3://bucket//word", "empty"),
        ("s3://", "empty"),
    ],
)
def test_an_address_that_cannot_be_right_is_refused_and_not_repeated(address, what):
    with pytest.raises(UsageError, match=what) as refused:
        Store.find(address)
    assert "word" not in str(refused.value)


def test_a_bucket_that_is_not_there_and_a_line_that_is_cut_are_named(shared):
    shared.find("a")
    with pytest.raises(UsageError, match="Expected a bucket elsewhere, got none"):
        Store.open("s3://elsewhere/x")
    shared.line.cut()
    with pytest.raises(StoreUnreachable, match="in 3 tries"):
        shared.open("a")
