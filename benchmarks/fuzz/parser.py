"""What a parser is here, and how bytes are given to one: as a file of a small store, as a file alone, as text."""

import atexit
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from avih.errors import AvihError
from avih.naming import Store
from benchmarks.bad_inputs.small_store import key_id, store_files, write_store

Parse = Callable[[bytes], Any]


@dataclass(frozen=True)
class Parser:
    """One parser.

    Attributes:
        examples: gives sound inputs.
        parse: reads bytes, or raises one of ``errors``.
        again: reads once more what is written of a value; it must be the same.
        slow: it takes milliseconds, so that tests try fewer inputs.
    """

    name: str
    examples: Callable[[], list[bytes]]
    parse: Parse
    again: Callable[[Any], Any] | None = None
    errors: tuple[type[Exception], ...] = (AvihError,)
    slow: bool = False


def check(parser: Parser, data: bytes) -> bool:
    """Give bytes to a parser; tell whether it took them.

    Raises:
        AssertionError: what it read is not what is read again, or a file was made, or an error says nothing.
        Exception: whatever else it raises.
    """
    before = _files()
    try:
        value = parser.parse(data)
    except parser.errors as error:
        assert str(error).strip(), f"{type(error).__name__} without a word"
        taken = False
    else:
        taken = True
        if parser.again is not None:
            again = parser.again(value)
            assert again == value, f"read {value!r}, and again {again!r}"
    assert _files() == before, "a file was made or removed"
    return taken


@cache
def workbench() -> Store:
    """Return a small store on the disk, whose files are read in place of others."""
    folder = tempfile.TemporaryDirectory(prefix="avih-fuzz-")
    atexit.register(folder.cleanup)
    return write_store(Path(folder.name) / "store")


def _files() -> list[str]:
    return sorted(str(path) for path in workbench().root.parent.rglob("*") if path.name != ".lock")


def name_of(end: str) -> str:
    """Return the path in the store of the one file whose path ends like this."""
    (name,) = [name for name in store_files() if name.endswith(end.replace("KEY", key_id()))]
    return name


def stored(end: str) -> Callable[[], list[bytes]]:
    """Return what gives the sound file of the store whose path ends like this."""
    return lambda: [store_files()[name_of(end)]]


def in_store(end: str, read: Callable[[Store], Any]) -> Parse:
    """Return a parser of a file of the store: the bytes take its place while it is read."""

    def parse(data: bytes) -> Any:
        path = workbench().root / name_of(end)
        path.write_bytes(data)
        try:
            return read(workbench())
        finally:
            path.write_bytes(store_files()[name_of(end)])

    return parse


def in_file(name: str, read: Callable[[Path], Any]) -> Parse:
    """Return a parser of a file in a folder of its own."""

    def parse(data: bytes) -> Any:
        with tempfile.TemporaryDirectory(dir=workbench().root.parent) as folder:
            path = Path(folder) / name
            path.write_bytes(data)
            return read(path)

    return parse


def text(read: Callable[[str], Any]) -> Parse:
    """Return a parser of text, as the system gives names that may be anything."""
    return lambda data: read(data.decode("utf-8", "surrogateescape"))


def same_record(value: Any) -> Any:
    """Read a record once more from its plain values."""
    return type(value).model_validate(value.model_dump(mode="json"))
