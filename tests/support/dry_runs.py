"""Dry runs of many commands in one process of its own, and everything that must not have changed afterwards."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from command import PASSPHRASE, ROOT

_CODE = """
import json, sys
from typer.testing import CliRunner
from avih.keys import sealing
object.__setattr__(sealing.DEFAULT_COST, "log2_n", 14)
from flows.cli import complete_app
app, told = complete_app(), []
for arguments in json.loads(sys.argv[1]):
    result = CliRunner().invoke(app, arguments)
    told.append([result.exit_code, result.stdout, result.stderr])
print(json.dumps({"told": told, "loaded": [name for name in ("prefect", "mlflow") if name in sys.modules]}))
"""


def tree(*roots: Path) -> dict[str, str]:
    """Every file and folder below some, with mode and content, locks and all."""
    found = {}
    for root in roots:
        for path in [root, *sorted(root.rglob("*"))]:
            content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
            found[str(path)] = f"{path.lstat().st_mode:o} {content}"
    return found


def dry_runs(commands: list[list[str]], *, cwd: Path, home: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """Run commands; return of each exit code, output and object; and which packages were loaded."""
    known = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "AVIH_"))}
    environment = known | {"PYTHONPATH": str(ROOT), "HOME": str(home), "AVIH_PASSPHRASE": PASSPHRASE}
    # Matplotlib keeps a list of the machine's fonts for whoever imports it.
    environment["MPLCONFIGDIR"] = os.environ.get("MPLCONFIGDIR") or str(Path.home() / ".cache" / "matplotlib")
    done = subprocess.run(
        [sys.executable, "-B", "-c", _CODE, json.dumps(commands)], capture_output=True, text=True, cwd=cwd,
        env=environment, stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    told = []
    for code, out, err in found["told"]:
        facts = json.loads(out) if out.startswith("{") else {}
        told.append(facts | {"exit_code": code, "said": out + err})
    return told, found["loaded"]
