"""Reference of the store's files: the pages that lie beside them, on one page."""

import re
from pathlib import Path
from typing import Final

from docs.manual.links import relinked

ROOT: Final = Path(__file__).resolve().parents[2]
PAGE: Final = "reference/files.md"
INTRODUCTION = """# Files and columns

Everything is a standard format: tar (WebDataset), Parquet, JSON, PNG; how files are sealed is said below. From
the pages in `data/`; tests compare their columns with what is written.

"""


def files_page() -> str:
    """Return the page: what the store is, and the README of every stage, one heading lower."""
    names = ("data/README.md", *sorted(str(p.relative_to(ROOT)) for p in ROOT.glob("data/[0-9]_*/README.md")))
    pages = (relinked((ROOT / name).read_text(encoding="utf-8"), file=name, page=PAGE) for name in names)
    return INTRODUCTION + "\n".join(re.sub(r"^#", "##", page, flags=re.MULTILINE) for page in pages)
