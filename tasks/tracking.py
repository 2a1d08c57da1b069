"""MLflow: the only module that imports it. Counts, figures, settings, plots; never an original or a key.

One experiment per gallery. A rotation is a run; the evaluation and the attack check of the version that it made
are nested below it. docs/mlflow.md says which tags every run has, and what to search for.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from avih import __version__
from avih.errors import AvihError
from avih.naming import Store
from tasks.attack_check import FILES, AttackRecord
from tasks.records import Place, Record
from tasks.summarise_gallery import GallerySummary

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("DO_NOT_TRACK", "true")
# A tracking server that is down must be told in seconds, not after minutes of retries.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")


Kind = Literal["evaluation", "attack", "rotation"]
SETS = ("prior", "control", "old_key", "new_key", "same_key_other_images")
FIGURES = ("ssim", "ssim_advantage", "id_rate", "id_advantage", "lpips", "images")
PARENT = "mlflow.parentRunId"  # MLflow's own tag: its pages show such runs below their parent


class TrackedRun(Record):
    """Where a run can be looked at."""

    run_id: str
    experiment: str
    experiment_id: str
    tracking_uri: str

    @property
    def link(self) -> str | None:
        """Address of the run's page, when a tracking server serves it."""
        if not self.tracking_uri.startswith("http"):
            return None
        return f"{self.tracking_uri.rstrip('/')}/#/experiments/{self.experiment_id}/runs/{self.run_id}"


def tracking_uri(store: Store) -> str:
    """Use ``MLFLOW_TRACKING_URI`` if set, else the store's own SQLite database."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{store.mlflow / 'mlflow.db'}"


def open_command(store: Store) -> str:
    """Return the one command that opens the results in a browser."""
    if uri := os.environ.get("MLFLOW_TRACKING_URI"):
        return f"open {uri}"
    return f"MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false mlflow ui --backend-store-uri {tracking_uri(store)}"


@contextmanager
def _reached(store: Store) -> Iterator[Any]:
    """Yield a client of the tracking store, and say in one sentence if it cannot be reached."""
    import mlflow
    from mlflow.exceptions import MlflowException

    uri = tracking_uri(store)
    (store.mlflow / "artifacts").mkdir(parents=True, exist_ok=True)
    try:
        yield mlflow.MlflowClient(tracking_uri=uri)
    except MlflowException as error:
        raise AvihError(
            f"Expected an MLflow store at {uri}, got: {str(error).splitlines()[0]}. Start it, or unset "
            "MLFLOW_TRACKING_URI to use the store's own database; then run the same command again."
        ) from None


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
    with _reached(place.folder) as client:
        run = _begin(
            client, place.folder, kind="evaluation", gallery=place.gallery, version=place.version, key_id=key_id,
            prefect_run_id=prefect_run_id, deployment=deployment, parent_run_id=parent_run_id,
        )  # fmt: skip
        client.set_tag(run.run_id, "verdict", verdict)
        counts = {f"images_{status}": count for status, count in summary.counts.items()}
        _log(client, run, settings=settings, metrics={**summary.metrics, **counts})
        folder = Path(summary.folder)
        for path in (*map(Path, summary.files_for_tracking), folder / "summary.json", folder / "report.md"):
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
    with _reached(place.folder) as client:
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
        _log(
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
    with _reached(store) as client:
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
    with _reached(store) as client:
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
    """Find the run of this flow run, or begin one: a retried flow must not leave two."""
    uri = tracking_uri(store)
    experiment = _experiment(client, gallery, store, local=uri.startswith("sqlite:"))
    tags = {
        "kind": kind,
        "gallery": gallery,
        "version": version,
        "key_id": key_id,
        "prefect_flow_run_id": prefect_run_id or "",
        "prefect_deployment": deployment or "",
        "avih_version": __version__,
    }
    tags |= {PARENT: parent_run_id} if parent_run_id else {}
    found = []
    if prefect_run_id:
        same = ("kind", "version", "key_id", "prefect_flow_run_id")
        query = " and ".join(f"tags.{name} = '{tags[name]}'" for name in same)
        found = client.search_runs([experiment], filter_string=query, max_results=1)
    run = (
        found[0] if found else client.create_run(experiment, tags=tags, run_name=f"{kind} {version} {key_id}")
    )
    return TrackedRun(
        run_id=str(run.info.run_id), experiment=gallery, experiment_id=experiment, tracking_uri=uri
    )


def _log(
    client: Any, run: TrackedRun, *, settings: Mapping[str, Any], metrics: Mapping[str, float | None]
) -> None:
    for name, value in _flat(settings).items():
        client.log_param(run.run_id, name, str(value)[:500])
    for name, figure in metrics.items():
        if figure is not None:
            client.log_metric(run.run_id, name, float(figure))


def _experiment(client: Any, name: str, store: Store, *, local: bool) -> str:
    found = client.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    location = (store.mlflow / "artifacts" / name).as_uri() if local else None
    return str(client.create_experiment(name, artifact_location=location))


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat
