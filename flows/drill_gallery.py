"""Flow of the recovery drill: recover some pictures, drawn by lot, and say whether they came back."""

from typing import Any

import flows.environment  # noqa: F401  # before prefect

from prefect import flow

from avih.naming import Store
from flows.alerts import failed
from flows.artifacts import show_facts
from flows.held import held
from flows.shard_runs import as_task
from tasks.drill_gallery import SAMPLE, drill_gallery
from tasks.drill_record import DrillRecord, check_drill
from tasks.run_record import load_run

SHOWN = (
    *("version", "passed", "protected", "sample", "compared", "threshold", "mean_ssim_d", "lowest_ssim_d"),
    *("exact", "stand_ins"),
)


@flow(name="drill-gallery", log_prints=False, on_failure=[failed], on_crashed=[failed])
def drill_gallery_flow(
    *,
    store: str,
    gallery: str,
    version: str | None = None,
    sample: int = SAMPLE,
    threshold: float | None = None,
    enforce: bool = True,
) -> DrillRecord:
    """Recover pictures drawn by lot from a version, by default the current one, and compare with the originals.

    The gallery is held meanwhile, so that no erasure or rotation takes files away; it is a matter of seconds.

    Args:
        store: root of the store.
        gallery: its name.
        version: by default the current one.
        sample: how many pictures.
        threshold: SSIM_d that each must reach; by default the limit that the version was evaluated with.
        enforce: fail if the drill did; without it the outcome is returned whatever it is.

    Raises:
        UsageError: no such gallery or version, or no originals to compare with.
        KeyRefused: the key may not recover, or the passphrase is wrong.
        IntegrityError: a stored file is damaged.
        DrillFailed: a picture did not come back, or not well enough.
    """
    place = Store.open(store)
    run = load_run(store=place, gallery=gallery, version=version)
    limit = run.settings.evaluate.limits.ssim_d_min if threshold is None else threshold
    with held(place, gallery, purpose="a recovery drill"):
        record: DrillRecord = as_task(drill_gallery, name="drill", retries=1)(
            place=run.place(place), key_id=run.key_id, recovery=run.settings.protect.recovery, sample=sample,
            threshold=limit,
        )  # fmt: skip
    _show(record)
    if enforce:
        check_drill(record)
    return record


def _show(record: DrillRecord) -> None:
    """Put the outcome on the flow run's page: no id of a picture, it would name a person."""
    facts: dict[str, Any] = record.model_dump(include=set(SHOWN))
    facts = {name: facts[name] for name in SHOWN} | {
        "failed": len(record.failing),
        "damaged": ", ".join(one.shard for one in record.damaged) or "nothing",
    }
    show_facts(facts, key="drill", description="What came back of a sample")
