"""Search every file of a store for words: the proof that somebody is in none of them."""

import tarfile
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from avih.mirror.seam import local
from avih.naming import Store
from tasks.records import Record


class Finding(Record):
    """A file that holds one of the words."""

    file: str
    where: str


def search_store(store: Store, *, words: set[str]) -> tuple[int, tuple[Finding, ...]]:
    """Return how many files were searched, and where a word was found.

    Tables are searched value by value, archives by the names and labels in them, everything else byte by byte.
    Sealed files hold no names; pictures are not looked at.
    """
    needles = [word.encode() for word in sorted(words)]
    searched, found = 0, []
    for path in sorted(p for p in store.root.rglob("*") if p.is_file() and not p.is_symlink()):
        searched += 1
        where = next((where for where, data in _texts(path) if any(n in data for n in needles)), None)
        in_name = any(word in path.name for word in words)
        if where or in_name:
            found.append(Finding(file=str(path.relative_to(store.root)), where=where or "its name"))
    return searched, tuple(found)


def _texts(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the readable parts of a file with a name for each."""
    if path.suffix == ".parquet":
        table = pd.read_parquet(path)
        for name in table.select_dtypes(include=["object", "string"]).columns:
            yield f"column {name}", "\n".join(str(value) for value in table[name]).encode()
    elif path.suffix == ".tar":
        with tarfile.open(local(path)) as tar:
            for member in tar:
                yield "member name", member.name.encode()
                if member.name.endswith(".json"):
                    content = tar.extractfile(member)
                    yield f"member {member.name}", content.read() if content else b""
    else:
        yield "content", path.read_bytes()
