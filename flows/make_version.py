"""The middle of every job that changes a gallery: align, protect, evaluate, and the gates before going live."""

from typing import Any

import flows.environment  # noqa: F401  # before prefect

from avih.errors import UsageError
from avih.naming import Store
from flows.align_gallery import align_gallery
from flows.audit_gallery import audit_gallery_flow
from flows.evaluate_gallery import Evaluation, evaluate_gallery
from flows.protect_gallery import protect_gallery
from flows.shard_runs import as_task
from tasks.audit_policy import read_policy
from tasks.create_key import default_actor
from tasks.promotion import Promoted, audit_gate, gate, promote_version
from tasks.records import Place, ShardRecord, add_counts
from tasks.run_record import RunRecord, described, save_run


class VersionMade(Evaluation):
    """A version that is protected and measured; ``reasons`` say why it must not go live."""

    gallery: str
    version: str
    key_id: str
    counts: dict[str, int]
    shards_made: int
    reasons: tuple[str, ...]


def make_version(
    record: RunRecord, *, store: str, shards: list[int], source: str | None, parent_run_id: str | None = None
) -> VersionMade:
    """Do what is missing of a version's stages; what is done already is kept.

    Args:
        record: what the version is made from; saved before anything is protected.
        store: root of the store.
        shards: numbers of its shards.
        source: the photos; None where all originals are sealed in the store already.
        parent_run_id: MLflow run that the evaluation belongs to.
    """
    settings, place = record.settings, record.place(Store.find(store))
    align_gallery(
        place=place, shards=shards, source=source, layout=settings.index.layout, settings=settings.align,
        runner=settings.runner,
    )  # fmt: skip
    save_run(record, store=place.folder)
    made: list[ShardRecord] = protect_gallery(
        place=place, key_id=record.key_id, shards=shards, settings=settings.protect, runner=settings.runner
    )
    evaluation = evaluate_gallery(
        place=place, key_id=record.key_id, shards=shards, recovery=settings.protect.recovery,
        settings=settings.evaluate, lpips_backbone=record.lpips_backbone, described=described(record),
        parent_run_id=parent_run_id, enforce_limits=False, runner=settings.runner,
    )  # fmt: skip
    summary, limits = evaluation.summary, settings.evaluate.limits
    reasons = as_task(gate, name="gates")(place=place, key_id=record.key_id, summary=summary, limits=limits)
    if not reasons:  # an audit takes minutes: of a version that could go live
        reasons = _audited(record, place=place, parent_run_id=parent_run_id)
    return VersionMade(
        gallery=record.gallery, version=record.version, key_id=record.key_id, counts=add_counts(made),
        shards_made=sum(shard.made for shard in made), summary=summary, run=evaluation.run, reasons=reasons,
    )  # fmt: skip


def _audited(record: RunRecord, *, place: Place, parent_run_id: str | None) -> tuple[str, ...]:
    """Audit the version if the gallery's policy asks for it, and return why it must not go live even so."""
    missing: tuple[str, ...] = as_task(audit_gate, name="audit gate")(place=place, key_id=record.key_id)
    policy = read_policy(place.folder, record.gallery)
    if not missing or not policy.automatic:
        return missing
    try:
        audit_gallery_flow(
            store=place.store, gallery=record.gallery, version=record.version, profile=policy.profile,
            parent_run_id=parent_run_id,
        )  # fmt: skip
    except UsageError as error:  # too few persons, say: the policy cannot be met
        return (f"{missing[0]} ({error})",)
    return audit_gate(place=place, key_id=record.key_id)


def go_live(record: RunRecord, *, store: str, reason: str) -> Promoted:
    """Verify a version from disk and make it current."""
    promoting: Any = as_task(promote_version, name="promote")
    return promoting(
        place=record.place(Store.find(store)), key_id=record.key_id, actor=default_actor(), reason=reason
    )
