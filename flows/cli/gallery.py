"""``avih gallery``: the versions of a gallery, which one is current, and the way back; and ``avih erase``."""

from typing import Annotated, Any

import typer

from flows.cli.complete import complete_versions
from flows.cli.dry import nothing_changed
from flows.cli.main import app, prepare_flows
from flows.cli.options import (
    DebugOption,
    DryRunOption,
    GalleryArgument,
    GalleryOption,
    JsonOption,
    StoreOption,
)
from flows.cli.output import clean_stdout, err, explained, print_json, progress_bars, table

gallery_app = typer.Typer(
    no_args_is_help=True, help="Versions of galleries: list, compare, promote, roll back."
)
app.add_typer(gallery_app, name="gallery")

ReasonOption = Annotated[str, typer.Option("--reason", help="Why, for the record.")]
STILL_FOUND = 3


@gallery_app.command(name="list")
def list_galleries(
    store: StoreOption = None, as_json: JsonOption = False, debug: DebugOption = False
) -> None:
    """List the galleries of a store with their current versions; needs no passphrase.

    Example: avih gallery list --store /srv/avih
    """
    with explained(debug):
        from avih.gallery import read_history
        from avih.naming import Store

        place = Store.open(store)
        current = {
            name: read_history(store=place, gallery=name, mac_key=None).current for name in place.galleries()
        }
        if as_json:
            found = {name: entry.model_dump() if entry else None for name, entry in current.items()}
            print_json({"galleries": found})
        else:
            rows = {
                name: f"{entry.version}  key {entry.key_id}  since {entry.time}"
                if entry
                else "no version is current"
                for name, entry in current.items()
            }
            table(f"{len(rows)} galleries", rows)


