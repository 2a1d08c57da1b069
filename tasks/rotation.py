"""Rotate stage: a plan begun or gone on with, the new version's index, and the tidying up after."""

from datetime import UTC, datetime

from avih.atomic import remove
from avih.errors import AvihError, UsageError
from avih.indexing import IndexRecord, copy_index, next_version
from avih.key_use import key_age
from avih.keys import KeyStore, LeakBudget, State, verify_log
from avih.naming import Store
from avih.settings import ARCHITECTURE_OF
from tasks.promotion import current_version
from tasks.retention import galleries_using, remove_old_versions
from tasks.rotation_key import needed_elsewhere
from tasks.rotation_plan import (
    Approve,
    Origin,
    RotationChoices,
    RotationPlan,
    RotationPolicy,
    read_plan,
    save_plan,
)
from tasks.run_record import RunRecord, load_run, save_run
from tasks.tracking import finish_rotation_run

ENDS = {State.ACTIVE: State.DEACTIVATED, State.PRE_ACTIVATION: State.DESTROYED}  # of a key that is given up


def plan_rotation(
    *,
    store: str,
    gallery: str,
    reason: str,
    compromised: bool,
    retrain_generator: bool,
    origin: Origin,
    approve: Approve,
    actor: str,
    choices: RotationChoices,
) -> RotationPlan:
    """Go on with the rotation that is under way, or begin one from the current version.

    What is not chosen now stays as it was chosen when the rotation began. A compromised key is marked at once:
    that others have it does not depend on how the rotation ends.

    Raises:
        UsageError: the gallery has no current version.
    """
    place = Store.find(store)
    plan = read_plan(place, gallery)
    if plan is None:
        current = current_version(place, gallery)
        if current is None:
            raise UsageError(
                f"Expected a current version of {gallery} to rotate, got none. Run avih run first."
            )
        recovery = load_run(store=place, gallery=gallery, version=current.version).settings.protect.recovery
        has_generator = ARCHITECTURE_OF[recovery] != "none"
        plan = save_plan(place, RotationPlan(
            gallery=gallery, old_version=current.version, old_key=current.key_id, recovery=recovery,
            version=next_version(store=place, gallery=gallery), reason=reason, compromised=compromised,
            retrain_generator=recovery == "unmixed" or (retrain_generator and has_generator),
            origin=origin, approve=approve, choices=choices,
            began=datetime.now(UTC).isoformat(timespec="seconds"),
        ))  # fmt: skip
    asked = {"origin": origin if origin == "recovered" else plan.origin,
             "compromised": compromised or plan.compromised, "approve": approve,
             "choices": choices.over(plan.choices)}  # fmt: skip
    if (changed := plan.model_copy(update=asked)) != plan:  # an interrupted one may be gone on with otherwise
        plan = save_plan(place, changed)
    if plan.compromised:
        _transition(KeyStore(place.keys), plan.old_key, State.COMPROMISED, actor=actor, reason=plan.reason)
    return plan


def is_live(*, store: str, plan: RotationPlan) -> bool:
    """Tell whether the new key is in use already, so that only the tidying up is left.

    By the key and not by the version: a night may have put another version live since.
    """
    current = current_version(Store.find(store), plan.gallery)
    return current is not None and current.key_id == plan.new_key


def refuse_stale(*, store: str, plan: RotationPlan, actor: str) -> None:
    """Give up a rotation whose gallery changed meanwhile: going live would undo the nights since.

    Raises:
        AvihError: another version than the one that was rotated is current by now.
    """
    current = current_version(Store.find(store), plan.gallery)
    if current is not None and current.version != plan.old_version:
        give_up(store=store, plan=plan, actor=actor, reason=f"{current.version} became current meanwhile")
        raise AvihError(
            f"Expected {plan.old_version} of {plan.gallery} to be current still, got {current.version}: the "
            "gallery changed while the rotation waited. It was given up; rotate again."
        )


def still_under_way(*, store: str, plan: RotationPlan) -> None:
    """Make sure that a rotation is still the gallery's, after others may have worked on it.

    Raises:
        AvihError: it was finished or given up; nothing is changed.
        KeyRefused: its new key may not protect any more.
    """
    place = Store.find(store)
    found = read_plan(place, plan.gallery)
    if found is None or found.identity != plan.identity:
        raise AvihError(
            f"Expected the rotation of {plan.gallery} to {plan.version} under way still, got "
            f"{f'one to {found.version}' if found else 'none'}: it was finished or given up while this one "
            "waited for a yes. Nothing was changed."
        )
    KeyStore(place.keys).require(str(plan.new_key), purpose="protect")


