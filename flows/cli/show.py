"""``avih show``: a gallery's report, its protected pictures and, for the key's owner, the recovered ones."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.main import app, prepare_flows
from flows.cli.options import DebugOption, GalleryArgument, StoreOption, VersionOption
from flows.cli.output import err, explained

if TYPE_CHECKING:
    from avih.gallery_report.facts import Now
    from avih.naming import Store
    from tasks.run_record import RunRecord
    from tasks.show_gallery import GalleryPages

LEFT_OUT = ("live", "photos", "versions")  # the report says it itself
OF_KEY = ("key", "leak budget")
TIME = re.compile(r"T(\d\d:\d\d):\d\d\+00:00")


@app.command()
def show(
    gallery: GalleryArgument,
    version: VersionOption = None,
    recovered: Annotated[
        bool,
        typer.Option(
            "--recovered", help="Show recovered pictures too, in memory alone; needs the passphrase."
        ),
    ] = False,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port on this machine.", show_default="any that is free")
    ] = 0,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open it in the browser.")] = True,
    out: Annotated[
        Path | None,
        typer.Option(help="Write the report to this file instead; it holds no recovered picture."),
    ] = None,
    store: StoreOption = None,
    debug: DebugOption = False,
) -> None:
    """Open a page of a gallery on this machine alone: counts, figures, plots, every protected picture.

    Nothing is written and nothing leaves the machine. Whoever has the address that is printed may look, until
    Ctrl-C ends it.

    Example: avih show staff --recovered
    """
    with explained(debug):
        from avih.errors import UsageError
        from avih.naming import Store

        if out and recovered:
            raise UsageError(
                "Expected one of --out and --recovered, got both: recovered pictures are never written here. "
                "Use avih recover for files."
            )
        if out and out.is_dir():
            raise UsageError(f"Expected a file for the report, got the folder {out}. Name a file in it.")
        place = Store.open(store)
        pages = _pages(place, gallery, version, recovered)
        if out:
            from avih.atomic import write_bytes

            write_bytes(out.absolute(), pages.report().encode())
            print(f"report: {out}")
            return
        _serve(pages, port=port, browser=browser)


def _pages(place: "Store", gallery: str, version: str | None, recovered: bool) -> "GalleryPages":
    from tasks.run_record import load_run

    record = load_run(store=place, gallery=gallery, version=version)
    if recovered:
        prepare_flows(place)
    from tasks.show_gallery import GalleryPages
    from tasks.status_parts import signing_key

    mac_key, why = signing_key(place)
    if why:
        err.print(f"note: signatures are unchecked: {why}", markup=False, soft_wrap=True)
    return GalleryPages(
        record, store=place.address, now=_now(place, record, mac_key), recovered=recovered, mac_key=mac_key
    )


def _now(place: "Store", record: "RunRecord", mac_key: bytes | None) -> "Callable[[], Now]":
    """Return what says how the gallery is at the moment when it is asked."""
    from datetime import UTC, datetime

    from avih.errors import AvihError
    from avih.gallery_report.facts import Now
    from flows.cli.status import gallery_rows, read_failures
    from tasks.mlflow_runs import find_runs, open_command
    from tasks.status_gallery import read_gallery

    def now() -> Now:
        failures, problems = read_failures(place)
        moment = datetime.now(UTC)
        status = read_gallery(place, record.gallery, mac_key=mac_key, failures=failures, now=moment)
        told = LEFT_OUT if status.key is None or status.key.key_id != record.key_id else (*LEFT_OUT, *OF_KEY)
        rows = {name: text for name, text in gallery_rows(status).items() if name not in told}
        rows |= {"alerts": "; ".join(problems)} if problems else {}
        try:
            runs = find_runs(place, gallery=record.gallery, version=record.version, key_id=record.key_id)
        except AvihError as error:
            runs = [("MLflow", str(error))]
        live = status.live
        mine = live is not None and live.version == record.version
        headline = "no version of this gallery is live"
        if live:
            headline = f"since {live.since}, signature {live.signature}"
            headline = headline if mine else f"{live.version} is live {headline}"
        return Now(
            live=mine, headline=_readable(headline),
            rows=_named(rows | {"looked at": moment.isoformat(timespec="seconds")}),
            links=(*runs, ("Open MLflow", open_command(place))),
        )  # fmt: skip

    return now


def _named(rows: dict[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple((name[:1].upper() + name[1:], _readable(text)) for name, text in rows.items())


def _readable(text: str) -> str:
    """Write times as people do."""
    return TIME.sub(r" \1 UTC", text).replace("  ", ", ")


def _serve(pages: "GalleryPages", *, port: int, browser: bool) -> None:
    """Serve until Ctrl-C."""
    import webbrowser

    from avih.gallery_report.serving import PageServer

    with PageServer(pages, port=port) as server:
        print(f"look at it here: {server.address}", flush=True)
        err.print("Only on this machine, and only with this whole address. Ctrl-C ends it.")
        if browser and not webbrowser.open(server.first_visit):
            err.print("note: no browser could be started here; open the address yourself.")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            err.print("Stopped. Nothing was written.")
