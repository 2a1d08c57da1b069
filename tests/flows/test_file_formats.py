"""What the pages in ``data/`` say of files and columns is what a run writes."""

import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from command import ROOT

STAGES = {"1_index": "photos.parquet", "2_aligned": "[0-9]*.parquet", "4_protected": "[0-9]*.parquet",
          "5_evaluated": "[0-9]*.parquet"}  # fmt: skip


def columns_of(page: str) -> set[str]:
    """Names in the first cell of each row of the tables whose head is ``column``."""
    tables = re.findall(r"^\| column \|.*\n\|[-| ]+\n((?:\|.*\n)+)", page, flags=re.MULTILINE)
    cells = [row.split("|")[1] for table in tables for row in table.splitlines()]
    return {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}


@pytest.mark.parametrize("stage", STAGES)
def test_every_column_is_on_its_page_and_every_column_of_the_page_is_written(made, stage: str) -> None:
    described = columns_of((ROOT / "data" / stage / "README.md").read_text(encoding="utf-8"))
    files = list((Path(made.store) / stage).rglob(STAGES[stage]))
    written = {name for file in files for name in pq.read_schema(file).names}

    assert written == described


def test_index_and_run_record_are_their_owners_alone(made) -> None:
    folder = Path(made.store) / "1_index" / "people" / "v0001"
    modes = {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir() if path.is_file()}
    assert modes == {"photos.parquet": 0o600, "run.json": 0o600}
