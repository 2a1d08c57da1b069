"""What an audit logs to MLflow: verdict, figures per attack, the report unless it has pictures."""

import re
from collections.abc import Iterator
from pathlib import Path

from avih.lab.result import LabResult
from tasks.audit_record import REPORT, VERDICT, AuditRecord
from tasks.mlflow_runs import TrackedRun, begin_run, log_figures, reached
from tasks.records import Place

FIGURES = ("id_rate", "prior_id_rate", "tar", "ssim", "ssim_advantage", "cost_s")
CONTROL_FIGURES = ("id_rate", "ssim_advantage")
_NOT_IN_NAMES = re.compile(r"[^\w.-]+")  # what MLflow takes in the name of a metric


def log_audit(
    *,
    place: Place,
    record: AuditRecord,
    prefect_run_id: str | None,
    deployment: str | None,
    parent_run_id: str | None = None,
) -> TrackedRun:
    """Log one audit as a run of kind ``audit`` in the gallery's experiment; a retry reuses its run.

    Metrics are ``audit.ATTACK.id_rate`` and the like, ``audit.control.NAME.ok``, and the leak-budget curve with
    the leaked pairs as step.

    Raises:
        AvihError: the tracking store cannot be reached.
    """
    result, about = record.result, record.about
    tags = {
        "kind": "audit",
        "gallery": place.gallery,
        "version": place.version,
        "key_id": about.key_id,
        "verdict": result.verdict,
        "profile": result.profile,
        "whole": "yes" if record.whole else "no",
        "prefect_flow_run_id": prefect_run_id or "",
        "prefect_deployment": deployment or "",
    }
    with reached(place.folder) as client:
        run = begin_run(
            client, place.folder, experiment=place.gallery, name=f"audit {place.version} {about.key_id}",
            tags=tags, same=("kind", "version", "key_id", "prefect_flow_run_id"), parent_run_id=parent_run_id,
        )  # fmt: skip
        for name in ("verdict", "profile"):
            client.set_tag(run.run_id, name, tags[name])
        log_figures(client, run, settings=about.settings, metrics=dict(_metrics(result)))
        for point in result.leak_budget.points if result.leak_budget else ():
            for figure in ("id_rate", "ssim_advantage"):
                if (value := getattr(point, figure)) is not None:
                    client.log_metric(run.run_id, f"audit.leak_budget.{figure}", value, step=point.pairs)
        files = (VERDICT,) if about.pictures else (VERDICT, REPORT)
        for file in files:
            client.log_artifact(run.run_id, str(Path(record.folder) / file))
        client.set_terminated(run.run_id)
    return run


def _metrics(result: LabResult) -> Iterator[tuple[str, float | None]]:
    for attack in result.attacks:
        yield from ((f"audit.{attack.name}.{figure}", getattr(attack, figure)) for figure in FIGURES)
    for control in result.controls:
        name = f"audit.control.{_NOT_IN_NAMES.sub('_', control.name)}"
        yield f"{name}.ok", float(control.ok)
        yield from ((f"{name}.{figure}", getattr(control.figures, figure)) for figure in CONTROL_FIGURES)
    if result.leak_budget:
        yield "audit.n10", result.leak_budget.n10
        yield "audit.n50", result.leak_budget.n50
    yield "audit.chance", result.chance
    yield "audit.seconds", result.seconds
