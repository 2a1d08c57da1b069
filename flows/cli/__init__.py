"""The command line: ``avih run``, each stage alone, keys and verification.

Exit codes: 0 ok, 1 some images failed or something outside broke, 2 usage, 3 key or integrity refused, 4 quality
below the limits or a failed audit.
Nothing heavy is imported before a command needs it, so that ``--help`` is quick.
"""

from flows.cli import run as _run  # noqa: F401  # it registers its command
from flows.cli.main import complete_app, main

__all__ = ["complete_app", "main"]
