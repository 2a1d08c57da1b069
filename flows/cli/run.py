"""``avih run``: every stage, from photos to a gallery that is live."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.cli.complete import complete_keys, complete_methods
from flows.cli.dry import leave_like_gates, nothing_changed
from flows.cli.main import QUALITY, app, leave_if_failed, prepare_flows
from flows.cli.options import (
    DebugOption,
    DryRunOption,
    JsonOption,
    KeyStepsOption,
    LayoutOption,
    LimitOption,
    LpipsOption,
    NewGalleryOption,
    PresetOption,
    RecogniserOption,
    StoreOption,
    WeightsOption,
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
    from avih.settings import RunnerSettings
    from flows.run_gallery import GalleryRun


@app.command()
def run(
    source: Annotated[
        str, typer.Option(help="Folder of photos, dataset:NAME (see avih datasets), or the word synthetic.")
    ],
    recogniser: RecogniserOption,
    weights: WeightsOption = None,
    store: StoreOption = None,
    method: Annotated[
        str | None,
        typer.Option(
            help="Protection method, see avih methods.", show_default="avih", autocompletion=complete_methods
        ),
    ] = None,
    preset: PresetOption = "fast",
    recovery: Annotated[
        str | None,
        typer.Option(
            help="How pictures come back: keyed (from the image alone), sealed (exact, from an encrypted copy "
            "beside it), unmixed (the papers'). Other methods have one of their own.",
            show_default="keyed; unmixed with paper",
        ),
    ] = None,
    photos_per_veil: Annotated[
        int | None,
        typer.Option(
            min=1, help="person_veil, v_uap: photos of a person that may share a veil.", show_default="1"
        ),
    ] = None,
    limit: LimitOption = None,
    gallery: NewGalleryOption = None,
    layout: LayoutOption = "auto",
    key: Annotated[
        str | None,
        typer.Option(
            help="Key id to protect with.", show_default="the active one", autocompletion=complete_keys
        ),
    ] = None,
    key_steps: KeyStepsOption = None,
    key_pictures: Annotated[
        Path | None, typer.Option(help="Folder of training pictures for a new key.")
    ] = None,
    shard_size: Annotated[int, typer.Option(min=1, help="Photos per shard.")] = 64,
    lpips_backbone: LpipsOption = None,
    runner: RunnerOption = None,
    dask_address: AddressOption = None,
    resource: ResourceOption = None,
    processes: ProcessesOption = None,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Do every stage: index, align, key, protect, evaluate. Run again, and only what is missing is done.

    Example: avih run --source photos/ --recogniser mobilefacenet --weights mobilefacenet.safetensors
    """
    from avih.naming import Store, gallery_name, suggest_gallery_name

    with explained(debug):
        place = Store.open(store)
        name = gallery_name(gallery) if gallery else suggest_gallery_name(source)
        options = {} if photos_per_veil is None else {"photos_per_veil": photos_per_veil}
        chosen = {
            "name": preset,
            "recovery": recovery,
            "key_steps": key_steps,
            "method": method,
            "options": options,
        }
        arguments = _arguments(
            place, name, source, recogniser, weights, chosen, limit, layout, key, key_pictures, shard_size,
            lpips_backbone, runner_settings(runner, dask_address, resource, processes),
        )  # fmt: skip
        if dry_run:
            _would_run(place, arguments, as_json)
            return
        from flows.run_gallery import run_gallery

        with clean_stdout(), progress_bars():
            result = run_gallery(**arguments)
        _report(result, place, as_json)
    _leave_with(result.counts, result.reasons)


