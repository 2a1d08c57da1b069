"""``avih reproduce``: the tables and figures of the papers, beside ours."""

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.dry import nothing_changed
from flows.cli.main import app
from flows.cli.options import DebugOption, DryRunOption, JsonOption, StoreOption
from flows.cli.output import clean_stdout, console, err, explained, print_json, progress_bars

if TYPE_CHECKING:
    from avih.naming import Store
    from avih.reproduction.context import Profile
    from avih.reproduction.report import Reported

LFW, ORL, WEIGHTS = "data/lfw-gray", "data/orl", "models/mobilefacenet_arcface.safetensors"


class Told(logging.Handler):
    """Shows what an experiment says of itself on standard error: a table may take an hour."""

    def emit(self, record: logging.LogRecord) -> None:
        """Show one line."""
        err.print(record.getMessage(), markup=False, soft_wrap=True)


@app.command()
def reproduce(
    tables: Annotated[
        list[str] | None, typer.Argument(help="Such as avih-table-1 or veils-figure-4; without any, all.")
    ] = None,
    profile: Annotated[
        str, typer.Option(help="smoke (minutes, drawn faces), cpu (hours on two cores), full (GPU).")
    ] = "smoke",
    real: Annotated[
        Path | None,
        typer.Option("--real-data", envvar="AVIH_REAL_DATA",
                     help=f"Folder that holds {LFW}, {ORL} and {WEIGHTS}, or some of them."),
    ] = None,
    lfw: Annotated[Path | None, typer.Option(help="LFW, or a substitute in its layout.")] = None,
    orl: Annotated[Path | None, typer.Option(help="ORL.")] = None,
    weights: Annotated[Path | None, typer.Option(help="MobileFaceNet's weights.")] = None,
    imagenet: Annotated[Path | None, typer.Option(help="ImageNet pictures by class.")] = None,
    store: StoreOption = None,
    report: Annotated[Path | None, typer.Option(help="Write the page of all tables to this file.")] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Make tables again that are there; kept measurements serve.")
    ] = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:  # fmt: skip
    """Run the papers' experiments and show their figures beside ours. Stopped, it goes on where it was.

    Example: avih reproduce --profile cpu --real-data /srv/faces --report docs/reproduction.md
    """
    from avih.naming import Store

    with explained(debug):
        place = Store.open(store)
        from avih.errors import UsageError
        from avih.reproduction.context import PROFILES
        from avih.reproduction.registry import chosen

        sizes = next((known for known in PROFILES if known == profile), None)
        if sizes is None:
            raise UsageError(f"Expected a profile of {', '.join(PROFILES)}, got {profile!r}.")
        chosen(tuple(tables or ()))
        data = {
            "lfw": _path(lfw, real, LFW),
            "orl": _path(orl, real, ORL),
            "mobilefacenet": _path(weights, real, WEIGHTS),
            "imagenet": _path(imagenet, None, ""),
        }
        if dry_run:
            from tasks.reproduce import what_would_run

            would = what_would_run(store=place, profile=sizes, names=tuple(tables or ()), again=again)
            facts = {"profile": profile, "data": data, "tables": would} if as_json else {**data, **would}
            nothing_changed(f"reproduction, profile {profile}", facts, as_json)
            return
        results = _run(place, sizes, tables, data, again, report)
        if as_json:
            from avih.reproduction.report import as_json as results_as_json

            print_json(results_as_json(results))
        else:
            _show(results, tables)


def _run(
    place: "Store", profile: "Profile", tables: list[str] | None, data: dict[str, str | None], again: bool,
    report: Path | None,
) -> "list[Reported]":  # fmt: skip
    """Call the flow, then read what there is and write the page, even if a table failed."""
    # Before the flows are imported, which fixes where Prefect keeps its state.
    os.environ["AVIH_STORE"] = place.address
    for name in ("PREFECT_LOGGING_LEVEL", "PREFECT_SERVER_LOGGING_LEVEL"):
        os.environ.setdefault(name, "CRITICAL")
    from avih.reproduction.report import write_report
    from flows.reproduce import reproduce as flow
    from tasks.reproduce import Data, read_results

    told = logging.getLogger("tasks.reproduce")
    told.setLevel(logging.INFO)
    told.addHandler(Told())
    told.propagate = False  # Prefect would show each line again
    try:
        with clean_stdout(), progress_bars():
            flow(
                store=place.address,
                profile=profile,
                tables=tables,
                data=Data.model_validate(data),
                again=again,
            )
    finally:
        results = read_results(place, profile)
        if report:
            write_report(results, profile=profile, path=report)
            err.print(f"written: {report}")
    return results


def _path(given: Path | None, folder: Path | None, inside: str) -> str | None:
    """Return the path that was given, or the one inside the folder of real data if it is there."""
    from avih.errors import UsageError

    if given is not None:
        if not given.exists():
            raise UsageError(f"Expected data at {given}, got nothing. Check the path.")
        return str(given.absolute())
    found = folder / inside if folder else None
    return str(found.absolute()) if found and found.exists() else None


def _show(results: "list[Reported]", tables: list[str] | None) -> None:
    """Show the tables that were asked for, one after another."""
    from rich.table import Table

    from avih.reproduction.report import figure_text

    shown_on = console()
    for one in results:
        if tables and one.experiment.name not in tables:
            continue
        found = one.outcome
        title = f"{one.experiment.name}: {one.experiment.title} ({found.mark})"
        shown = Table(title=title, title_justify="left", caption=found.missing, caption_justify="left")
        for column in ("row", "metric", "paper", "here", "n"):
            shown.add_column(column)
        for row in found.rows:
            shown.add_row(
                row.label, row.metric, figure_text(row.paper), figure_text(row.ours), str(row.n or "")
            )
        shown_on.print(shown)
        for finding in found.findings:
            shown_on.print(f"- {finding}", markup=False)
