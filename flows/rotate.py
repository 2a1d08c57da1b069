"""Flow of a key rotation: new key, gate, protect again, evaluate, attack check, promote, retire the old key."""

from contextlib import ExitStack
from typing import Any

import flows.environment  # noqa: F401  # before prefect

from prefect import flow, runtime

from avih.attack.settings import AttackSettings
from avih.errors import GateRefused
from avih.key_gate import GateSettings
from avih.keys import KeyStore, State
from avih.naming import Store
from avih.recognisers import read_card
from avih.settings import RunnerSettings
from flows.alerts import failed
from flows.approval import wait_for_approval
from flows.artifacts import show_facts
from flows.attack_check import attack_check_flow
from flows.held import held
from flows.make_version import VersionMade, go_live, make_version
from flows.runners import check
from flows.shard_runs import as_task, run_shards
from tasks.attack_check import AttackRecord, read_attack
from tasks.create_key import default_actor
from tasks.key_gate import GateRecord, activate_key
from tasks.promotion import refuse
from tasks.records import Place, RecogniserChoice, Record
from tasks.recovered_originals import seal_recovered
from tasks.rotation import (
    begin_rotated_version,
    finish_rotation,
    give_up,
    is_live,
    plan_rotation,
    refuse_stale,
    rotation_due,
    still_under_way,
)
from tasks.rotation_key import rotation_key
from tasks.rotation_plan import (
    Approve,
    Origin,
    RotationChoices,
    RotationPlan,
    RotationPolicy,
    read_plan,
    save_plan,
    why_nothing,
)
from tasks.run_record import RunRecord, load_run
from tasks.tracking import begin_rotation, finish_rotation_run
from tasks.worker_probe import Needs


class Rotation(Record):
    """How a rotation ended; without a reason to rotate nothing was made and only ``gallery`` is set."""

    gallery: str
    rotated: bool
    version: str | None = None
    old_key: str | None = None
    new_key: str | None = None
    verdict: str | None = None
    attack_check: AttackRecord | None = None
    made: VersionMade | None = None
    due: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@flow(name="rotate-keys", log_prints=False, on_failure=[failed], on_crashed=[failed])
def rotate_keys(
    *,
    store: str,
    gallery: str,
    reason: str = "scheduled rotation",
    only_if_due: bool = False,
    compromised: bool = False,
    retrain_generator: bool = False,
    origin: Origin = "sealed",
    approve: Approve = "auto",
    policy: RotationPolicy | None = None,
    gate: GateSettings | None = None,
    attack: AttackSettings | None = None,
    second: RecogniserChoice | None = None,
    runner: RunnerSettings | None = None,
) -> Rotation:
    """Give a gallery a new key; run again after a kill, and it goes on where it was.

    The gallery's own settings are used; its runner too, unless another is given.

    Raises:
        QualityBelowLimits: the new version is outside the limits or the attack check did not pass; the old
            version keeps serving.
        KeyRefused: the new key did not pass the activation gate.
    """
    place, actor = Store.find(store), default_actor()
    given = RotationChoices(policy=policy, gate=gate, attack=attack, second=second)
    with ExitStack() as holding:
        holding.enter_context(held(place, gallery, purpose="rotation"))
        due = rotation_due(store=store, gallery=gallery, policy=policy or RotationPolicy())
        if only_if_due and (note := why_nothing(read_plan(place, gallery), due, approve)):
            return Rotation(gallery=gallery, rotated=False, due=due, notes=(note,))
        plan: RotationPlan = as_task(plan_rotation, name="plan rotation")(
            store=store, gallery=gallery, reason=reason, compromised=compromised, origin=origin, actor=actor,
            retrain_generator=retrain_generator, approve=approve, choices=given,
        )  # fmt: skip
        made = None
        if is_live(store=store, plan=plan):  # killed after the switch: only tidying up is left
            checked = read_attack(store=place, gallery=gallery, version=plan.version)
        else:
            plan, record, made, checked = _make(store, plan, actor, runner)
            if approve == "ask":
                holding.close()  # the nights go on while nobody has answered
                wait_for_approval(gallery=gallery, version=plan.version, verdict=checked.verdict)
                holding.enter_context(held(place, gallery, purpose="rotation"))
                still_under_way(store=store, plan=plan)
                refuse_stale(store=store, plan=plan, actor=actor)
            go_live(record, store=store, reason=f"rotation: {plan.reason}")
        notes = as_task(finish_rotation, name="retire the old key")(
            store=store, plan=plan, policy=plan.choices.policy or RotationPolicy(), actor=actor
        )
        finish_rotation_run(place, run_id=plan.mlflow_run_id, verdict=checked.verdict, live=True)
    result = Rotation(
        gallery=gallery, rotated=True, version=plan.version, old_key=plan.old_key, new_key=plan.new_key,
        verdict=checked.verdict, attack_check=checked, made=made, due=due, notes=notes,
    )  # fmt: skip
    _show(result)
    return result


