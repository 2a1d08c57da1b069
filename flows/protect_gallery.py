"""Flow of the protect stage: veils where persons have them, every aligned face, then the version's manifest."""

import flows.environment  # noqa: F401  # before prefect

from prefect import flow

from avih.methods.registry import pipeline_of
from avih.settings import LOCAL, ProtectSettings, RunnerSettings
from flows.alerts import failed
from flows.shard_runs import TWO_AT_A_TIME, as_task, run_shards, run_watched
from tasks.craft_veils import craft_veils
from tasks.protect_shard import protect_shard
from tasks.records import Place, ShardRecord
from tasks.sign_manifest import sign_manifest


@flow(
    name="protect-gallery", task_runner=TWO_AT_A_TIME, log_prints=False, on_failure=[failed], on_crashed=[failed]
)  # fmt: skip
def protect_gallery(
    *,
    place: Place,
    key_id: str,
    shards: list[int],
    settings: ProtectSettings,
    runner: RunnerSettings = LOCAL,
) -> list[ShardRecord]:
    """Protect every shard that is not done and sign what the version now holds."""
    if pipeline_of(settings.method).craft:
        run_watched(
            craft_veils, name="craft veils", stage="veil", unit="steps", place=place, key_id=key_id,
            shards=shards, settings=settings,
        )  # fmt: skip
    records = run_shards(
        protect_shard, stage="protect", numbers=shards, place=place, runner=runner, key_id=key_id,
        settings=settings,
    )  # fmt: skip
    as_task(sign_manifest, name="sign manifest")(place=place, key_id=key_id, shards=shards, settings=settings)
    return records