@gallery_app.command()
def show(
    gallery: GalleryArgument,
    store: StoreOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Show every version of a gallery: current, earlier, protected but not promoted, or only begun.

    Example: avih gallery show staff
    """
    with explained(debug):
        from avih.gallery import list_versions, read_history
        from avih.naming import Store

        place = Store.open(store)
        _known(place, gallery)
        history = read_history(store=place, gallery=gallery, mac_key=None)
        versions = list_versions(store=place, gallery=gallery, history=history)
        if as_json:
            print_json({"gallery": gallery, "versions": [v.model_dump() for v in versions],
                        "promotions": [p.model_dump() for p in history.promotions]})  # fmt: skip
        else:
            rows = {v.version: f"{v.state:<9}  {v.photos} photos  key {v.key_id or '-'}  {v.promoted or ''}"
                    for v in versions}  # fmt: skip
            table(gallery, rows)


@gallery_app.command()
def diff(
    gallery: GalleryArgument,
    before: Annotated[
        str, typer.Argument(help="Version, for instance v0001.", autocompletion=complete_versions)
    ],
    after: Annotated[
        str, typer.Argument(help="Version to compare it with.", autocompletion=complete_versions)
    ],
    store: StoreOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Say which photos were added, changed and removed between two versions.

    Example: avih gallery diff staff v0001 v0002
    """
    with explained(debug):
        from avih.gallery import difference
        from avih.naming import Store

        found = difference(store=Store.open(store), gallery=gallery, before=before, after=after)
        if as_json:
            print_json({"gallery": gallery, "before": before, "after": after, **found})
            return
        table(f"{gallery} {before} -> {after}", {kind: len(names) for kind, names in found.items()})
        for kind, mark in (("added", "+"), ("changed", "~"), ("removed", "-")):
            for name in found[kind]:
                print(f"{mark} {name}")


@gallery_app.command()
def promote(
    gallery: GalleryArgument,
    version: Annotated[
        str, typer.Argument(help="Version to make current.", autocompletion=complete_versions)
    ],
    reason: ReasonOption = "promoted by hand",
    dry_run: DryRunOption = False,
    store: StoreOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Make a version current by hand, past its quality gates; its bytes are verified, its audit must fit.

    Example: avih gallery promote staff v0007 --reason "photos were removed on purpose"
    """
    with explained(debug):
        if dry_run:
            _would_switch(store, gallery, version, as_json)
            return
        facts = _switch(store, gallery, version, reason)
        print_json(facts) if as_json else table(f"{gallery} {facts['version']} is current", facts)


@gallery_app.command()
def rollback(
    gallery: GalleryArgument,
    reason: ReasonOption = "rolled back by hand",
    dry_run: DryRunOption = False,
    store: StoreOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Make the version current that was so before; it is verified first.

    Example: avih gallery rollback staff --reason "matching got worse"
    """
    with explained(debug):
        if dry_run:
            _would_switch(store, gallery, None, as_json)
            return
        facts = _switch(store, gallery, None, reason)
        print_json(facts) if as_json else table(f"{gallery} {facts['version']} is current again", facts)


def _switch(store: Any, gallery: str, version: str | None, reason: str) -> dict[str, Any]:
    from avih.keys import KeyStore, may_protect
    from avih.naming import Store

    place = Store.open(store)
    _known(place, gallery)
    prepare_flows(place)
    from tasks.create_key import default_actor
    from tasks.gallery_lock import gallery_lock
    from tasks.promotion import earlier_version, promote_version
    from tasks.run_record import load_run

    with gallery_lock(place, gallery, purpose="a switch of the current version"), clean_stdout():
        chosen = version or earlier_version(store=place, gallery=gallery).version
        record = load_run(store=place, gallery=gallery, version=chosen)
        done = promote_version(
            place=record.place(place), key_id=record.key_id, actor=default_actor(), reason=reason,
            again=version is None, by_hand=True,
        )  # fmt: skip
    state = KeyStore(place.keys).show(record.key_id).state
    if not may_protect(state):
        _warn(record.key_id, chosen, state)
    return done.model_dump()


def _would_switch(store: str | None, gallery: str, version: str | None, as_json: bool) -> None:
    from avih.keys import State, may_protect
    from avih.naming import Store
    from tasks.would_keys import would_switch

    place = Store.open(store)
    _known(place, gallery)
    with clean_stdout():
        would = would_switch(store=place, gallery=gallery, version=version)
    nothing_changed(f"{gallery}: {would['before'] or 'none'} -> {would['version']}", would, as_json)
    if not may_protect(State(would["key_state"])):
        _warn(would["key_id"], would["version"], would["key_state"])


def _warn(key_id: str, version: str, state: str) -> None:
    err.print(
        f"note: key {key_id} of {version} is {state}; the next night needs avih rotate first.", soft_wrap=True
    )


def _known(place: Any, gallery: str) -> None:
    from avih.errors import UsageError

    if gallery not in place.galleries():
        known = ", ".join(place.galleries()) or "none"
        raise UsageError(f"Expected a gallery in {place.address}, got {gallery!r}; there are: {known}.")


@app.command()
def erase(
    gallery: GalleryOption,
    person: Annotated[str, typer.Option(help="Name of the person, as the source's folder has it.")],
    store: StoreOption = None,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Remove a person from every version, sealed original and report, keep them out, and search for what is left.

    Example: avih erase --gallery staff --person Ada_Lovelace
    """
    with explained(debug):
        from avih.naming import Store

        place = Store.open(store)
        _known(place, gallery)
        prepare_flows(place)
        from tasks.dry_checks import check_free, check_passphrase
        from tasks.erase_person import erase_person, what_would_go
        from tasks.gallery_lock import gallery_lock

        if dry_run:
            check_passphrase(place)
            check_free(place, gallery)
            facts = what_would_go(store=place, gallery=gallery, person=person)
            print_json(facts) if as_json else table(f"would be erased from {gallery}", facts)
            return
        with gallery_lock(place, gallery, purpose="an erasure"), clean_stdout(), progress_bars():
            done = erase_person(store=place, gallery=gallery, person=person)
        facts = done.model_dump() | {"found": [f"{f.file}: {f.where}" for f in done.found]}
        print_json(facts) if as_json else table(f"erased from {gallery}", facts)
        err.print("Not reached: copies taken before, backups, the source, other galleries, a remote MLflow.")
    if done.found:
        raise typer.Exit(STILL_FOUND)
