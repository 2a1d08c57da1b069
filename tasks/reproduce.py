"""Reproduce one table of a paper: run its experiment, keep what it found, draw its figure, log it."""

import json
import logging
import re
import time
from pathlib import Path
from typing import Any

from avih import __version__
from avih.atomic import write_json
from avih.device import chosen_device
from avih.errors import AvihError
from avih.naming import Store
from avih.reproduction.context import Context, DataFolders, Profile
from avih.reproduction.figures import draw
from avih.reproduction.outcome import NotRun, Outcome, not_run
from avih.reproduction.registry import EXPERIMENTS, Experiment, chosen
from avih.reproduction.report import Reported
from tasks.mlflow_runs import TrackedRun, begin_run, log_figures, reached
from tasks.progress import advance
from tasks.records import Record

logger = logging.getLogger(__name__)
MLFLOW_EXPERIMENT = "reproduction"
_NOT_IN_NAMES = re.compile(r"[^\w.:/ -]")  # what MLflow takes in the name of a metric


class ExperimentRecord(Record):
    """One table as it was run: its mark, how long it took, and the run that holds it."""

    name: str
    mark: str
    seconds: float
    made: bool
    missing: str = ""
    run: TrackedRun | None = None


class Data(Record):
    """Paths of :class:`avih.reproduction.context.DataFolders`, as a flow's parameter."""

    lfw: str | None = None
    lfw_name: str = "LFW-gray"
    orl: str | None = None
    mobilefacenet: str | None = None
    imagenet: str | None = None

    def folders(self) -> DataFolders:
        """Return them as paths."""
        paths = {
            name: Path(value) if value else None
            for name, value in self.model_dump(exclude={"lfw_name"}).items()
        }
        return DataFolders(lfw_name=self.lfw_name, **paths)


def results_folder(store: Store, profile: Profile) -> Path:
    """Folder of a profile's results: one JSON file and one figure per table."""
    return store.reproduction / profile / "results"


def run_experiment(
    *, store: str, name: str, profile: Profile, data: Data, again: bool, prefect_run_id: str | None
) -> ExperimentRecord:
    """Run one experiment, unless its result is there already.

    Args:
        store: root of the store.
        name: the experiment's, such as ``avih-table-1``.
        profile: its sizes.
        data: where data lies.
        again: run it although there is a result; measurements that still fit are used again.
        prefect_run_id: for MLflow.

    Raises:
        UsageError: there is no such experiment.
    """
    (experiment,) = chosen((name,))
    place = Store.find(store)
    path = results_folder(place, profile) / f"{name}.json"
    if path.is_file() and not again:
        kept = json.loads(path.read_text())
        if kept["outcome"]["mark"] != "not run":
            advance("reproduce")
            return ExperimentRecord(
                name=name, mark=kept["outcome"]["mark"], seconds=kept["seconds"], made=False
            )
    context = Context(
        profile=profile, data=data.folders(), work=place.reproduction / profile, device=str(chosen_device()),
        tell=lambda text: logger.info("%s: %s", name, text),
    )  # fmt: skip
    began = time.perf_counter()
    found = _run(experiment, context)
    seconds = time.perf_counter() - began
    figure = path.with_suffix(".png")
    drawn = draw(found, title=f"{experiment.paper}, {experiment.table}: {experiment.title}", path=figure)
    if not drawn:
        figure.unlink(missing_ok=True)
    write_json(path, _record(experiment, profile, found, seconds, figure.name if drawn else None))
    run = _log(place, experiment, profile, found, seconds, prefect_run_id)
    advance("reproduce")
    return ExperimentRecord(
        name=name, mark=found.mark, seconds=seconds, made=True, missing=found.missing, run=run
    )


def what_would_run(*, store: Store, profile: Profile, names: tuple[str, ...], again: bool) -> dict[str, str]:
    """Say of each table whether it would be made, or is kept.

    Raises:
        UsageError: there is no such table.
        AvihError: a result file is damaged.
    """
    known = {one.experiment.name: one.outcome.mark for one in read_results(store, profile)}
    return {
        one.name: "would be made" if again or known[one.name] == "not run" else f"kept: {known[one.name]}"
        for one in chosen(names)
    }


def _run(experiment: Experiment, context: Context) -> Outcome:
    context.folder("results")
    try:
        return experiment.run(context)
    except NotRun as error:
        return not_run(str(error))


def _record(
    experiment: Experiment, profile: Profile, found: Outcome, seconds: float, figure: str | None
) -> dict[str, Any]:
    return {
        "name": experiment.name,
        "profile": profile,
        "avih_version": __version__,
        "seconds": round(seconds, 1),
        "figure": figure,
        "outcome": found.model_dump(mode="json"),
    }


def _log(
    store: Store,
    experiment: Experiment,
    profile: Profile,
    found: Outcome,
    seconds: float,
    prefect: str | None,
) -> TrackedRun:
    """Log ours, interval bounds and the paper's figures; the JSON file and the figure go beside them."""
    figures: dict[str, float | None] = {"seconds": seconds}
    for place, row in enumerate(found.rows):
        name = _NOT_IN_NAMES.sub("", f"row{place:02d}_{row.metric}")
        figures |= {name: row.ours, f"{name}_paper": row.paper}
    folder = results_folder(store, profile)
    with reached(store) as client:
        run = begin_run(
            client, store, experiment=MLFLOW_EXPERIMENT, name=f"{profile} {experiment.name}",
            tags={"kind": "reproduction", "table": experiment.name, "profile": profile, "mark": found.mark,
                  "prefect_flow_run_id": prefect or ""},
            same=("table", "profile", "prefect_flow_run_id"),
        )  # fmt: skip
        settings = {"data": found.data, "model": found.model, "setting": found.setting}
        log_figures(client, run, settings=settings, metrics=figures)
        for file in sorted(folder.glob(f"{experiment.name}*")):
            client.log_artifact(run.run_id, str(file))
        client.set_terminated(run.run_id)
    return run


def read_results(store: Store, profile: Profile) -> list[Reported]:
    """Return every table and figure of the papers with what is known of it, in the papers' order.

    Raises:
        AvihError: a result file is damaged.
    """
    reported = []
    for experiment in EXPERIMENTS:
        path = results_folder(store, profile) / f"{experiment.name}.json"
        found, seconds, figure = not_run("Not run yet in this profile."), 0.0, None
        if path.is_file():
            try:
                kept = json.loads(path.read_text())
                found = Outcome.model_validate(kept["outcome"])
                seconds, figure = float(kept["seconds"]), kept["figure"]
            except (ValueError, KeyError, TypeError) as error:
                raise AvihError(
                    f"Expected a result in {path}, got something else ({type(error).__name__}). Delete the file "
                    "and run avih reproduce again."
                ) from None
        reported.append(Reported(experiment, found, seconds, path.parent / figure if figure else None))
    return reported
