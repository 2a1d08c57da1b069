"""``avih``: the root of the command line; each module beside this one registers its commands."""

import os
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.layout import Ordered, lay_out

if TYPE_CHECKING:
    from collections.abc import Mapping

    from avih.naming import Store

QUALITY, REFUSED, SOME_FAILED = 4, 3, 1

app = typer.Typer(
    name="avih",
    cls=Ordered,
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    help="Protect galleries of face images: people cannot see the faces, your recogniser still matches them, "
    "and whoever has the key gets the pictures back. A deterrent against viewing, not encryption. "
    "Exit codes: 0 ok, 1 some images failed (run, protect, nightly, rotate) or something outside broke, 2 usage, "
    "3 key or integrity refused, 4 quality below the limits or a failed audit, 130 stopped by Ctrl-C.",
)


def _tell_version(wanted: bool) -> None:
    if wanted:
        from avih import __version__

        print(f"avih {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_tell_version, help="Show the version.")
    ] = False,
) -> None:
    """Hold the options that come before a command."""


def prepare_flows(store: "Store") -> None:
    """Set the environment of Prefect and find the passphrase before anything long begins."""
    from avih.keys import find_passphrase

    # Before the flows are imported, which fixes where Prefect keeps its state.
    os.environ["AVIH_STORE"] = store.address
    for name in ("PREFECT_LOGGING_LEVEL", "PREFECT_SERVER_LOGGING_LEVEL", "PREFECT_INTERNAL_LOGGING_LEVEL"):
        os.environ.setdefault(name, "CRITICAL")  # errors are told by the command line, once
    find_passphrase()


def leave_if_failed(counts: "Mapping[str, int]") -> None:
    """Leave with the exit code of images that failed, if any did."""
    if counts.get("failed", 0):
        raise typer.Exit(SOME_FAILED)


def complete_app() -> typer.Typer:
    """Return the command line with all its commands; each module registers its own."""
    from flows.cli import (  # noqa: F401
        dask,
        datasets,
        doctor,
        drill,
        gallery,
        keys,
        lab,
        methods,
        plan,
        recognisers,
        reproduce,
        rotate,
        run,
        server,
        show,
        stages,
        status,
        verify,
    )

    lay_out(app)
    return app


def main() -> None:
    """Entry point of the ``avih`` command."""
    complete_app()()
