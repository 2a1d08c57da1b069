"""What galleries log to MLflow: counts, figures, settings, plots; never an original or a key.

One experiment per gallery. A rotation is a run; the evaluation and the attack check of the version that it made
are nested below it. docs/mlflow.md says which tags every run has, and what to search for.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from avih.naming import Store
from tasks.attack_check import FILES, AttackRecord
from tasks.gallery_facts import SUMMARY
from tasks.mlflow_runs import PARENT, TrackedRun, begin_run, log_figures, open_command, reached, tracking_uri
from tasks.records import Place
from tasks.summarise_gallery import GallerySummary

__all__ = [
    "TrackedRun",
    "begin_rotation",
    "finish_rotation_run",
    "log_attack",
    "log_evaluation",
    "open_command",
    "tracking_uri",
]

Kind = Literal["evaluation", "attack", "rotation"]
SETS = ("prior", "control", "old_key", "new_key", "same_key_other_images")
FIGURES = ("ssim", "ssim_advantage", "id_rate", "id_advantage", "lpips", "images")


def log_evaluation(
    *,
    place: Place,
    key_id: str,
    summary: GallerySummary,
    settings: Mapping[str, Any],
    prefect_run_id: str | None,
    deployment: str | None,
    parent_run_id: str | None = None,
) -> TrackedRun:
    """Log one evaluation as an MLflow run in the gallery's experiment; a retry reuses its run.

    Raises:
        AvihError: the tracking store cannot be reached.
    """
    verdict = "within limits" if not summary.broken_limits else "outside limits"
    with reached(place.folder) as client:
        run = _begin(
            client, place.folder, kind="evaluation", gallery=place.gallery, version=place.version, key_id=key_id,
            prefect_run_id=prefect_run_id, deployment=deployment, parent_run_id=parent_run_id,
        )  # fmt: skip
        client.set_tag(run.run_id, "verdict", verdict)
        counts = {f"images_{status}": count for status, count in summary.counts.items()}
        log_figures(client, run, settings=settings, metrics={**summary.metrics, **counts})
        summed = Path(summary.folder) / SUMMARY
        for path in (*map(Path, summary.files_for_tracking), summed, Path(summary.report)):
            client.log_artifact(run.run_id, str(path))
        client.set_terminated(run.run_id)
    return run


def log_attack(
    *,
    place: Place,
    old_key: str | None,
    new_key: str,
    record: AttackRecord,
    settings: Mapping[str, Any],
    prefect_run_id: str | None,
    deployment: str | None,
    parent_run_id: str | None = None,
) -> TrackedRun:
    """Log one attack check: figures as ``new_key_ssim`` and the like, curves with the leaked pairs as step.

    Raises:
        AvihError: the tracking store cannot be reached.
    """
    with reached(place.folder) as client:
        run = _begin(
            client, place.folder, kind="attack", gallery=place.gallery, version=place.version, key_id=new_key,
            prefect_run_id=prefect_run_id, deployment=deployment, parent_run_id=parent_run_id,
        )  # fmt: skip
        client.set_tag(run.run_id, "verdict", record.verdict)
        client.set_tag(run.run_id, "old_key_id", old_key or "")
        figures = {
            f"{name}_{figure}": getattr(getattr(record, name), figure)
            for name in SETS
            if getattr(record, name)
            for figure in FIGURES
        }
        log_figures(
            client,
            run,
            settings=settings,
            metrics=figures | {"recommended_budget": record.recommended_budget},
        )
        for point in record.curve:
            name = f"curve_{point.network.replace(' ', '_')}"
            for figure in ("ssim", "ssim_advantage", "id_rate", "id_advantage"):
                if (value := getattr(point, figure)) is not None:
                    client.log_metric(run.run_id, f"{name}_{figure}", value, step=point.pairs)
        folder = place.folder.attacked(gallery=place.gallery, version=place.version)
        for file in FILES:
            client.log_artifact(run.run_id, str(folder / file))
        client.set_terminated(run.run_id)
    return run


def begin_rotation(
    *,
    store: Store,
    gallery: str,
    old_key: str,
    version: str,
    prefect_run_id: str | None,
    deployment: str | None = None,
) -> TrackedRun:
    """Begin the run of a rotation, below which evaluation and attack check are logged.

    Its ``key_id`` is the old key's until :func:`finish_rotation_run` learns the new one from the runs below.

    Raises:
        AvihError: the tracking store cannot be reached.
    """
    with reached(store) as client:
        run = _begin(
            client, store, kind="rotation", gallery=gallery, version=version, key_id=old_key,
            prefect_run_id=prefect_run_id, deployment=deployment, parent_run_id=None,
        )  # fmt: skip
        client.set_tag(run.run_id, "old_key_id", old_key)
        client.set_tag(run.run_id, "verdict", "unfinished")
    return run


def finish_rotation_run(store: Store, *, run_id: str | None, verdict: str, live: bool) -> None:
    """End the run of a rotation with its verdict, the figures of the runs below it, and whether it went live.

    Raises:
        AvihError: the tracking store cannot be reached.
    """
    if run_id is None:
        return
    with reached(store) as client:
        experiment = client.get_run(run_id).info.experiment_id
        for run in client.search_runs([experiment], filter_string=f"tags.`{PARENT}` = '{run_id}'"):
            client.set_tag(run_id, "key_id", run.data.tags["key_id"])
            for name, value in run.data.metrics.items():
                if not name.startswith("curve_"):
                    client.log_metric(run_id, name, value)
        client.set_tag(run_id, "verdict", verdict)
        client.set_tag(run_id, "live", "yes" if live else "no")
        client.set_terminated(run_id, status="FINISHED" if live else "FAILED")


def _begin(
    client: Any,
    store: Store,
    *,
    kind: Kind,
    gallery: str,
    version: str,
    key_id: str,
    prefect_run_id: str | None,
    deployment: str | None,
    parent_run_id: str | None,
) -> TrackedRun:
    tags = {
        "kind": kind,
        "gallery": gallery,
        "version": version,
        "key_id": key_id,
        "prefect_flow_run_id": prefect_run_id or "",
        "prefect_deployment": deployment or "",
    }
    return begin_run(
        client, store, experiment=gallery, name=f"{kind} {version} {key_id}", tags=tags,
        same=("kind", "version", "key_id", "prefect_flow_run_id"), parent_run_id=parent_run_id,
    )  # fmt: skip
