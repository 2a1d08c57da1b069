"""MLflow: the only module that imports it. Counts, figures, settings, plots; never an original or a key."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from avih import __version__
from avih.errors import AvihError
from avih.naming import Store
from tasks.records import Place, Record
from tasks.summarise_gallery import GallerySummary

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("DO_NOT_TRACK", "true")
# A tracking server that is down must be told in seconds, not after minutes of retries.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")


class TrackedRun(Record):
    """Where a run can be looked at."""

    run_id: str
    experiment: str
    tracking_uri: str

    @property
    def link(self) -> str | None:
        """Address of the run's page, when a tracking server serves it."""
        return self.tracking_uri.rstrip("/") if self.tracking_uri.startswith("http") else None


def tracking_uri(store: Store) -> str:
    """Use ``MLFLOW_TRACKING_URI`` if set, else the store's own SQLite database."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{store.mlflow / 'mlflow.db'}"


def open_command(store: Store) -> str:
    """Return the one command that opens the results in a browser."""
    if uri := os.environ.get("MLFLOW_TRACKING_URI"):
        return f"open {uri}"
    return f"MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false mlflow ui --backend-store-uri {tracking_uri(store)}"


def log_evaluation(
    *,
    place: Place,
    key_id: str,
    summary: GallerySummary,
    settings: Mapping[str, Any],
    prefect_run_id: str | None,
    deployment: str | None,
) -> TrackedRun:
    """Log one evaluation as an MLflow run in the gallery's experiment; a retry reuses its run.

    Raises:
        AvihError: the tracking store cannot be reached.
    """
    import mlflow
    from mlflow.exceptions import MlflowException

    store = place.folder
    uri = tracking_uri(store)
    (store.mlflow / "artifacts").mkdir(parents=True, exist_ok=True)
    client = mlflow.MlflowClient(tracking_uri=uri)
    try:
        experiment = _experiment(client, place.gallery, store, local=uri.startswith("sqlite:"))
        tags = {
            "gallery": place.gallery,
            "version": place.version,
            "key_id": key_id,
            "prefect.flow_run_id": prefect_run_id or "",
            "prefect.deployment": deployment or "",
            "avih.version": __version__,
            "verdict": "within limits" if not summary.broken_limits else "outside limits",
        }
        run_id = _run(client, experiment, tags, name=f"evaluate {place.version} {key_id}")
        for name, value in _flat(settings).items():
            client.log_param(run_id, name, str(value)[:500])
        for name, value in {
            **summary.metrics,
            **{f"images_{k}": v for k, v in summary.counts.items()},
        }.items():
            if value is not None:
                client.log_metric(run_id, name, float(value))
        for path in summary.files_for_tracking:
            client.log_artifact(run_id, path)
        for name in ("summary.json", "report.md"):
            client.log_artifact(run_id, str(Path(summary.folder) / name))
        client.set_terminated(run_id)
    except MlflowException as error:
        raise AvihError(
            f"Expected an MLflow store at {uri}, got: {str(error).splitlines()[0]}. Start it, or unset "
            "MLFLOW_TRACKING_URI to use the store's own database; then run avih evaluate again."
        ) from None
    return TrackedRun(run_id=run_id, experiment=place.gallery, tracking_uri=uri)


def _experiment(client: Any, name: str, store: Store, *, local: bool) -> str:
    found = client.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    location = (store.mlflow / "artifacts" / name).as_uri() if local else None
    return str(client.create_experiment(name, artifact_location=location))


def _run(client: Any, experiment: str, tags: Mapping[str, str], *, name: str) -> str:
    """Find the run of this flow run, or begin one: a retried flow must not leave two."""
    if flow_run := tags["prefect.flow_run_id"]:
        query = f"tags.`prefect.flow_run_id` = '{flow_run}'"
        found = client.search_runs([experiment], filter_string=query, max_results=1)
        if found:
            return str(found[0].info.run_id)
    return str(client.create_run(experiment, tags=dict(tags), run_name=name).info.run_id)


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat
