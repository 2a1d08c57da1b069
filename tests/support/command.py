"""The ``avih`` command in a process of its own, as people call it."""

import os
import subprocess
import sys
from pathlib import Path

import avih

ROOT = Path(avih.__file__).parents[1]
PROGRAM = (sys.executable, "-c", "from flows.cli import main; main()")
PASSPHRASE = "correct horse battery staple"


def call(
    *arguments: str, passphrase: str | None = PASSPHRASE, cwd: Path = ROOT, **more: str
) -> subprocess.CompletedProcess[str]:
    """Run a command in an environment with this passphrase alone, and with these variables."""
    environment = {k: v for k, v in os.environ.items() if k not in ("AVIH_PASSPHRASE", "AVIH_KEY_FILE")}
    environment |= {"PYTHONPATH": str(ROOT)} | more
    if passphrase is not None:
        environment["AVIH_PASSPHRASE"] = passphrase
    return subprocess.run(
        [*PROGRAM, *arguments], capture_output=True, text=True, cwd=cwd, env=environment,
        stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip
