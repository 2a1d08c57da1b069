"""Key stage: train a generator on public pictures (where the recovery has one), draw a secret, seal both."""

import os
import secrets
from pathlib import Path

import numpy as np

from avih.align import TEMPLATES
from avih.datasets.pictures import pictures_of_folder, public_pictures
from avih.device import chosen_device
from avih.errors import KeyRefused, UsageError
from avih.generators import build_generator, save_generator
from avih.key_gate import GateSettings
from avih.key_training import PictureSampler, train_generator
from avih.keys import Key, KeyRecord, KeyStore, find_passphrase, new_secret
from avih.keys.vault import require_passphrase
from avih.naming import Store
from avih.settings import ARCHITECTURE_OF, KeySettings, Recovery
from tasks.key_gate import GATE_SETTINGS, GateRecord, activate_key
from tasks.progress import advance
from tasks.records import Record


class KeyMade(Record):
    """A new key's public facts; ``gate`` if it went through the activation gate, no loss without training."""

    key_id: str
    state: str
    architecture: str
    parameters: int
    training_l1: float | None
    gate: GateRecord | None = None


def create_key(
    *,
    store: str,
    settings: KeySettings,
    recovery: Recovery,
    template: str,
    pictures: str | None,
    actor: str,
    reason: str,
    activate: bool,
    gate: GateSettings = GATE_SETTINGS,
) -> KeyMade:
    """Make, seal and (if asked) activate a key.

    Args:
        store: root of the store.
        settings: generator and recipe.
        recovery: what the key will serve.
        template: size of the training crops, by template name.
        pictures: folder of training pictures; the built-in public ones by default.
        actor: who asks, for the key's log.
        reason: why, for the key's log.
        activate: put the key to use at once, if it passes the activation gate.
        gate: how the gate tries it.

    Raises:
        KeyRefused: the passphrase cannot seal or is not the store's, or the gate refuses; in the last case the
            key stays in pre_activation.
        UsageError: the generator does not serve the recovery, or training pictures for a key without one.
    """
    if settings.architecture != ARCHITECTURE_OF[recovery]:
        raise UsageError(
            f"Expected the architecture {ARCHITECTURE_OF[recovery]!r} for recovery {recovery!r}, got "
            f"{settings.architecture!r}. Choose settings and recovery that fit."
        )
    passphrase = find_passphrase(confirm=True)
    folder = Store.find(store).keys
    passphrase.require_length()  # a bad passphrase is told before minutes of training, not after
    require_passphrase(folder, passphrase)
    made = _without_generator if settings.architecture == "none" else _with_generator
    key = made(settings=settings, template=template, pictures=pictures)
    keys = KeyStore(folder, passphrase)
    record = keys.add(key, actor=actor, reason=reason, recovery=recovery)
    if not activate:
        return _made(record)
    passed = activate_key(store=store, key_id=record.key_id, actor=actor, reason=reason, settings=gate)
    return _made(keys.show(record.key_id), gate=passed)


def _with_generator(*, settings: KeySettings, template: str, pictures: str | None) -> Key:
    """Train the generator of a new key."""
    size = TEMPLATES[template]
    seed = secrets.randbits(63) | (1 << 62)
    sampler = PictureSampler(
        pictures=pictures_of_folder(Path(pictures)) if pictures else public_pictures(),
        height=size.height,
        width=size.width,
        rng=np.random.default_rng(secrets.randbits(128)),
    )
    trained = train_generator(
        settings=settings,
        sampler=sampler,
        seed=seed,
        device=chosen_device(),
        progress=lambda done: advance("key", done),
    )
    data = save_generator(trained.generator, architecture=settings.architecture, options=settings.options())
    recipe: dict[str, str | int | float] = {
        **{name: value for name, value in settings.model_dump().items() if value is not None},
        "pictures": "own folder" if pictures else "public",
        "training_l1": round(trained.losses["l1"], 5),
    }
    return Key.create(generator_bytes=data, recipe=recipe, training_seed=seed)


def _without_generator(*, settings: KeySettings, template: str, pictures: str | None) -> Key:
    """Make a key without a generator: a secret is all it takes."""
    if pictures:
        raise UsageError(
            f"Expected no training pictures for a sealed key or another without a generator, got {pictures}: "
            "nothing is trained."
        )
    recipe: dict[str, str | int | float] = {"architecture": settings.architecture}
    if settings.leak_budget is not None:
        recipe["leak_budget"] = settings.leak_budget
    generator = build_generator(architecture=settings.architecture, options=settings.options())
    data = save_generator(generator, architecture=settings.architecture, options=settings.options())
    advance("key")
    return Key.create(generator_bytes=data, recipe=recipe, training_seed=None)


def renew_secret(*, store: str, key_id: str, actor: str, reason: str) -> KeyMade:
    """Make a key with the generator of another and a new secret, in state pre_activation: no training.

    Raises:
        KeyRefused: the key is unmixed, so that its generator is all of its secret; or it is destroyed; or the
            passphrase is missing or wrong.
        UsageError: no key, or more than one, begins like this.
        IntegrityError: a file of the key is missing or damaged.
    """
    keys = KeyStore(Store.find(store).keys, find_passphrase(confirm=True))
    record = keys.show(key_id)
    if record.recovery == "unmixed":
        raise KeyRefused(
            f"Expected a keyed key to renew the secret of, got {record.key_id}, which is unmixed: its "
            "generator is the secret. Train a new one with: avih keys create --recovery unmixed"
        )
    key = new_secret(keys.load(record.key_id, purpose="inspect"))
    made = keys.add(key, actor=actor, reason=reason, recovery=record.recovery)
    return _made(made)


def _made(record: KeyRecord, *, gate: GateRecord | None = None) -> KeyMade:
    loss = record.recipe.get("training_l1")
    return KeyMade(
        key_id=record.key_id,
        state=str(record.state),
        architecture=record.architecture,
        parameters=record.parameters,
        training_l1=None if loss is None else float(loss),
        gate=gate,
    )


def default_actor() -> str:
    """Name who runs this process, for the key log."""
    return os.environ.get("AVIH_ACTOR") or os.environ.get("USER") or f"uid-{os.getuid()}"