def _make(
    store: str, plan: RotationPlan, actor: str, runner: RunnerSettings | None
) -> tuple[RotationPlan, RunRecord, VersionMade, AttackRecord]:
    """Make the new key and the new version, and stop what must not go live."""
    refuse_stale(store=store, plan=plan, actor=actor)  # before minutes of work, not after
    plan = _new_key(store, plan, plan.choices.gate or GateSettings(), actor, runner)
    made, record = _new_version(store, plan, runner)
    checked = _attacked(store, plan, record, plan.choices.attack or AttackSettings(), plan.choices.second)
    _judge(store, plan, record, made, checked, plan.choices.policy or RotationPolicy(), actor)
    return plan, record, made, checked


def _new_key(
    store: str, plan: RotationPlan, gate: GateSettings, actor: str, runner: RunnerSettings | None
) -> RotationPlan:
    """Make the new key and put it to use if it passes the activation gate."""
    before = load_run(store=Store.find(store), gallery=plan.gallery, version=plan.old_version).on(runner)
    check(before.settings.runner, needs=Needs(store=store))  # before a new key is trained for minutes
    if plan.mlflow_run_id is None:
        run = begin_rotation(
            store=Store.find(store), gallery=plan.gallery, old_key=plan.old_key, version=plan.version,
            prefect_run_id=str(runtime.flow_run.id), deployment=runtime.deployment.name,
        )  # fmt: skip
        plan = save_plan(Store.find(store), plan.model_copy(update={"mlflow_run_id": run.run_id}))
    plan = as_task(rotation_key, name="new key")(
        store=store, plan=plan, settings=before.settings.key, actor=actor,
        template=read_card(before.recogniser.card).template,
    )  # fmt: skip
    try:
        _activate(store, plan, gate, actor)
    except GateRefused as refused:
        give_up(store=store, plan=plan, actor=actor, reason="did not pass the activation gate")
        raise GateRefused(f"{refused} The key was given up; {plan.old_version} keeps serving.") from None
    return plan


def _activate(store: str, plan: RotationPlan, gate: GateSettings, actor: str) -> GateRecord | None:
    if KeyStore(Store.find(store).keys).show(str(plan.new_key)).state is State.ACTIVE:
        return None  # by this rotation, before it was interrupted
    return as_task(activate_key, name="activation gate")(
        store=store, key_id=plan.new_key, actor=actor, reason=f"rotation of {plan.gallery}", settings=gate
    )


def _new_version(
    store: str, plan: RotationPlan, runner: RunnerSettings | None
) -> tuple[VersionMade, RunRecord]:
    """Protect the photos of the old version again under the new key, and measure the result."""
    record, indexed = as_task(begin_rotated_version, name="begin version")(store=store, plan=plan)
    record, shards = record.on(runner), list(indexed.shards)
    if plan.origin == "recovered":
        old, new = (_place(store, record, version) for version in (plan.old_version, plan.version))
        run_shards(
            seal_recovered, stage="align", numbers=shards, place=new, old=old, old_key=plan.old_key,
            recovery=plan.recovery, settings=record.settings.align, runner=record.settings.runner,
        )  # fmt: skip
    made = make_version(record, store=store, shards=shards, source=None, parent_run_id=plan.mlflow_run_id)
    return made, record


def _attacked(
    store: str,
    plan: RotationPlan,
    record: RunRecord,
    settings: AttackSettings,
    second: RecogniserChoice | None,
) -> AttackRecord:
    return attack_check_flow(
        old=_place(store, record, plan.old_version), old_key=plan.old_key,
        new=_place(store, record, plan.version), new_key=str(plan.new_key), recovery=plan.recovery,
        settings=settings, second=second, lpips_backbone=record.lpips_backbone, parent_run_id=plan.mlflow_run_id,
    )  # fmt: skip


def _judge(
    store: str, plan: RotationPlan, record: RunRecord, made: VersionMade, checked: AttackRecord,
    policy: RotationPolicy, actor: str,
) -> None:  # fmt: skip
    """Stop a version that must not go live: close the plan, so that the nights go on with the old key."""
    passed = checked.verdict == "pass" or (checked.verdict == "warn" and policy.promote_on_warn)
    reasons = made.reasons if passed else (*made.reasons, f"attack check: {checked.verdict}")
    if reasons:
        why = "; ".join(reasons)[:500]
        give_up(store=store, plan=plan, actor=actor, reason=why, verdict=checked.verdict)
        refuse(reasons, place=_place(store, record, plan.version), serving=plan.old_version)


def _place(store: str, record: RunRecord, version: str) -> Place:
    return Place(store=store, gallery=record.gallery, version=version, recogniser=record.recogniser)


def _show(result: Rotation) -> None:
    facts: dict[str, Any] = {"version": result.version, "old key": result.old_key, "new key": result.new_key,
             "verdict": result.verdict, "notes": "; ".join(result.notes)}  # fmt: skip
    if result.made:
        facts |= {
            **result.made.summary.counts,
            **result.made.summary.metrics,
            "MLflow run": result.made.run.run_id,
        }
    show_facts(facts, key="rotation", description="How the rotation ended")
