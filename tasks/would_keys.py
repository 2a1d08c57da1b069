"""What a change of a key, of a gallery's current version or of its policy would do; nothing is written."""

from typing import Any

from avih.errors import IntegrityError, UsageError
from avih.key_use import versions_of_key
from avih.keys import KeyStore, State, find_passphrase
from avih.keys.records import find_key, missing
from avih.keys.sealing import RESTORE
from avih.keys.states import check_actor, check_transition, parse_state
from avih.naming import Store
from avih.settings import KeySettings, Recovery
from tasks.create_key import default_actor
from tasks.dry_checks import check_free, check_passphrase
from tasks.key_gate import live_keys
from tasks.promotion import check_promotion, earlier_version
from tasks.run_record import load_run


def would_switch(*, store: Store, gallery: str, version: str | None) -> dict[str, Any]:
    """Say what making a version current would do; None: the one that was so before. Its bytes are verified.

    Raises:
        IntegrityError: a file is not what was signed, or the version is not as it was promoted before.
        QualityBelowLimits: the gallery's policy asks for an audit that the version has not passed.
        UsageError: no such version, or none before.
        GalleryBusy: a job holds the gallery.
    """
    check_passphrase(store)
    check_free(store, gallery)
    chosen = version or earlier_version(store=store, gallery=gallery).version
    record = load_run(store=store, gallery=gallery, version=chosen)
    before, manifest = check_promotion(
        place=record.place(store), key_id=record.key_id, again=version is None, by_hand=True
    )
    now = (before.version, before.manifest_sha256) if before else None
    return {
        "gallery": gallery, "version": chosen, "key_id": record.key_id,
        "before": before.version if before else None, "switched": now != (chosen, manifest.digest()),
        "key_state": str(KeyStore(store.keys).show(record.key_id).state),
        "gates": "every byte is as it was signed"
        + ("; it was live before and needs no audit" if version is None else "; the policy asks for no more"),
    }  # fmt: skip


def would_transition(*, store: Store, key_id: str, to: str, reason: str) -> dict[str, Any]:
    """Say what changing a key's state would do; needs no passphrase.

    Raises:
        UsageError: no such key, or no reason.
        KeyRefused: the present state does not allow it.
    """
    check_actor(actor=default_actor(), reason=reason)
    keys, target = KeyStore(store.keys), parse_state(to)
    states = keys.log.states()
    full_id = find_key(key_id, states)
    check_transition(full_id, states[full_id], target)
    serving = sorted({use.gallery for use in versions_of_key(store, full_id) if use.current})
    return {"key_id": full_id, "from": str(states[full_id]), "to": str(target), "reason": reason,
            "serving": serving}  # fmt: skip


def would_activate(*, store: Store, key_id: str, reason: str) -> dict[str, Any]:
    """Say what activating a key would do, the activation gate left out, which takes minutes.

    Raises:
        UsageError, KeyRefused, IntegrityError: as activating would, before the gate.
    """
    facts = would_transition(store=store, key_id=key_id, to=State.ACTIVE, reason=reason)
    keys = KeyStore(store.keys)
    if not (path := store.keys / f"{facts['key_id']}.key").is_file():
        raise missing(path, RESTORE)
    keys.load(facts["key_id"], purpose="inspect")
    others = [record.key_id for record in live_keys(keys, keys.show(facts["key_id"]))]
    return facts | {"gate": "it would be tried on drawn faces first", "against": others}


def would_create(
    *, store: Store, settings: KeySettings, recovery: Recovery, template: str, pictures: str | None,
    activate: bool, reason: str,
) -> dict[str, Any]:  # fmt: skip
    """Say which key would be made.

    Raises:
        UsageError: unknown words, or training pictures for a key without a generator.
        KeyRefused: the passphrase cannot seal, or is not that of the store.
    """
    check_actor(actor=default_actor(), reason=reason)
    find_passphrase(confirm=True)
    check_passphrase(store)
    trained = settings.architecture != "none"
    if pictures and not trained:
        raise UsageError(
            f"Expected no training pictures for a sealed key or another without a generator, got {pictures}: "
            "nothing is trained."
        )
    return {
        "recovery": recovery, "architecture": settings.architecture,
        "steps": settings.steps if trained else 0, "template": template if trained else None,
        "pictures": (pictures or "public") if trained else None,
        "state": str(State.ACTIVE if activate else State.PRE_ACTIVATION),
        "gate": "it would be tried on drawn faces first" if activate else "none: it waits",
    }  # fmt: skip


def would_rebuild(*, store: Store, key_id: str) -> dict[str, Any]:
    """Say whether a key's public record differs from the copy that is sealed with the key.

    Raises:
        UsageError: no such key.
        KeyRefused: the passphrase is missing or wrong.
        IntegrityError: the sealed file is missing or damaged.
    """
    keys = KeyStore(store.keys)
    full_id = find_key(key_id, keys.log.states())
    sealed = keys.sealed_record(full_id)
    try:
        same = keys.show(full_id).public() == sealed
    except IntegrityError:  # which is what the command is for
        same = False
    return {"key_id": full_id, "record": "is as it was sealed" if same else "would be written anew"}
