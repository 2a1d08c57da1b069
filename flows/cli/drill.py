"""``avih drill``: do the pictures come back? Some of them, drawn by lot, are recovered and compared."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from avih.evaluation.report import figure_text
from flows.cli.dry import nothing_changed
from flows.cli.main import QUALITY, REFUSED, app, prepare_flows
from flows.cli.options import (
    DebugOption,
    DryRunOption,
    GalleryArgument,
    JsonOption,
    StoreOption,
    VersionOption,
)
from flows.cli.output import clean_stdout, err, explained, print_json, progress_bars, table

if TYPE_CHECKING:
    from tasks.drill_record import DrillRecord


@app.command()
def drill(
    gallery: GalleryArgument,
    sample: Annotated[int, typer.Option(min=1, help="Pictures to draw; all where there are fewer.")] = 20,
    threshold: Annotated[
        float | None,
        typer.Option(min=-1, max=1, help="SSIM_d that each picture must reach.",
                     show_default="the version's limit of its evaluation"),
    ] = None,
    version: VersionOption = None,
    dry_run: DryRunOption = False,
    store: StoreOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:  # fmt: skip
    """Recover pictures drawn by lot as their owner would, and compare them with the sealed originals.

    Nothing is shown or written but figures, and the ids of pictures that failed. Exit code 4 if one did, 3 if the
    key refuses or a file is damaged.

    Example: avih drill staff --sample 50
    """
    from avih.naming import Store

    with explained(debug):
        place = Store.open(store)
        from tasks.run_record import load_run

        run = load_run(store=place, gallery=gallery, version=version)  # before anything long begins
        prepare_flows(place)
        if dry_run:
            from avih.index_file import shard_sizes
            from tasks.would_stage import would_drill

            limit = run.settings.evaluate.limits.ssim_d_min if threshold is None else threshold
            shards = list(shard_sizes(store=place, gallery=gallery, version=run.version))
            would = would_drill(
                place=run.place(place), key_id=run.key_id, recovery=run.settings.protect.recovery, shards=shards,
                sample=sample, threshold=limit,
            )  # fmt: skip
            nothing_changed(f"would be drawn from {gallery} {run.version}", would, as_json)
            return
        from flows.drill_gallery import drill_gallery_flow

        with clean_stdout(), progress_bars():
            record = drill_gallery_flow(
                store=place.address, gallery=gallery, version=version, sample=sample, threshold=threshold,
                enforce=False,
            )  # fmt: skip
        if as_json:
            print_json(record.model_dump(mode="json"))
        else:
            _show(record)
    if record.damaged:
        raise typer.Exit(REFUSED)
    if not record.passed:
        raise typer.Exit(QUALITY)


def _show(record: "DrillRecord") -> None:
    of = f"{record.gallery} {record.version}"
    facts: dict[str, Any] = {
        "drawn": f"{record.sample} of {record.protected} protected pictures",
        "SSIM_d, mean / lowest": f"{figure_text(record.mean_ssim_d)} / {figure_text(record.lowest_ssim_d)}",
        "threshold": f"{record.threshold:g}" + (" and equal in every byte" if record.exact else ""),
        "below it": len(record.below),
        "not recovered": len(record.not_recovered),
    }
    if record.exact:
        facts["not equal"] = len(record.inexact)
    table(f"{of}: " + ("the pictures come back" if record.passed else "NOT ALL PICTURES COME BACK"), facts)
    for image in record.failing:
        reason = record.not_recovered.get(image)
        print(f"{image}: {reason or 'came back, but not as it was'}")
    for damage in record.damaged:
        err.print(f"damaged: {damage.shard}: {damage.problem}", markup=False, soft_wrap=True)
    if record.stand_ins:
        err.print(
            f"note: {record.stand_ins} of the originals are themselves recovered pictures: a rotation was made "
            "from those, and the first originals are no longer there to compare with.",
            soft_wrap=True,
        )
