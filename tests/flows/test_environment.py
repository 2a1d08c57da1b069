"""Prefect reads its settings when it is imported: ours have to be there before, whichever flow comes first."""

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from command import ROOT

ASKED = """
import flows.run_gallery, json
from prefect.settings import get_current_settings
found = get_current_settings()
print(json.dumps([str(found.home), found.server.ephemeral.startup_timeout_seconds,
                  found.results.default_serializer, found.server.analytics_enabled]))
"""


def test_prefect_takes_our_settings(tmp_path: Path) -> None:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    told = subprocess.run(
        [sys.executable, "-c", ASKED],
        env=clean | {"AVIH_STORE": str(tmp_path)},
        capture_output=True,
        check=True,
    )
    assert json.loads(told.stdout) == [str(tmp_path / "prefect"), 90, "json", False]


def imported(path: Path) -> Iterator[str]:
    """Yield what a module imports at its top, in order."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import):
            yield from (one.name for one in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield str(node.module)


FLOWS = [path for path in sorted((ROOT / "flows").rglob("*.py")) if "flows.environment" in imported(path)]


@pytest.mark.parametrize("path", FLOWS, ids=lambda path: str(path.relative_to(ROOT)))
def test_settings_come_before_prefect(path: Path) -> None:
    first = [name for name in imported(path) if name.partition(".")[0] in ("prefect", "flows", "tasks")]
    assert first[0] == "flows.environment"
