"""``avih datasets``: published photos by name: licence, size, where they come from; fetch them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.cli.main import app
from flows.cli.options import DebugOption, DryRunOption, JsonOption, StoreOption
from flows.cli.output import clean_stdout, err, explained, print_json, table

if TYPE_CHECKING:
    from avih.datasets.addresses import Dataset
    from avih.datasets.cards import DatasetCard

datasets_app = typer.Typer(help="List published data sets with their licences, and fetch them.")
app.add_typer(datasets_app, name="datasets")


@datasets_app.callback(invoke_without_command=True)
def datasets(
    context: typer.Context, store: StoreOption = None, as_json: JsonOption = False, debug: DebugOption = False
) -> None:
    """List published data sets with their licences, and fetch them."""
    if context.invoked_subcommand is None:
        _list(store, as_json, debug)


@datasets_app.command(name="list")
def list_datasets(store: StoreOption = None, as_json: JsonOption = False, debug: DebugOption = False) -> None:
    """List the data sets that have a card: photos, persons, licence, and whether they are fetched.

    Each that can be fetched is a source: avih run --source dataset:NAME

    Example: avih datasets list
    """
    _list(store, as_json, debug)


def _list(store: str | None, as_json: bool, debug: bool) -> None:
    with explained(debug):
        from avih.datasets.cards import card_names, load_card
        from avih.naming import Store

        downloads = Store.find(store).sources
        found = [_facts(load_card(name), downloads) for name in card_names()]
        if as_json:
            print_json({"datasets": found})
        else:
            table("data sets", {facts["name"]: _line(facts) for facts in found})


@datasets_app.command()
def fetch(
    name: Annotated[str, typer.Argument(help="Name of a data set, or a card of your own (.toml).")],
    archive: Annotated[
        str | None, typer.Option(help="Another archive of the card: its unpack_as.", show_default="the first")
    ] = None,
    dry_run: DryRunOption = False,
    store: StoreOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Download a data set, compare it with its SHA-256 and unpack it; done once, it is there at once.

    What broke off goes on at the next call. Licence and citation are told first.

    Example: avih datasets fetch lfw --archive lfw-funneled
    """
    with explained(debug):
        from avih.datasets.addresses import Dataset
        from avih.naming import Store

        downloads = Store.find(store).sources
        dataset = Dataset.find(name, archive=archive)
        there = dataset.is_fetched(downloads)
        dataset.check_fetchable(downloads)
        if dry_run and not there:
            err.print(dataset.introduction(), markup=False, soft_wrap=True)
        elif not dry_run:
            with clean_stdout():
                dataset.fetch(downloads, progress=err.is_terminal)
        facts = _fetched(dataset, downloads, there=there, dry_run=dry_run)
        print_json(facts) if as_json else table(_title(facts), facts)


def _facts(card: "DatasetCard", downloads: Path) -> dict[str, Any]:
    archives = [
        {"name": one.unpack_as, "size_bytes": one.size_bytes, "fetched": (downloads / one.unpack_as).exists()}
        for one in card.archives
    ]
    return {
        "name": card.name, "title": card.title, "photos": card.photos, "persons": card.persons,
        "licence": card.licence, "fetched": any(one["fetched"] for one in archives), "archives": archives,
        "by_hand": card.by_hand,
    }  # fmt: skip


def _line(facts: dict[str, Any]) -> str:
    counts = [f"{facts[what]:,} {what}" for what in ("photos", "persons") if facts[what]]
    there = [one["name"] for one in facts["archives"] if one["fetched"]]
    other = "not fetched" if facts["archives"] else facts["by_hand"]
    return "\n".join((
        ", ".join((facts["title"], *counts)), f"licence: {facts['licence']}",
        f"fetched: {', '.join(there)}" if there else other,
    ))  # fmt: skip


def _fetched(dataset: "Dataset", downloads: Path, *, there: bool, dry_run: bool) -> dict[str, Any]:
    archive = dataset.archive
    return {
        "name": dataset.card.name, "source": dataset.address, "folder": str(dataset.place(downloads)),
        "address": archive.address, "size_bytes": archive.size_bytes, "sha256": archive.sha256,
        "licence": dataset.card.licence, "citation": dataset.card.citation,
        "fetched": there or not dry_run, "was_there": there,
    }  # fmt: skip


def _title(facts: dict[str, Any]) -> str:
    if facts["was_there"]:
        return f"{facts['name']} was fetched before"
    return (
        f"{facts['name']} is fetched" if facts["fetched"] else f"{facts['name']}: nothing fetched (--dry-run)"
    )
