"""Flow of the evaluate stage: measure from stored files, check the limits, log to MLflow."""

from typing import Any

import flows.environment  # noqa: F401  # before prefect

from prefect import flow, runtime
from prefect.artifacts import create_link_artifact, create_markdown_artifact

from avih.errors import QualityBelowLimits
from avih.evaluation.lpips_metric import Lpips, Unavailable
from avih.settings import LOCAL, EvaluateSettings, Recovery, RunnerSettings
from flows.alerts import failed
from flows.held import held
from flows.shard_runs import ONE_AT_A_TIME, as_task, run_shards
from tasks.evaluate_shard import evaluate_shard
from tasks.records import Place, Record
from tasks.summarise_gallery import GallerySummary, summarise_gallery
from tasks.tracking import TrackedRun, log_evaluation


class Evaluation(Record):
    """A version's figures and the MLflow run that holds them."""

    summary: GallerySummary
    run: TrackedRun


@flow(
    name="evaluate-gallery", task_runner=ONE_AT_A_TIME, log_prints=False, on_failure=[failed], on_crashed=[failed]
)  # fmt: skip
def evaluate_gallery(
    *,
    place: Place,
    key_id: str,
    shards: list[int],
    recovery: Recovery,
    settings: EvaluateSettings,
    lpips_backbone: str | None = None,
    described: dict[str, Any] | None = None,
    parent_run_id: str | None = None,
    enforce_limits: bool = True,
    runner: RunnerSettings = LOCAL,
) -> Evaluation:
    """Measure every shard, summarise the version, log the run; fail if a figure is outside its limit.

    The gallery is held meanwhile, so that no erasure takes away what is measured, and no plot comes back.
    """
    unavailable = None if lpips_backbone else Lpips.load(None)
    with held(place.folder, place.gallery, purpose="an evaluation"):
        run_shards(
            evaluate_shard, stage="evaluate", numbers=shards, place=place, runner=runner, key_id=key_id,
            recovery=recovery, lpips_backbone=lpips_backbone,
        )  # fmt: skip
        summary: GallerySummary = as_task(summarise_gallery, name="summarise gallery")(
            place=place, key_id=key_id, shards=shards, recovery=recovery, settings=settings,
            lpips_reason=unavailable.reason if isinstance(unavailable, Unavailable) else None,
        )  # fmt: skip
        # MLflow's active run is bound to its thread: logged here, in the flow, with explicit run ids.
        run = log_evaluation(
            place=place, key_id=key_id, summary=summary, settings=described or settings.model_dump(mode="json"),
            prefect_run_id=str(runtime.flow_run.id), deployment=runtime.deployment.name,
            parent_run_id=parent_run_id,
        )  # fmt: skip
    _show(summary, run)
    if enforce_limits and summary.broken_limits:
        raise QualityBelowLimits(
            "; ".join(summary.broken_limits) + ". The version stays as it is; see the report."
        )
    return Evaluation(summary=summary, run=run)


def _show(summary: GallerySummary, run: TrackedRun) -> None:
    """Put counts, figures and the way to MLflow on the flow run's page; charts and numbers only."""
    figures = {**summary.counts, **summary.metrics}
    lines = [f"| {name} | {value if value is not None else '-'} |" for name, value in figures.items()]
    verdict = "; ".join(summary.broken_limits) or "within the limits"
    text = "\n".join([f"Verdict: {verdict}", "", "| figure | value |", "|---|---|", *lines, "",
                      f"MLflow run `{run.run_id}` in experiment `{run.experiment}`"])  # fmt: skip
    create_markdown_artifact(key="evaluation", markdown=text, description="Counts and figures of the version")
    if run.link:
        create_link_artifact(key="mlflow", link=run.link, link_text=f"MLflow run {run.run_id}")
