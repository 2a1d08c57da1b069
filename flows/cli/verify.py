"""``avih verify``: compare what is stored with its signatures and digests, name what is wrong, and go on."""

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.cli.complete import complete_galleries, complete_versions
from flows.cli.main import REFUSED, app
from flows.cli.options import DebugOption, JsonOption, StoreOption
from flows.cli.output import clean_stdout, err, explained, print_json, table

if TYPE_CHECKING:
    from avih.keys import Passphrase


@app.command()
def verify(
    gallery: Annotated[
        str | None,
        typer.Option(
            "--gallery",
            help="Only this gallery.",
            show_default="the whole store",
            autocompletion=complete_galleries,
        ),
    ] = None,
    version: Annotated[
        str | None,
        typer.Option(
            "--version", help="Only this version of it.", show_default="all", autocompletion=complete_versions
        ),
    ] = None,
    read_data: Annotated[
        bool,
        typer.Option(
            "--read-data/--no-read-data",
            help="Read every stored byte, or only signatures, digests, rows and sizes.",
        ),
    ] = True,
    read_data_subset: Annotated[
        str | None,
        typer.Option(metavar="N/T", help="Read the N-th of T parts of the shards: all, in T nights."),
    ] = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Compare every stored file with what was signed; name each that differs. Exit code 3 if one does.

    Without a passphrase everything is checked that needs none, and what was left out is named.

    Example: avih verify --read-data-subset 2/7
    """
    with explained(debug):
        from avih.errors import UsageError
        from avih.naming import Store
        from avih.verifying import Part
        from tasks.verify_store import verify_store

        if read_data_subset and not read_data:
            raise UsageError(
                "Expected one of --no-read-data and --read-data-subset, got both. Leave one out."
            )
        part = Part.parse(read_data_subset) if read_data_subset else None
        passphrase = _passphrase()
        with clean_stdout():
            done = verify_store(
                store=Store.open(store), passphrase=passphrase, gallery=gallery, version=version,
                read_data=read_data, part=part,
            )  # fmt: skip
        facts = {"gallery": gallery, "version": version, **done.model_dump()}
        print_json(facts) if as_json else _show(facts)
    if not done.ok:
        raise typer.Exit(REFUSED)


def _passphrase() -> "Passphrase | None":
    """Find the passphrase; none where nobody gave one and nobody can be asked.

    Raises:
        KeyRefused: what was given cannot be used.
    """
    from avih.keys import find_passphrase
    from avih.keys.passphrase import KEY_FILE_VARIABLE, PASSPHRASE_VARIABLE, passphrase_given

    if passphrase_given() or (sys.stdin and sys.stdin.isatty()):
        return find_passphrase()
    err.print(
        f"note: no passphrase ({PASSPHRASE_VARIABLE} or {KEY_FILE_VARIABLE}): signatures and sealed files are "
        "left out."
    )
    return None


def _show(facts: dict[str, Any]) -> None:
    of = " ".join(filter(None, (facts["gallery"] or "the whole store", facts["version"])))
    print(f"{of}: " + ("every file is as it was written" if facts["ok"] else "PROBLEMS"))
    table("checked", facts["checked"])
    for one in facts["problems"]:
        print(f"PROBLEM {one['where']} ({one['what']}): {one['says']}")
    for one in facts["unchecked"]:
        err.print(f"unchecked: {one['where']} ({one['what']}): {one['says']}", markup=False, soft_wrap=True)
