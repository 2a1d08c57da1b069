"""Flow of the attack check: attack leaked pairs of a key, show the verdict, log the numbers to MLflow."""

import flows.environment  # noqa: F401  # before prefect

from prefect import flow, runtime
from prefect.artifacts import create_link_artifact, create_markdown_artifact

from avih.attack.check import planned_units
from avih.attack.settings import AttackSettings
from avih.settings import Recovery
from flows.alerts import failed
from flows.shard_runs import as_task
from tasks.attack_check import AttackRecord, attack_check
from tasks.progress import begin
from tasks.records import Place, RecogniserChoice
from tasks.tracking import SETS, TrackedRun, log_attack

COLUMNS = ("images", "ssim", "ssim_advantage", "id_rate", "id_advantage", "lpips")


@flow(name="attack-check", log_prints=False, on_failure=[failed], on_crashed=[failed])
def attack_check_flow(
    *,
    new: Place,
    new_key: str,
    recovery: Recovery,
    old: Place | None = None,
    old_key: str | None = None,
    settings: AttackSettings | None = None,
    second: RecogniserChoice | None = None,
    lpips_backbone: str | None = None,
    parent_run_id: str | None = None,
) -> AttackRecord:
    """Attack leaked pairs of the old key and judge what that does to the new one; a bad verdict is no error.

    Without an old key the new one is attacked itself: its other images, and how many pairs may leak.
    """
    settings = settings or AttackSettings()
    begin("attack", planned_units(settings, recovery=recovery))
    record: AttackRecord = as_task(attack_check, name="attack check", retries=1)(
        old=old, old_key=old_key, new=new, new_key=new_key, recovery=recovery, settings=settings,
        second=second, lpips_backbone=lpips_backbone,
    )  # fmt: skip
    run = log_attack(
        place=new, old_key=old_key, new_key=new_key, record=record, settings=settings.model_dump(mode="json"),
        prefect_run_id=str(runtime.flow_run.id), deployment=runtime.deployment.name, parent_run_id=parent_run_id,
    )  # fmt: skip
    _show(record, run)
    return record


def _show(record: AttackRecord, run: TrackedRun) -> None:
    """Put verdict, figures and the curve on the flow run's page."""
    lines = [f"Verdict: **{record.verdict}**", "", f"| set | {' | '.join(COLUMNS)} |", "|---" * 7 + "|"]
    for name in SETS:
        if figures := getattr(record, name):
            lines.append(f"| {name} | {' | '.join(_text(getattr(figures, c)) for c in COLUMNS)} |")
    lines += ["", "| leaked pairs | network | SSIM advantage | id rate | level |", "|---|---|---|---|---|"]
    lines += [
        f"| {point.pairs} | {point.network} | {_text(point.ssim_advantage)} | {_text(point.id_rate)} "
        f"| {point.level} |"
        for point in record.curve
    ]
    budget = "no limit seen" if record.recommended_budget is None else str(record.recommended_budget)
    lines += ["", f"Recommended budget: {budget}", "", *(f"- {note}" for note in record.notes)]
    lines += ["", f"MLflow run `{run.run_id}` in experiment `{run.experiment}`"]
    create_markdown_artifact(
        key="attack", markdown="\n".join(lines), description="Verdict of the attack check"
    )
    if run.link:
        create_link_artifact(key="mlflow-attack", link=run.link, link_text=f"MLflow run {run.run_id}")


def _text(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)
