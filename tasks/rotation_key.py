"""The new key of a rotation: one that waits in the pool and opens, else a new one."""

import logging
from collections.abc import Iterator
from contextlib import suppress

from avih.errors import IntegrityError, KeyRefused
from avih.keys import KeyStore, State, find_passphrase, prepared_key
from avih.keys.unfinished import unfinished_change
from avih.keys.vault import require_passphrase
from avih.naming import Store
from avih.settings import KeySettings
from tasks.create_key import create_key, renew_secret
from tasks.retention import galleries_using
from tasks.rotation_plan import RotationPlan, read_plan, save_plan

logger = logging.getLogger(__name__)

USABLE = (State.PRE_ACTIVATION, State.ACTIVE)  # states of a new key with which a rotation goes on


def rotation_key(
    *, store: str, plan: RotationPlan, settings: KeySettings, template: str, actor: str
) -> RotationPlan:
    """Give the plan its new key: one from the pool of prepared keys, else a new secret, else a new generator.

    A prepared key that does not open is left for another: no run again would ever get past it.
    """
    place = Store.find(store)
    usable = plan.new_key and is_usable(place, plan.new_key)
    if usable and not needed_elsewhere(place, plan):
        return plan
    reason = f"rotation of {plan.gallery} from {plan.old_key}"
    prepared = prepared_for(place, plan)  # saved in the plan at once, by which other galleries know
    if prepared:
        key_id = prepared
    elif plan.retrain_generator:
        key_id = create_key(
            store=store, settings=settings, recovery=plan.recovery, template=template, pictures=None, actor=actor,
            reason=reason, activate=False,
        ).key_id  # fmt: skip
    else:
        key_id = renew_secret(store=store, key_id=plan.old_key, actor=actor, reason=reason).key_id
    plan = save_plan(place, plan.model_copy(update={"new_key": key_id}))
    rivals = [other.gallery for other in other_plans(place, plan.gallery) if other.new_key == key_id]
    if any(rival < plan.gallery for rival in rivals):  # both chose at the same moment: one steps back
        return rotation_key(store=store, plan=plan, settings=settings, template=template, actor=actor)
    return plan


def prepared_for(store: Store, plan: RotationPlan) -> str | None:
    """Name a prepared key that fits; a key that a killed rotation made is found here too.

    A key that another gallery's rotation has chosen is taken, and one that does not open is passed over.
    """
    keys = KeyStore(store.keys)
    taken = {other.new_key for other in other_plans(store, plan.gallery)}
    while (record := prepared_key(keys, plan.recovery, taken=taken)) and not is_usable(store, record.key_id):
        taken.add(record.key_id)
    if record is None:
        return None
    if plan.retrain_generator:
        old, new = (keys.load(name, purpose="inspect") for name in (plan.old_key, record.key_id))
        if old.generator_bytes == new.generator_bytes:
            return None
    return record.key_id


def is_usable(store: Store, key_id: str) -> bool:
    """Tell whether a rotation can go on with a key; one in use has been opened before, and must open again.

    Raises:
        KeyRefused: the passphrase is not the store's, or a change of it has not ended.
        IntegrityError: the vault or the key's record is damaged.
    """
    keys = KeyStore(store.keys)
    state = keys.show(key_id).state
    if state is not State.PRE_ACTIVATION:
        return state in USABLE
    # Here, where the vault opens and no change is under way, it is the key and not the passphrase that is wrong.
    require_passphrase(store.keys, find_passphrase())
    try:
        keys.load(key_id, purpose="inspect")
    except KeyRefused as error:
        if unfinished_change(store.keys):
            raise
        logger.warning("Prepared key %s is passed over: %s End it with: avih keys destroy", key_id, error)
        return False
    return True


def other_plans(store: Store, gallery: str) -> Iterator[RotationPlan]:
    """Yield the rotations that are under way for other galleries."""
    for other in store.galleries():
        with suppress(IntegrityError):  # told by whoever rotates that gallery
            if other != gallery and (plan := read_plan(store, other)):
                yield plan


def needed_elsewhere(store: Store, plan: RotationPlan) -> bool:
    """Tell whether another gallery lives on the new key or is about to."""
    users = set(galleries_using(store, str(plan.new_key))) - {plan.gallery}
    return bool(users) or plan.new_key in {other.new_key for other in other_plans(store, plan.gallery)}