def _arguments(
    store: "Store", gallery: str, source: str, card: str, weights: Path | None, chosen: dict[str, Any],
    limit: int | None, layout: str, key: str | None, key_pictures: Path | None, shard_size: int,
    lpips_backbone: Path | None, runner: "RunnerSettings | None",
) -> dict[str, Any]:  # fmt: skip
    """Check what was given before anything long begins, and return the flow's arguments.

    ``chosen`` holds the arguments of :func:`avih.settings.preset`.
    """
    from avih.datasets.registry import check_source
    from avih.recognisers import read_card

    check_source(source=_absolute(source), layout=layout, downloads=store.sources)
    read_card(card)
    prepare_flows(store)
    from avih.methods.registry import pipeline_of
    from avih.settings import LOCAL, preset
    from tasks.records import RecogniserChoice

    settings = preset(**chosen)
    if warning := pipeline_of(settings.protect.method).warning:
        err.print(f"warning: {warning}", markup=False, soft_wrap=True)
    index = settings.index.model_copy(update={"layout": layout, "limit": limit, "shard_size": shard_size})
    return {
        "store": store.address,
        "gallery": gallery,
        "source": _absolute(source),
        "recogniser": RecogniserChoice(card=card, weights=str(weights.absolute()) if weights else None),
        "settings": settings.model_copy(update={"index": index, "runner": runner or LOCAL}),
        "key_id": key,
        "key_pictures": str(key_pictures.absolute()) if key_pictures else None,
        "lpips_backbone": str(lpips_backbone.absolute()) if lpips_backbone else None,
        "enforce_limits": False,
    }


def _would_run(store: "Store", arguments: dict[str, Any], as_json: bool) -> None:
    from tasks.would_run import would_run

    wanted = ("gallery", "source", "recogniser", "settings", "key_id")
    with clean_stdout(), progress_bars():
        would = would_run(store=store, **{name: arguments[name] for name in wanted})
    nothing_changed(f"avih run would make {would.gallery} {would.version or ''}", would, as_json)
    leave_like_gates(would.reasons)


def _absolute(source: str) -> str:
    """Make a folder's path absolute, so that a worker elsewhere finds it; ``synthetic`` stays a word.

    Raises:
        UsageError: there is no name, or no such data set.
    """
    from avih.datasets.addresses import Dataset, is_dataset
    from avih.errors import UsageError

    if not source:  # an empty variable of a script would mean the folder that we happen to be in
        raise UsageError("Expected a folder of photos, got an empty name. Write . for this folder.")
    if is_dataset(source):
        return Dataset.find(source).address
    return source if source == "synthetic" else str(Path(source).expanduser().absolute())


def outcome(result: "GalleryRun") -> dict[str, Any]:
    """Return the object that ``--json`` prints."""
    summary = result.summary
    return {
        "gallery": result.gallery,
        "version": result.version,
        "key_id": result.key_id,
        "images": summary.counts,
        "metrics": summary.metrics,
        "mlflow_run_id": result.run.run_id,
        "report": summary.report,
        "contact_sheet": summary.owner_contact_sheet,
        "live": result.live,
        "broken_limits": list(result.reasons),
        "notes": list(summary.notes),
        "added": result.added,
        "changed": result.changed,
        "removed": result.removed,
        "shards_made": result.shards_made,
    }


def _report(result: "GalleryRun", store: "Store", as_json: bool) -> None:
    if as_json:
        print_json(outcome(result))
        return
    from avih.evaluation.report import FIGURES, figure_text
    from tasks.tracking import open_command

    summary = result.summary
    rows: dict[str, object] = {f"images {name}": count for name, count in summary.counts.items()}
    rows |= {name: figure_text(summary.metrics[key]) for key, name, _ in FIGURES}
    table(f"{result.gallery} {result.version}, key {result.key_id}", rows)
    if not result.shards_made:
        err.print("Nothing was missing: every shard was done already.")
    for note in summary.notes:
        err.print(f"note: {note}", markup=False, soft_wrap=True)
    for reason in result.reasons:
        err.print(f"not live: {reason}", markup=False, soft_wrap=True)
    print(f"contact sheet (owner only): {summary.owner_contact_sheet}")
    print(f"report:                     {summary.report}")
    print(f"see it in MLflow:           {open_command(store)}")


def _leave_with(counts: dict[str, int], reasons: tuple[str, ...]) -> None:
    if reasons:
        raise typer.Exit(QUALITY)
    leave_if_failed(counts)
