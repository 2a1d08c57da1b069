"""Rotate stage: the plan that survives a kill, the new key, the new version's index, and the tidying up after."""

from datetime import UTC, datetime
from typing import Literal

from pydantic import Field, ValidationError

from avih.atomic import remove
from avih.errors import AvihError, IntegrityError, UsageError
from avih.indexing import IndexRecord, copy_index, next_version
from avih.key_use import BUDGET_SHARE, MAXIMUM_AGE_DAYS, key_age
from avih.keys import KeyStore, LeakBudget, State, prepared_key, verify_log
from avih.naming import Store
from avih.settings import ARCHITECTURE_OF, Count, Frozen, KeySettings, Recovery
from tasks import opened
from tasks.create_key import create_key, renew_secret
from tasks.promotion import current_version
from tasks.records import Record
from tasks.retention import galleries_using, remove_old_versions
from tasks.run_record import RunRecord, load_run, save_run
from tasks.signed_json import ROTATION_LABEL, read_signed, write_signed

Origin = Literal["sealed", "recovered"]
Approve = Literal["auto", "ask"]


class RotationPolicy(Frozen):
    """When a rotation is due, and what stays after it."""

    maximum_age_days: Count = Field(MAXIMUM_AGE_DAYS, description="Age of a key at which rotation is due.")
    budget_share: float = Field(
        BUDGET_SHARE, gt=0, le=1, description="Used share of the leak budget at which it is due."
    )
    keep_versions: int = Field(1, ge=0, description="Earlier versions that stay for a rollback.")
    promote_on_warn: bool = Field(False, description="Let a version live whose attack check only warns.")


class RotationPlan(Record):
    """What a rotation set out to do; written before each irrevocable step, removed when all is done."""

    gallery: str
    old_version: str
    old_key: str
    recovery: Recovery
    version: str
    new_key: str | None = None
    reason: str
    compromised: bool = False
    retrain_generator: bool = False
    origin: Origin = "sealed"
    approve: Approve = "auto"
    began: str
    mlflow_run_id: str | None = None


def read_plan(store: Store, gallery: str) -> RotationPlan | None:
    """Return the plan of the rotation that is under way, if one is.

    Raises:
        IntegrityError: the file is damaged.
    """
    path = store.rotation(gallery)
    try:
        if not path.exists():
            return None
        vault = opened.vault(store.root)
        content = read_signed(path, mac_key=vault.mac_key(), label=ROTATION_LABEL, unsigned=True)
        return RotationPlan.model_validate(content)
    except ValidationError:
        raise IntegrityError(
            f"Expected the plan of a rotation in {path}, got a damaged file. Remove it and rotate again."
        ) from None


def save_plan(store: Store, plan: RotationPlan) -> RotationPlan:
    """Write the plan."""
    mac_key, content = opened.vault(store.root).mac_key(), plan.model_dump(mode="json")
    write_signed(store.rotation(plan.gallery), content, mac_key=mac_key, label=ROTATION_LABEL, mode=0o600)
    return plan


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
) -> RotationPlan:
    """Go on with the rotation that is under way, or begin one from the current version.

    A compromised key is marked at once: that others have it does not depend on how the rotation ends.

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
            origin=origin, approve=approve,
            began=datetime.now(UTC).isoformat(timespec="seconds"),
        ))  # fmt: skip
    asked = {"origin": origin if origin == "recovered" else plan.origin,
             "compromised": compromised or plan.compromised, "approve": approve}  # fmt: skip
    if asked != plan.model_dump(include=set(asked)):  # an interrupted rotation may be gone on with otherwise
        plan = save_plan(place, plan.model_copy(update=asked))
    if plan.compromised:
        _transition(KeyStore(place.keys), plan.old_key, State.COMPROMISED, actor=actor, reason=plan.reason)
    return plan


def is_live(*, store: str, plan: RotationPlan) -> bool:
    """Tell whether the plan's version is current already, so that only the tidying up is left."""
    current = current_version(Store.find(store), plan.gallery)
    return current is not None and current.version == plan.version


def refuse_stale(*, store: str, plan: RotationPlan, actor: str) -> None:
    """Give up a rotation whose gallery changed while it waited: going live would undo the nights since.

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


def rotation_key(
    *, store: str, plan: RotationPlan, settings: KeySettings, template: str, actor: str
) -> RotationPlan:
    """Give the plan its new key: one from the pool of prepared keys, else a new secret, else a new generator."""
    place = Store.find(store)
    if plan.new_key:
        return plan
    reason = f"rotation of {plan.gallery} from {plan.old_key}"
    prepared = prepared_for(place, plan)
    if prepared:
        key_id = prepared
    elif plan.retrain_generator:
        key_id = create_key(
            store=store, settings=settings, recovery=plan.recovery, template=template, pictures=None, actor=actor,
            reason=reason, activate=False,
        ).key_id  # fmt: skip
    else:
        key_id = renew_secret(store=store, key_id=plan.old_key, actor=actor, reason=reason).key_id
    return save_plan(place, plan.model_copy(update={"new_key": key_id}))


def prepared_for(store: Store, plan: RotationPlan) -> str | None:
    """Name a prepared key that fits; a key that a killed rotation made is found here too."""
    keys = KeyStore(store.keys)
    record = prepared_key(keys, plan.recovery)
    if record is None:
        return None
    if plan.retrain_generator:
        old, new = (keys.load(name, purpose="inspect") for name in (plan.old_key, record.key_id))
        if old.generator_bytes == new.generator_bytes:
            return None
    return record.key_id


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
    if current is None or current.version != plan.version:
        raise AvihError(
            f"Expected {plan.version} of {plan.gallery} to be current before the old key retires."
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


def give_up(*, store: str, plan: RotationPlan, actor: str, reason: str) -> None:
    """Close a plan that must not go live: the new key ends, the old version keeps serving."""
    place, keys = Store.find(store), KeyStore(Store.find(store).keys)
    ends = {State.ACTIVE: State.DEACTIVATED, State.PRE_ACTIVATION: State.DESTROYED}
    if plan.new_key and (state := keys.show(plan.new_key).state) in ends:
        keys.transition(plan.new_key, ends[state], actor=actor, reason=reason)
    remove(place.rotation(plan.gallery))


def _transition(keys: KeyStore, key_id: str, to: State, *, actor: str, reason: str) -> None:
    """Change a key's state unless it is there already, so that a rerun changes nothing."""
    if keys.show(key_id).state is not to:
        keys.transition(key_id, to, actor=actor, reason=reason)
