"""Each stage alone: ``avih protect``, ``evaluate``, ``recover``; and ``avih recognisers``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.main import QUALITY, REFUSED, SOME_FAILED, app, prepare_flows
from flows.cli.options import DebugOption, GalleryOption, JsonOption, StoreOption, VersionOption
from flows.cli.output import clean_stdout, explained, print_json, progress_bars, table

if TYPE_CHECKING:
    from avih.naming import Store
    from tasks.run_record import RunRecord


def _find(store: Path | None, gallery: str, version: str | None) -> "tuple[Store, RunRecord, list[int]]":
    from avih.index_file import shard_sizes
    from avih.naming import Store
    from tasks.run_record import load_run

    place = Store.find(store)
    record = load_run(store=place, gallery=gallery, version=version)
    return place, record, list(shard_sizes(store=place, gallery=gallery, version=record.version))


@app.command()
def protect(
    gallery: GalleryOption,
    version: VersionOption = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Protect what is missing of an indexed and aligned gallery, with its settings and key.

    Example: avih protect --gallery staff
    """
    with explained(debug):
        place, record, shards = _find(store, gallery, version)
        prepare_flows(place.root)
        from flows.protect_gallery import protect_gallery
        from tasks.records import add_counts

        with clean_stdout(), progress_bars():
            made = protect_gallery(
                place=record.place(place),
                key_id=record.key_id,
                shards=shards,
                settings=record.settings.protect,
            )
        counts = add_counts(made)
        facts = {"gallery": gallery, "version": record.version, "key_id": record.key_id, "images": counts,
                 "shards_made": sum(shard.made for shard in made)}  # fmt: skip
        print_json(facts) if as_json else table("protected", {**facts, **counts})
    if counts.get("failed", 0):
        raise typer.Exit(SOME_FAILED)


@app.command()
def evaluate(
    gallery: GalleryOption,
    version: VersionOption = None,
    store: StoreOption = None,
    lpips_backbone: Annotated[Path | None, typer.Option(help="AlexNet weights for LPIPS.")] = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Measure a protected gallery from its stored files and log the result to MLflow.

    Example: avih evaluate --gallery staff --json
    """
    with explained(debug):
        place, record, shards = _find(store, gallery, version)
        prepare_flows(place.root)
        from flows.evaluate_gallery import evaluate_gallery
        from tasks.run_record import described

        backbone = str(lpips_backbone.absolute()) if lpips_backbone else record.lpips_backbone
        with clean_stdout(), progress_bars():
            result = evaluate_gallery(
                place=record.place(place), key_id=record.key_id, shards=shards,
                recovery=record.settings.protect.recovery, settings=record.settings.evaluate,
                lpips_backbone=backbone, described=described(record), enforce_limits=False,
            )  # fmt: skip
        summary = result.summary
        facts = {"gallery": gallery, "version": record.version, "key_id": record.key_id, "images": summary.counts,
                 "metrics": summary.metrics, "mlflow_run_id": result.run.run_id, "report": summary.report,
                 "broken_limits": list(summary.broken_limits), "notes": list(summary.notes)}  # fmt: skip
        print_json(facts) if as_json else table("evaluated", {**summary.counts, **summary.metrics})
    if summary.broken_limits:
        raise typer.Exit(QUALITY)


@app.command()
def recover(
    gallery: GalleryOption,
    out: Annotated[Path, typer.Option(help="Private folder for the recovered pictures.")],
    image: Annotated[list[str] | None, typer.Option(help="Only this image id; may be repeated.")] = None,
    version: VersionOption = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Turn protected images back into pictures (mode 0600); needs the key's passphrase.

    Example: avih recover --gallery staff --out /secure/pictures --image Ada__Ada_0001
    """
    with explained(debug):
        place, record, shards = _find(store, gallery, version)
        prepare_flows(place.root)
        from avih.errors import UsageError
        from avih.index_file import count_index
        from tasks.progress import begin
        from tasks.recover_gallery import recover_shard

        wanted = frozenset(image) if image else None
        photos = count_index(store=place, gallery=gallery, version=record.version)
        with clean_stdout(), progress_bars():
            begin("recover", len(wanted) if wanted else photos)
            parts = [
                recover_shard(
                    place=record.place(place), key_id=record.key_id, number=number, folder=out.absolute(),
                    recovery=record.settings.protect.recovery, images=wanted,
                )
                for number in shards
            ]  # fmt: skip
        refused = [name for part in parts for name in part.refused]
        written = sum(part.written for part in parts)
        if wanted and written + len(refused) < len(wanted):
            raise UsageError(
                f"Expected the images {sorted(wanted)} in {gallery} {record.version}, got {written}."
            )
        facts = {"gallery": gallery, "version": record.version, "written": written, "refused": refused,
                 "folder": str(out.absolute())}  # fmt: skip
        print_json(facts) if as_json else table("recovered", facts)
    if refused:
        raise typer.Exit(REFUSED)


@app.command()
def recognisers(as_json: JsonOption = False) -> None:
    """List the recogniser cards that come with avih."""
    from avih.recognisers import bundled_cards, read_card

    cards = {name: read_card(name) for name in bundled_cards()}
    if as_json:
        print_json({"recognisers": [card.model_dump(mode="json") for card in cards.values()]})
    else:
        table("recognisers", {name: card.description for name, card in cards.items()})
