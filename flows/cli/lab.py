"""``avih lab``: what somebody without the key gets out of a gallery; and ``avih gallery policy``."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.cli.complete import complete_attacks, complete_cards, complete_words
from flows.cli.dry import nothing_changed
from flows.cli.gallery import gallery_app
from flows.cli.main import QUALITY, app, prepare_flows
from flows.cli.options import (
    DebugOption,
    DryRunOption,
    GalleryArgument,
    JsonOption,
    LpipsOption,
    StoreOption,
    VersionOption,
)
from flows.cli.output import clean_stdout, console, err, explained, print_json, progress_bars, table
from flows.cli.reproduce import Told

if TYPE_CHECKING:
    from avih.naming import Store
    from tasks.audit_record import AuditRecord

CONTROLS = ("control", "ok", "expected", "got")
ATTACKS = ("attack", "verdict", "named", "prior", "SSIM", "SSIM over prior", "seconds")


@app.command()
def lab(
    gallery: GalleryArgument,
    version: VersionOption = None,
    profile: Annotated[
        str,
        typer.Option(help="quick (minutes) or full (hours).", autocompletion=complete_words("quick", "full")),
    ] = "quick",
    attack: Annotated[
        list[str] | None,
        typer.Option(help="Only this attack; may be repeated. For looking closer: no policy counts it.",
                     autocompletion=complete_attacks),
    ] = None,
    second_card: Annotated[
        str | None,
        typer.Option("--second-recogniser", help="Card of a recogniser that took no part in protection.",
                     show_default="a classical one, fitted", autocompletion=complete_cards),
    ] = None,
    second_weights: Annotated[Path | None, typer.Option(help="Its weights.")] = None,
    lpips_backbone: LpipsOption = None,
    show_pictures: Annotated[
        bool,
        typer.Option("--show-pictures",
                     help="Show originals and reconstructions in the report: everybody in the gallery agreed."),
    ] = False,
    dry_run: DryRunOption = False,
    store: StoreOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:  # fmt: skip
    """Attack a gallery version in every known way and judge what comes out; exit code 4 if it does not hold.

    Example: avih lab staff --version v0002 --json
    """
    from avih.naming import Store

    with explained(debug):
        place = Store.open(store)
        options: dict[str, Any] = {"version": version, "profile": profile, "attacks": attack}
        options |= {
            "second": (second_card, _path(second_weights)),
            "lpips_backbone": _path(lpips_backbone),
            "show_pictures": show_pictures,
        }
        if dry_run:
            _would_audit(place, gallery, options, as_json)
            return
        record = _audited(place, gallery, options)
        if as_json:
            print_json(record.result.model_dump(mode="json"))
        else:
            _show(record)
    if not record.passed:
        raise typer.Exit(QUALITY)


def _audited(place: "Store", gallery: str, options: dict[str, Any]) -> "AuditRecord":
    """Check what was given before anything long begins, then run the flow."""
    from avih.lab.registry import attacks
    from avih.lab.settings import lab_settings
    from tasks.run_record import load_run

    load_run(store=place, gallery=gallery, version=options["version"])
    lab_settings(options["profile"])
    if options["attacks"]:
        attacks(options["attacks"])
    prepare_flows(place)
    from flows.audit_gallery import audit_gallery_flow
    from tasks.records import RecogniserChoice

    card, weights = options.pop("second")
    second = RecogniserChoice(card=card, weights=weights) if card else None
    told = logging.getLogger("tasks.audit_gallery")
    level, propagated, teller = told.level, told.propagate, Told()
    told.setLevel(logging.INFO)
    told.addHandler(teller)
    told.propagate = False  # Prefect would show each line again
    try:
        with clean_stdout(), progress_bars():
            return audit_gallery_flow(store=place.address, gallery=gallery, second=second, **options)
    finally:
        told.removeHandler(teller)
        told.setLevel(level)
        told.propagate = propagated


def _would_audit(place: "Store", gallery: str, options: dict[str, Any], as_json: bool) -> None:
    from tasks.records import RecogniserChoice
    from tasks.run_record import load_run
    from tasks.would_audit import would_audit

    run = load_run(store=place, gallery=gallery, version=options["version"])
    card, weights = options["second"]
    with clean_stdout():
        would = would_audit(
            run=run, store=place, profile=options["profile"], attacks=tuple(options["attacks"] or ()),
            second=RecogniserChoice(card=card, weights=weights) if card else None,
            lpips_backbone=options["lpips_backbone"], show_pictures=options["show_pictures"],
        )  # fmt: skip
    nothing_changed(f"an audit of {gallery} {run.version}", would, as_json)


def _path(given: Path | None) -> str | None:
    from avih.errors import UsageError

    if given is None:
        return None
    if not given.is_file():
        raise UsageError(f"Expected a file at {given}, got none. Check the path.")
    return str(given.absolute())


def _show(record: "AuditRecord") -> None:
    """Show the verdict, the controls, the attacks, and where the report lies."""
    from rich.table import Table

    result, shown_on = record.result, console()
    for title, columns, rows in (
        ("controls", CONTROLS, [(c.name, "yes" if c.ok else "NO", c.expected, c.got) for c in result.controls]),
        ("attacks", ATTACKS, [
            (a.name, a.verdict, _rate(a.id_rate), _rate(a.prior_id_rate), _figure(a.ssim),
             _figure(a.ssim_advantage), f"{a.cost_s:.0f}") for a in result.attacks
        ]),
    ):  # fmt: skip
        shown = Table(title=title, title_justify="left")
        for column in columns:
            shown.add_column(column)
        for row in rows:
            shown.add_row(*row)
        shown_on.print(shown)
    shown_on.print(f"{result.gallery} {result.version}: {result.verdict.upper()}", style="bold", markup=False)
    shown_on.print(result.summary, markup=False, soft_wrap=True)
    for note in result.notes:
        err.print(f"note: {note}", markup=False, soft_wrap=True)
    if not record.made:
        err.print("Nothing changed since this audit; it was not done again.")
    print(f"report: {record.report}")


def _rate(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


@gallery_app.command()
def policy(
    gallery: GalleryArgument,
    require_audit: Annotated[
        str | None, typer.Option(help="none, warn or pass: the worst verdict with which a version goes live.")
    ] = None,
    profile: Annotated[str | None, typer.Option(help="quick or full: which audit it has to be.")] = None,
    automatic: Annotated[
        bool | None,
        typer.Option("--automatic/--by-hand",
                     help="Runs, nights and rotations audit their new versions themselves, or stop there."),
    ] = None,
    dry_run: DryRunOption = False,
    store: StoreOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:  # fmt: skip
    """Say which audit a version needs before it goes live, or show it. May be set before the first run.

    Example: avih gallery policy staff --require-audit pass
    """
    from avih.naming import Store

    given = {"require_audit": require_audit, "profile": profile, "automatic": automatic}
    changes = {name: value for name, value in given.items() if value is not None}
    with explained(debug):
        place = Store.open(store)
        facts = {"gallery": gallery, **_policy(place, gallery, changes, dry_run)}
        if dry_run:
            nothing_changed(f"before a version of {gallery} would go live", facts, as_json)
            return
        print_json(facts) if as_json else table(f"before a version of {gallery} goes live", facts)
        if changes and gallery not in place.galleries():
            err.print(f"note: there is no gallery {gallery} yet; the policy waits for its first run.")


def _policy(place: "Store", gallery: str, changes: dict[str, Any], dry_run: bool) -> dict[str, Any]:
    from pydantic import ValidationError

    from avih.errors import UsageError

    if not changes and gallery not in place.galleries():
        known = ", ".join(place.galleries()) or "none"
        raise UsageError(f"Expected a gallery in {place.address}, got {gallery!r}; there are: {known}.")
    prepare_flows(place)
    from tasks.audit_policy import PromotionPolicy, read_policy, save_policy
    from tasks.dry_checks import check_passphrase

    if dry_run:
        check_passphrase(place)
    found = read_policy(place, gallery)
    if changes:
        try:  # validated, which model_copy would not do
            found = PromotionPolicy.model_validate(found.model_dump() | changes)
        except ValidationError as error:
            first = error.errors()[0]
            raise UsageError(
                f"Expected another --{'-'.join(str(first['loc'][0]).split('_'))}: {first['msg']}, got "
                f"{first['input']!r}."
            ) from None
        if not dry_run:
            save_policy(place, gallery, found)
    return found.model_dump(mode="json")