def begin_rotated_version(*, store: str, plan: RotationPlan) -> tuple[RunRecord, IndexRecord]:
    """Begin the new version with the photos of the old one, and return what it is made from."""
    place = Store.find(store)
    before = load_run(store=place, gallery=plan.gallery, version=plan.old_version)
    indexed = copy_index(store=place, gallery=plan.gallery, version=plan.version, like=plan.old_version)
    record = before.model_copy(update={"version": plan.version, "key_id": str(plan.new_key)})
    save_run(record, store=place)
    return record, indexed


def rotation_due(*, store: str, gallery: str, policy: RotationPolicy) -> tuple[str, ...]:
    """Return why the gallery's key should be replaced; empty if there is no reason yet."""
    place = Store.find(store)
    current = current_version(place, gallery)
    if current is None:
        return ()
    record = KeyStore(place.keys).show(current.key_id)
    reasons = []
    age = key_age(record, entries=verify_log(KeyStore(place.keys).log.path), now=datetime.now(UTC))
    if age >= policy.maximum_age_days:
        reasons.append(f"key {record.key_id} is {age} days old (limit {policy.maximum_age_days})")
    budget = LeakBudget(place.keys, record.key_id)
    used, limit = budget.used(), budget.limit()
    if used >= policy.budget_share * limit:
        reasons.append(f"key {record.key_id} has protected {used} images of its budget of {limit}")
    if record.state is not State.ACTIVE:
        reasons.append(f"key {record.key_id} is {record.state} and may not protect")
    return tuple(reasons)


def finish_rotation(*, store: str, plan: RotationPlan, policy: RotationPolicy, actor: str) -> tuple[str, ...]:
    """Retire the old key, remove what the policy does not keep, and close the plan; returns notes for people.

    Raises:
        AvihError: the new version is not current; nothing is retired or removed.
    """
    place = Store.find(store)
    current = current_version(place, plan.gallery)
    if current is None or current.key_id != plan.new_key:
        raise AvihError(
            f"Expected a version of {plan.gallery} under {plan.new_key} to be current before the old key retires."
        )
    keys, notes = KeyStore(place.keys), []
    users = [name for name in galleries_using(place, plan.old_key) if name != plan.gallery]
    if users and not plan.compromised:
        notes.append(f"key {plan.old_key} stays active: {', '.join(users)} still uses it; rotate it too")
    elif not plan.compromised:
        _transition(keys, plan.old_key, State.DEACTIVATED, actor=actor, reason=f"replaced by {plan.new_key}")
    keep = 0 if plan.compromised else policy.keep_versions
    removed = remove_old_versions(store=place, gallery=plan.gallery, keep=keep)
    if removed:
        notes.append(f"removed {', '.join(removed)}")
    remove(place.rotation(plan.gallery))
    return tuple(notes)


def give_up(*, store: str, plan: RotationPlan, actor: str, reason: str, verdict: str = "given up") -> None:
    """Close a plan that must not go live: the new key ends, the old version keeps serving.

    Raises:
        UsageError: the new key is in use already; nothing is changed.
    """
    place, keys = Store.find(store), KeyStore(Store.find(store).keys)
    refuse_live(store=store, plan=plan)
    state = keys.show(plan.new_key).state if plan.new_key else None
    if plan.new_key and state in ENDS and not needed_elsewhere(place, plan):
        keys.transition(plan.new_key, ENDS[state], actor=actor, reason=reason)
    remove(place.rotation(plan.gallery))
    finish_rotation_run(place, run_id=plan.mlflow_run_id, verdict=verdict, live=False)


def refuse_live(*, store: str, plan: RotationPlan) -> None:
    """Refuse to give up what is live.

    Raises:
        UsageError: the new key is in use already.
    """
    if is_live(store=store, plan=plan):
        raise UsageError(
            f"Expected a rotation of {plan.gallery} that is not live, got one whose key {plan.new_key} is in "
            "use. Nothing changes; run avih rotate to finish it."
        )


def _transition(keys: KeyStore, key_id: str, to: State, *, actor: str, reason: str) -> None:
    """Change a key's state unless it is there already, so that a rerun changes nothing."""
    if keys.show(key_id).state is not to:
        keys.transition(key_id, to, actor=actor, reason=reason)
