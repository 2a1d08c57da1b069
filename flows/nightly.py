"""Flow of every night: protect what changed in the source, and put it live if it passes the gates."""

from typing import Any

import flows.environment  # noqa: F401  # before prefect

from prefect import flow

from avih.naming import Store
from avih.settings import RunnerSettings
from flows.alerts import failed
from flows.artifacts import show_facts
from flows.held import held
from flows.index_gallery import index_gallery
from flows.make_version import VersionMade, go_live, make_version
from flows.rotate import rotate_keys
from flows.runners import check
from tasks.night_record import save_night
from tasks.promotion import current_version, refuse
from tasks.records import Record
from tasks.rotation_plan import read_plan
from tasks.run_record import load_run
from tasks.worker_probe import Needs

CHANGED = "What this night changed"


class Nightly(Record):
    """What a night changed; without a change nothing was made and ``made`` is None."""

    gallery: str
    version: str
    changed_anything: bool
    added: int
    changed: int
    removed: int
    made: VersionMade | None = None


@flow(name="nightly-reprotect", log_prints=False, on_failure=[failed], on_crashed=[failed])
def nightly_reprotect(*, store: str, gallery: str, runner: RunnerSettings | None = None) -> Nightly:
    """Compare the source with the current version by content; protect new and changed photos, drop removed ones.

    The gallery's own settings, recogniser and key are used; its runner too, unless another is given. An
    interrupted rotation is finished first, unless it waits for a person's approval.

    Raises:
        QualityBelowLimits: the new version is outside the limits; the old one keeps serving.
        KeyRefused: the key may not protect any more, or its leak budget is used up: rotate.
    """
    place = Store.find(store)
    with held(place, gallery, purpose="nightly re-protection"):
        plan = read_plan(place, gallery)
        # A rotation that waits for a person's yes is not ours to finish.
        if plan is not None and plan.approve == "auto":
            rotate_keys(store=store, gallery=gallery, runner=runner)
        before = load_run(store=place, gallery=gallery).on(runner)
        check(before.settings.runner, needs=Needs(store=store))
        live = current_version(place, gallery)
        indexed = index_gallery(
            store=store, gallery=gallery, source=before.source, settings=before.settings.index
        )
        counts: dict[str, Any] = {
            "added": indexed.added,
            "changed": indexed.changed,
            "removed": indexed.removed,
        }
        if live is not None and indexed.version == live.version:
            save_night(store=place, gallery=gallery, version=live.version, changed_anything=False, **counts)
            note = "nothing changed in the source, nothing was done"
            show_facts({"version": live.version, "note": note} | counts, key="nightly", description=CHANGED)
            return Nightly(gallery=gallery, version=live.version, changed_anything=False, **counts)
        record = before.model_copy(update={"version": indexed.version})
        made = make_version(record, store=store, shards=list(indexed.shards), source=before.source)
        refuse(made.reasons, place=record.place(place), serving=live.version if live else None)
        go_live(record, store=store, reason="nightly re-protection")
        save_night(store=place, gallery=gallery, version=record.version, changed_anything=True, **counts)
    figures = {**made.summary.counts, **made.summary.metrics, "MLflow run": made.run.run_id}
    facts = {"version": indexed.version, "note": "live"} | counts | figures
    show_facts(facts, key="nightly", description=CHANGED)
    return Nightly(gallery=gallery, version=indexed.version, changed_anything=True, made=made, **counts)
