"""Flow of the security lab: audit a gallery's version, show the verdict, log the figures to MLflow."""

from typing import Any

import flows.environment  # noqa: F401  # before prefect

from prefect import flow, runtime
from prefect.artifacts import create_link_artifact, create_markdown_artifact

from avih.lab.registry import attacks as known_attacks
from avih.lab.settings import lab_settings
from avih.naming import Store
from flows.alerts import failed
from flows.shard_runs import as_task
from tasks.audit_gallery import audit_gallery, units
from tasks.audit_record import AuditRecord
from tasks.audit_subject import data_name, is_drawn
from tasks.audit_tracking import log_audit
from tasks.mlflow_runs import TrackedRun
from tasks.progress import begin
from tasks.records import RecogniserChoice
from tasks.run_record import load_run

COLUMNS = ("id_rate", "prior_id_rate", "tar", "ssim", "ssim_advantage")


@flow(name="audit-gallery", log_prints=False, on_failure=[failed], on_crashed=[failed])
def audit_gallery_flow(
    *,
    store: str,
    gallery: str,
    version: str | None = None,
    profile: str = "quick",
    attacks: list[str] | None = None,
    second: RecogniserChoice | None = None,
    lpips_backbone: str | None = None,
    show_pictures: bool = False,
    parent_run_id: str | None = None,
) -> AuditRecord:
    """Attack a version, by default the current one, in every way the lab knows; a bad verdict is no error.

    A version that did not change since it was audited with the same settings and release is not audited again.
    Reconstructions are shown of drawn faces, and with ``show_pictures``; of nobody who did not agree.

    Raises:
        UsageError: no such gallery, version, profile or attack; or too few persons to recognise anybody.
    """
    names = tuple(attacks or ())
    if names:
        known_attacks(names)
    run = load_run(store=Store.open(store), gallery=gallery, version=version)
    begin("audit", units(names))
    record: AuditRecord = as_task(_audit, name="audit", retries=1)(
        place=run.place(Store.find(store)), key_id=run.key_id, recovery=run.settings.protect.recovery,
        profile=profile, names=names, second=second, lpips_backbone=lpips_backbone or run.lpips_backbone,
        consenting=is_drawn(run) or show_pictures, data=data_name(run),
    )  # fmt: skip
    tracked = log_audit(
        place=run.place(Store.find(store)), record=record, prefect_run_id=str(runtime.flow_run.id),
        deployment=runtime.deployment.name, parent_run_id=parent_run_id,
    )  # fmt: skip
    _show(record, tracked)
    return record


def _audit(*, profile: str, **more: Any) -> AuditRecord:
    """Run the audit with a profile's settings."""
    return audit_gallery(settings=lab_settings(profile), **more)


def _show(record: AuditRecord, run: TrackedRun) -> None:
    """Put verdict, controls and attacks on the flow run's page: figures only, never a picture."""
    result = record.result
    lines = [f"Verdict: **{result.verdict}**", "", result.summary, "", "| control | ok | expected | got |"]
    lines += ["|---|---|---|---|"]
    lines += [
        f"| {one.name} | {'yes' if one.ok else 'NO'} | {one.expected} | {one.got} |"
        for one in result.controls
    ]
    lines += ["", f"| attack | verdict | {' | '.join(COLUMNS)} |", "|---" * (2 + len(COLUMNS)) + "|"]
    lines += [
        f"| {one.name} | {one.verdict} | {' | '.join(_text(getattr(one, c)) for c in COLUMNS)} |"
        for one in result.attacks
    ]
    lines += ["", *(f"- {note}" for note in result.notes), "", f"Report: `{record.report}`"]
    lines += ["", f"MLflow run `{run.run_id}` in experiment `{run.experiment}`"]
    create_markdown_artifact(
        key="audit", markdown="\n".join(lines), description="Verdict of the security lab"
    )
    if run.link:
        create_link_artifact(key="mlflow-audit", link=run.link, link_text=f"MLflow run {run.run_id}")


def _text(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
