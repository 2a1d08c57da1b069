"""Each stage alone: ``avih protect``, ``evaluate``, ``recover``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.dry import nothing_changed
from flows.cli.main import QUALITY, REFUSED, app, leave_if_failed, prepare_flows
from flows.cli.options import (
    DebugOption,
    DryRunOption,
    GalleryOption,
    JsonOption,
    LpipsOption,
    StoreOption,
    VersionOption,
)
from flows.cli.output import clean_stdout, err, explained, print_json, progress_bars, table
from flows.cli.runner import (
    AddressOption,
    ProcessesOption,
    ResourceOption,
    RunnerOption,
    runner_settings,
)

if TYPE_CHECKING:
    from avih.naming import Store
    from tasks.run_record import RunRecord


def _find(store: str | None, gallery: str, version: str | None) -> "tuple[Store, RunRecord, list[int]]":
    from avih.index_file import shard_sizes
    from avih.naming import Store
    from tasks.run_record import load_run

    place = Store.open(store)
    record = load_run(store=place, gallery=gallery, version=version)
    return place, record, list(shard_sizes(store=place, gallery=gallery, version=record.version))


@app.command()
def protect(
    gallery: GalleryOption,
    version: VersionOption = None,
    runner: RunnerOption = None,
    dask_address: AddressOption = None,
    resource: ResourceOption = None,
    processes: ProcessesOption = None,
    dry_run: DryRunOption = False,
    store: StoreOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Protect what is missing of an indexed and aligned gallery, with its settings and key.

    Example: avih protect --gallery staff
    """
    with explained(debug):
        place, record, shards = _find(store, gallery, version)
        record = record.on(runner_settings(runner, dask_address, resource, processes))
        prepare_flows(place)
        if dry_run:
            from tasks.would_stage import would_protect

            would = would_protect(record=record, place=record.place(place), shards=shards)
            nothing_changed("would be protected", would, as_json)
            return
        from flows.protect_gallery import protect_gallery
        from tasks.records import add_counts

        with clean_stdout(), progress_bars():
            made = protect_gallery(
                place=record.place(place),
                key_id=record.key_id,
                shards=shards,
                settings=record.settings.protect,
                runner=record.settings.runner,
            )
        counts = add_counts(made)
        facts = {"gallery": gallery, "version": record.version, "key_id": record.key_id, "images": counts,
                 "shards_made": sum(shard.made for shard in made)}  # fmt: skip
        print_json(facts) if as_json else table("protected", {**facts, **counts})
    leave_if_failed(counts)


@app.command()
def evaluate(
    gallery: GalleryOption,
    version: VersionOption = None,
    store: StoreOption = None,
    lpips_backbone: LpipsOption = None,
    runner: RunnerOption = None,
    dask_address: AddressOption = None,
    resource: ResourceOption = None,
    processes: ProcessesOption = None,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Measure a protected gallery from its stored files and log the result to MLflow.

    Example: avih evaluate --gallery staff --json
    """
    with explained(debug):
        place, record, shards = _find(store, gallery, version)
        record = record.on(runner_settings(runner, dask_address, resource, processes))
        prepare_flows(place)
        backbone = str(lpips_backbone.absolute()) if lpips_backbone else record.lpips_backbone
        if dry_run:
            from tasks.would_stage import would_evaluate

            would = would_evaluate(
                place=record.place(place), key_id=record.key_id, shards=shards, lpips_backbone=backbone
            )
            nothing_changed("would be measured and logged to MLflow", would, as_json)
            return
        from flows.evaluate_gallery import evaluate_gallery
        from tasks.run_record import described

        with clean_stdout(), progress_bars():
            result = evaluate_gallery(
                place=record.place(place), key_id=record.key_id, shards=shards,
                recovery=record.settings.protect.recovery, settings=record.settings.evaluate,
                lpips_backbone=backbone, described=described(record), enforce_limits=False,
                runner=record.settings.runner,
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
    dry_run: DryRunOption = False,
    store: StoreOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Turn protected images back into pictures (mode 0600); needs the key's passphrase.

    Example: avih recover --gallery staff --out /secure/pictures --image Ada__Ada_0001
    """
    with explained(debug):
        place, record, shards = _find(store, gallery, version)
        prepare_flows(place)
        wanted = frozenset(image) if image else None
        if dry_run:
            from tasks.would_stage import would_recover

            would = would_recover(
                place=record.place(place), key_id=record.key_id, shards=shards, folder=out.absolute(),
                recovery=record.settings.protect.recovery, images=wanted,
            )  # fmt: skip
            nothing_changed("would be recovered", would, as_json)
            return
        from avih.errors import UsageError
        from avih.index_file import count_index
        from tasks.progress import begin
        from tasks.recover_gallery import recover_shards

        photos = count_index(store=place, gallery=gallery, version=record.version)
        with clean_stdout(), progress_bars():
            begin("recover", len(wanted) if wanted else photos)
            done = recover_shards(
                place=record.place(place), key_id=record.key_id, numbers=shards, folder=out.absolute(),
                recovery=record.settings.protect.recovery, images=wanted,
            )  # fmt: skip
        missing = wanted is not None and done.written + len(done.refused) < len(wanted)
        if missing and not done.damaged:
            raise UsageError(
                f"Expected the images {sorted(wanted or ())} in {gallery} {record.version}, got {done.written}."
            )
        facts = {"gallery": gallery, "version": record.version, "written": done.written,
                 "refused": list(done.refused), "damaged": list(done.damaged), "folder": done.folder}  # fmt: skip
        print_json(facts) if as_json else table("recovered", facts)
        for text in done.damaged:
            err.print(f"damaged: {text}", markup=False, soft_wrap=True)
    if done.refused or missing or (done.damaged and wanted is None):
        raise typer.Exit(REFUSED)
