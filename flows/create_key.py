"""Flow of the key stage: train a generator, where the recovery has one, and seal a new key."""

import flows.environment  # noqa: F401  # before prefect

from prefect import flow

from avih.key_gate import GateSettings
from avih.settings import KeySettings, Recovery
from flows.alerts import failed
from flows.shard_runs import as_task
from tasks.create_key import KeyMade, create_key, default_actor
from tasks.key_gate import GATE_SETTINGS
from tasks.progress import begin


@flow(name="create-key", log_prints=False, on_failure=[failed], on_crashed=[failed])
def create_key_flow(
    *,
    store: str,
    settings: KeySettings,
    recovery: Recovery = "keyed",
    template: str = "112x96",
    pictures: str | None = None,
    reason: str = "created by flow",
    activate: bool = True,
    gate: GateSettings = GATE_SETTINGS,
) -> KeyMade:
    """Make and seal a key; activate it if it passes the activation gate."""
    begin("key", max(1, settings.training_steps))
    return as_task(create_key, name="create key", retries=0)(
        store=store,
        settings=settings,
        recovery=recovery,
        template=template,
        pictures=pictures,
        actor=default_actor(),
        reason=reason,
        activate=activate,
        gate=gate,
    )
