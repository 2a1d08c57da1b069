"""Reference of the store's files: the pages that lie beside them, on one page."""

import re
from pathlib import Path

DATA = Path(__file__).resolve().parents[2] / "data"
INTRODUCTION = """# Files and columns

The store has one folder per stage, in the order of the data's way. Everything is a standard format: tar
(WebDataset), Parquet, JSON, PNG; how files are sealed is said below. From the pages in `data/`, which tests
compare with what is written.

"""


def files_page() -> str:
    """Return the page: the README of every stage, one heading lower."""
    pages = (path.read_text(encoding="utf-8") for path in sorted(DATA.glob("[0-9]_*/README.md")))
    return INTRODUCTION + "\n".join(re.sub(r"^#", "##", page, flags=re.MULTILINE) for page in pages)
