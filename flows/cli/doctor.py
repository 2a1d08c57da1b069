"""``avih doctor``: what is wrong around a store, what to do, and, if asked, doing it."""

import os
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.main import SOME_FAILED, app
from flows.cli.options import DebugOption, DryRunOption, JsonOption, StoreOption
from flows.cli.output import clean_stdout, console, explained, print_json

if TYPE_CHECKING:
    from flows.doctor.finding import Finding

COLOURS = {"fine": "green", "mended": "cyan", "to do": "bold red", "not known": "yellow"}


@app.command()
def doctor(
    repair: Annotated[
        bool, typer.Option("--repair", help="Mend what can be mended: runs without a process, files, modes.")
    ] = False,
    dry_run: DryRunOption = False,
    store: StoreOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Look for what keeps jobs from running: passphrase, packages, locks, leftovers, servers, workers, schedules.

    Without --repair, or with --dry-run, nothing is changed, but for ending temporary Prefect servers that a
    killed process left behind. Exit code 0 if nothing is to do, 1 if something is.

    Example: avih doctor --store /srv/avih --repair
    """
    from avih.naming import Store

    with explained(debug):
        from avih.errors import UsageError

        place = Store.open(store)
        if not place.root.is_dir():
            raise UsageError(f"Expected a store at {place.address}, got none. Name another with --store.")
        # Before Prefect is imported, which fixes where it keeps its state; a store without that folder gets none.
        os.environ["AVIH_STORE"] = place.address
        for name in ("PREFECT_LOGGING_LEVEL", "PREFECT_SERVER_LOGGING_LEVEL"):
            os.environ.setdefault(name, "CRITICAL")
        with clean_stdout(), TemporaryDirectory() as home:
            if not place.prefect.is_dir():
                os.environ.setdefault("PREFECT_HOME", home)
            from flows.doctor.examine import examine

            found = examine(place, repair=repair and not dry_run)
        left = [one for one in found if one.state == "to do"]
        if as_json:
            lines = [one.model_dump() for one in found]
            repaired = repair and not dry_run
            print_json({"store": place.address, "ok": not left, "repaired": repaired, "checks": lines})
        else:
            _show(found)
    if left:
        raise typer.Exit(SOME_FAILED)


def _show(found: "list[Finding]") -> None:
    from rich.markup import escape
    from rich.table import Table

    shown = Table("what", "state", "found", "what to do", show_lines=False)
    for one in found:
        colour = COLOURS[one.state]
        shown.add_row(escape(one.what), f"[{colour}]{one.state}[/]", escape(one.found), escape(one.to_do))
    console().print(shown)
