"""What a rotation would do, and what giving one up would; nothing is written and no key is made."""

from datetime import UTC, datetime

from avih.errors import IntegrityError, UsageError
from avih.gallery import read_history
from avih.indexing import next_version
from avih.keys import KeyStore, State
from avih.keys.states import check_actor, check_transition
from avih.naming import Store
from avih.recognisers import read_card
from avih.settings import ARCHITECTURE_OF, KeySettings
from tasks import opened
from tasks.attack_pairs import has_originals
from tasks.dry_checks import check_passphrase, holder
from tasks.promotion import current_version
from tasks.records import RecogniserChoice, Record
from tasks.retention import galleries_using, old_versions
from tasks.rotation import ENDS, refuse_live, rotation_due
from tasks.rotation_key import is_usable, prepared_for
from tasks.rotation_plan import Approve, Origin, RotationPlan, RotationPolicy, read_plan, why_nothing
from tasks.run_record import load_run


class WouldRotate(Record):
    """What a rotation would do; without a reason to rotate ``rotates`` is false.

    Attributes:
        new_key: how the new key would be come by.
        removed: versions that would go, as the policy keeps only some.
        goes_on: a rotation is under way, and this one would go on with it.
    """

    gallery: str
    rotates: bool
    due: tuple[str, ...]
    goes_on: bool = False
    old_version: str | None = None
    version: str | None = None
    old_key: str | None = None
    old_key_becomes: str | None = None
    new_key: str | None = None
    origin: Origin | None = None
    approve: Approve | None = None
    removed: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def would_rotate(
    *, store: Store, gallery: str, reason: str, only_if_due: bool, compromised: bool, retrain_generator: bool,
    origin: Origin, approve: Approve, second: RecogniserChoice | None = None,
) -> WouldRotate:  # fmt: skip
    """Say what ``avih rotate`` would do.

    Raises:
        UsageError, KeyRefused, IntegrityError: as the rotation would.
    """
    load_run(store=store, gallery=gallery)
    check_passphrase(store)
    if second:
        read_card(second.card)
    policy = RotationPolicy()
    due = rotation_due(store=store.address, gallery=gallery, policy=policy)
    begun = read_plan(store, gallery)
    if only_if_due and (note := why_nothing(begun, due, approve)):
        return WouldRotate(gallery=gallery, rotates=False, due=due, notes=(note,))
    current = current_version(store, gallery)
    if current is None:
        raise UsageError(f"Expected a current version of {gallery} to rotate, got none. Run avih run first.")
    run = load_run(store=store, gallery=gallery, version=begun.old_version if begun else current.version)
    recovery = run.settings.protect.recovery
    plan = begun or RotationPlan(
        gallery=gallery, old_version=current.version, old_key=current.key_id, recovery=recovery,
        version=next_version(store=store, gallery=gallery), reason=reason, compromised=compromised,
        retrain_generator=recovery == "unmixed"
        or (retrain_generator and ARCHITECTURE_OF[recovery] != "none"),
        origin=origin, approve=approve, began=datetime.now(UTC).isoformat(timespec="seconds"),
    )  # fmt: skip
    plan = plan.model_copy(update={"compromised": compromised or plan.compromised, "approve": approve,
                                   "origin": origin if origin == "recovered" else plan.origin})  # fmt: skip
    KeyStore(store.keys).require(plan.old_key, purpose="inspect")
    if plan.origin == "sealed" and not has_originals(run.place(store)):
        raise IntegrityError(
            f"Expected sealed originals of all photos of {gallery} {run.version}, got none of some. Rotate with "
            "--from recovered."
        )
    history = read_history(store=store, gallery=gallery, mac_key=opened.vault(store.root).mac_key())
    keep = 0 if plan.compromised else policy.keep_versions
    return WouldRotate(
        gallery=gallery, rotates=True, due=due, goes_on=begun is not None, old_version=plan.old_version,
        version=plan.version, old_key=plan.old_key, old_key_becomes=_becomes(store, plan),
        new_key=_new_key(store, plan, run.settings.key), origin=plan.origin, approve=plan.approve,
        removed=tuple(old_versions(history, store.versions(gallery), current=plan.version, keep=keep)),
        notes=(f"it would wait for {held}",) if (held := holder(store, gallery)) else (),
    )  # fmt: skip


def would_give_up(*, store: Store, gallery: str) -> dict[str, str]:
    """Say what ``avih rotate --give-up`` would end.

    Raises:
        UsageError: no rotation is under way.
    """
    check_passphrase(store)
    plan = read_plan(store, gallery)
    if plan is None:
        raise UsageError(f"Expected a rotation of {gallery} under way, got none. Nothing changes.")
    refuse_live(store=store.address, plan=plan)
    key = "none was made yet"
    if plan.new_key:
        state = KeyStore(store.keys).show(plan.new_key).state
        key = f"{plan.new_key}: {state} -> {ENDS.get(state, state)}"
    return {"gallery": gallery, "given up": plan.version, "stays current": plan.old_version, "new key": key}


def _becomes(store: Store, plan: RotationPlan) -> str:
    """Say in which state the old key ends."""
    state = KeyStore(store.keys).show(plan.old_key).state
    if plan.compromised:
        to = State.COMPROMISED
    elif users := [name for name in galleries_using(store, plan.old_key) if name != plan.gallery]:
        return f"{state}, as it is: {', '.join(users)} still uses it"
    else:
        to = State.DEACTIVATED
    if state is not to:
        check_transition(plan.old_key, state, to)
    return str(to)


def _new_key(store: Store, plan: RotationPlan, settings: KeySettings) -> str:
    check_actor(actor="dry run", reason=plan.reason)
    if plan.new_key and is_usable(store, plan.new_key):
        return f"{plan.new_key}, which this rotation made already"
    if prepared := prepared_for(store, plan):
        return f"{prepared}, which waits in pre_activation"
    if plan.retrain_generator:
        return f"a new {plan.recovery} key, {settings.architecture} trained for {settings.steps} steps"
    return f"a new {plan.recovery} key with a new secret" + (
        "" if ARCHITECTURE_OF[plan.recovery] == "none" else f" and the generator of {plan.old_key}"
    )
