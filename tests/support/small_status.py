"""``avih status`` as tests ask it."""

import json
from pathlib import Path
from types import SimpleNamespace
from uuid import uuid4

from prefect.states import Failed
from typer.testing import CliRunner, Result

from flows.alerts import tell
from flows.cli import status as commands  # noqa: F401  # it registers its command
from flows.cli.main import app
from small_methods import Gallery
from tasks import opened


def call(root: Path, *more: str) -> Result:
    """Run the command."""
    opened.forget()
    return CliRunner().invoke(app, ["status", *more, "--store", str(root)])


def facts(gallery: Gallery) -> dict:
    shown = call(gallery.store.root, "--json")
    assert shown.exit_code == 0, shown.output
    return json.loads(shown.stdout)


def people(gallery: Gallery) -> dict:
    (found,) = facts(gallery)["galleries"]
    return found


def read(gallery: Gallery) -> str:
    """What people see, on one line without the table's borders."""
    shown = call(gallery.store.root)
    assert shown.exit_code == 0, shown.output
    return " ".join(shown.stdout.replace("│", " ").split())


def fail_flow(gallery: Gallery, flow: str, error: str, *, of: str = "people") -> None:
    """Leave the alert that a failing flow leaves."""
    run = SimpleNamespace(id=uuid4(), name="owl", parameters={"gallery": of})
    tell(flow=flow, flow_run=run, state=Failed(message=error), store=gallery.store.root)
