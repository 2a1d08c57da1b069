"""Runs in MLflow: the only module that imports it. No original, key, or seed of a key goes through here."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from avih import __version__
from avih.atomic import atomic_file, folder_lock, remove_leftovers
from avih.errors import AvihError
from avih.naming import Store
from tasks.records import Record

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("DO_NOT_TRACK", "true")
# A tracking server that is down must be told in seconds, not after minutes of retries.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")

DATABASE = "mlflow.db"
MOST_FOUND = 8
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
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{store.mlflow / DATABASE}"


def make_database(store: Store) -> str:
    """Make the store's own database if there is none, and return its address.

    It is there whole or not at all: MLflow never mends one that was cut short.
    """
    import mlflow

    path = store.mlflow / DATABASE
    path.parent.mkdir(parents=True, exist_ok=True)
    with folder_lock(path.parent):
        if not path.exists():
            remove_leftovers(path.parent)
            with atomic_file(path) as temporary:
                mlflow.MlflowClient(tracking_uri=f"sqlite:///{temporary}").search_experiments(max_results=1)
    return f"sqlite:///{path}"


def open_command(store: Store) -> str:
    """Return the one command that opens the results in a browser."""
    if uri := os.environ.get("MLFLOW_TRACKING_URI"):
        return f"open {uri}"
    return f"MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false mlflow ui --backend-store-uri {tracking_uri(store)}"


@contextmanager
def reached(store: Store, *, uri: str | None = None) -> Iterator[Any]:
    """Yield a client of the tracking store, and say in one sentence if it cannot be reached.

    Args:
        store: where the local database is.
        uri: another tracking store than the one in use.
    """
    import mlflow
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    makes = uri is None and not os.environ.get("MLFLOW_TRACKING_URI")
    uri = uri or tracking_uri(store)
    (store.mlflow / "artifacts").mkdir(parents=True, exist_ok=True)
    try:
        if makes:
            make_database(store)
        yield mlflow.MlflowClient(tracking_uri=uri)
    except (MlflowException, SQLAlchemyError) as error:
        advice = (
            "See that its disk has room and can be written to"
            if uri.startswith("sqlite:")
            else "Start it, or unset MLFLOW_TRACKING_URI to use the store's own database"
        )
        raise AvihError(
            f"Expected an MLflow store at {uri}, got: {str(error).splitlines()[0]}. {advice}; then run the same "
            "command again: what is finished stays."
        ) from None


def begin_run(
    client: Any,
    store: Store,
    *,
    experiment: str,
    name: str,
    tags: Mapping[str, str],
    same: tuple[str, ...],
    parent_run_id: str | None = None,
) -> TrackedRun:
    """Find the run of this flow run, or begin one: a retried flow must not leave two.

    Args:
        client: of :func:`reached`.
        store: where the local database is.
        experiment: MLflow experiment; made if it is not there.
        name: name of a new run.
        tags: its tags, ``prefect_flow_run_id`` among them (empty outside Prefect).
        same: the tags in which a run of the same flow run is equal.
        parent_run_id: the run below which pages show it.
    """
    uri = tracking_uri(store)
    number = _experiment(client, experiment, store, local=uri.startswith("sqlite:"))
    tagged = {**tags, "avih_version": __version__} | ({PARENT: parent_run_id} if parent_run_id else {})
    found = []
    if tags["prefect_flow_run_id"]:
        query = " and ".join(f"tags.{tag} = '{tagged[tag]}'" for tag in same)
        found = client.search_runs([number], filter_string=query, max_results=1)
    run = found[0] if found else client.create_run(number, tags=tagged, run_name=name)
    return TrackedRun(
        run_id=str(run.info.run_id), experiment=experiment, experiment_id=number, tracking_uri=uri
    )


def find_runs(store: Store, *, gallery: str, version: str, key_id: str) -> list[tuple[str, str]]:
    """Return what kind of run measured a version, and where it is, newest first; nothing is made or changed.

    Raises:
        AvihError: the tracking store cannot be reached.
    """
    uri = tracking_uri(store)
    if uri.startswith("sqlite:") and not (store.mlflow / DATABASE).exists():
        return []
    with reached(store) as client:
        experiment = client.get_experiment_by_name(gallery)
        if experiment is None:
            return []
        query = f"tags.version = '{version}' and tags.key_id = '{key_id}'"
        runs = client.search_runs([experiment.experiment_id], filter_string=query, max_results=MOST_FOUND)
    return [row for run in runs for row in _described(run, gallery, uri)]


def artifact_folders(store: Store, experiment: str) -> set[Path]:
    """Return the store's own folders that hold what the runs of an experiment logged.

    The store's database is asked even where another tracking store is in use: either may have logged before.

    Raises:
        AvihError: a tracking store cannot be reached.
    """
    root, database = store.mlflow / "artifacts", store.mlflow / DATABASE
    own = f"sqlite:///{database}"
    given = {os.environ.get(name, "") for name in ("MLFLOW_TRACKING_URI", "MLFLOW_BACKEND_STORE_URI")}
    folders = {root / experiment}
    for uri in ([own] if database.exists() else []) + sorted(given - {own, ""}):
        with reached(store, uri=uri) as client:
            found = client.get_experiment_by_name(experiment)
        if found is not None and (name := _own_folder(root, found.artifact_location, moved=uri == own)):
            folders.add(root / name)
    return folders


def _own_folder(root: Path, location: str, *, moved: bool) -> str | None:
    """Return the name below the store's folder of artifacts that a location means, if it is one of them.

    The store's own database may say where the store was before it was moved, or what a server made of its folder.
    """
    parts = urlsplit(location)
    path = Path(unquote(parts.path))
    inside = path.parent == root or (moved and path.parent.parts[-2:] == root.parts[-2:])
    served = moved and parts.scheme == "mlflow-artifacts"
    return path.name if served or (parts.scheme in ("", "file") and inside) else None


def _described(run: Any, experiment: str, uri: str) -> Iterator[tuple[str, str]]:
    """Say where a run is, and which flow run of Prefect it belongs to."""
    known = TrackedRun(
        run_id=str(run.info.run_id),
        experiment=experiment,
        experiment_id=str(run.info.experiment_id),
        tracking_uri=uri,
    )
    kind = run.data.tags.get("kind", "run")
    yield f"MLflow, {kind}", known.link or f"run {known.run_id}"
    if flow_run := run.data.tags.get("prefect_flow_run_id"):
        yield f"Prefect, {kind}", f"flow run {flow_run}"


def log_figures(
    client: Any, run: TrackedRun, *, settings: Mapping[str, Any], metrics: Mapping[str, float | None]
) -> None:
    """Log settings as parameters, nested names joined by dots, and the figures that there are."""
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
