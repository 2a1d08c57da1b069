"""Flow of the align stage: faces into position, originals sealed."""

import flows.environment  # noqa: F401  # before prefect

from prefect import flow

from avih.settings import LOCAL, AlignSettings, RunnerSettings
from flows.alerts import failed
from flows.shard_runs import ONE_AT_A_TIME, run_shards
from tasks.align_shard import align_shard
from tasks.records import Place, ShardRecord


@flow(
    name="align-gallery", task_runner=ONE_AT_A_TIME, log_prints=False, on_failure=[failed], on_crashed=[failed]
)  # fmt: skip
def align_gallery(
    *,
    place: Place,
    shards: list[int],
    source: str | None,
    layout: str,
    settings: AlignSettings,
    runner: RunnerSettings = LOCAL,
) -> list[ShardRecord]:
    """Align every shard that is not done."""
    return run_shards(
        align_shard,
        stage="align",
        numbers=shards,
        place=place,
        source=source,
        layout=layout,
        settings=settings,
        runner=runner,
    )
