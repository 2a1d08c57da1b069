"""Key stage: train a generator on public pictures, draw a secret, seal both."""

import os
import secrets
from pathlib import Path

import numpy as np

from avih.align import TEMPLATES
from avih.datasets.pictures import pictures_of_folder, public_pictures
from avih.errors import KeyRefused
from avih.generators import save_generator
from avih.key_gate import GateSettings
from avih.key_training import PictureSampler, train_generator
from avih.keys import Key, KeyRecord, KeyStore, find_passphrase, new_secret
from avih.naming import Store
from avih.settings import KeySettings, Recovery
from tasks.key_gate import GATE_SETTINGS, GateRecord, activate_key
from tasks.progress import advance
from tasks.records import Record


class KeyMade(Record):
    """A new key's public facts; ``gate`` if it went through the activation gate."""

    key_id: str
    state: str
    architecture: str
    parameters: int
    training_l1: float
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
        KeyRefused: the passphrase cannot seal, or the gate refuses; the key then stays in pre_activation.
    """
    passphrase = find_passphrase(confirm=True)
    passphrase.require_length()  # a bad passphrase is told before minutes of training, not after
    size = TEMPLATES[template]
    seed = secrets.randbits(63) | (1 << 62)
    sampler = PictureSampler(
        pictures=pictures_of_folder(Path(pictures)) if pictures else public_pictures(),
        height=size.height,
        width=size.width,
        rng=np.random.default_rng(secrets.randbits(128)),
    )
    trained = train_generator(
        settings=settings, sampler=sampler, seed=seed, progress=lambda done: advance("key", done)
    )
    data = save_generator(trained.generator, architecture=settings.architecture, options=settings.options())
    recipe: dict[str, str | int | float] = {
        **{name: value for name, value in settings.model_dump().items() if value is not None},
        "pictures": "own folder" if pictures else "public",
        "training_l1": round(trained.losses["l1"], 5),
    }
    key = Key.create(generator_bytes=data, recipe=recipe, training_seed=seed)
    keys = KeyStore(Store(Path(store)).keys, passphrase)
    record = keys.add(key, actor=actor, reason=reason, recovery=recovery)
    if not activate:
        return _made(record, training_l1=trained.losses["l1"])
    passed = activate_key(store=store, key_id=record.key_id, actor=actor, reason=reason, settings=gate)
    return _made(keys.show(record.key_id), training_l1=trained.losses["l1"], gate=passed)


def renew_secret(*, store: str, key_id: str, actor: str, reason: str) -> KeyMade:
    """Make a key with the generator of another and a new secret, in state pre_activation: no training.

    Raises:
        KeyRefused: the key is unmixed, so that its generator is all of its secret; or it is destroyed; or the
            passphrase is missing or wrong.
        UsageError: no key, or more than one, begins like this.
        IntegrityError: a file of the key is missing or damaged.
    """
    keys = KeyStore(Store(Path(store)).keys, find_passphrase(confirm=True))
    record = keys.show(key_id)
    if record.recovery == "unmixed":
        raise KeyRefused(
            f"Expected a keyed key to renew the secret of, got {record.key_id}, which is unmixed: its "
            "generator is the secret. Train a new one with: avih keys create --recovery unmixed"
        )
    key = new_secret(keys.load(record.key_id, purpose="inspect"))
    made = keys.add(key, actor=actor, reason=reason, recovery=record.recovery)
    return _made(made, training_l1=float(record.recipe["training_l1"]))


def _made(record: KeyRecord, *, training_l1: float, gate: GateRecord | None = None) -> KeyMade:
    return KeyMade(
        key_id=record.key_id,
        state=str(record.state),
        architecture=record.architecture,
        parameters=record.parameters,
        training_l1=training_l1,
        gate=gate,
    )


def default_actor() -> str:
    """Name who runs this process, for the key log."""
    return os.environ.get("AVIH_ACTOR") or os.environ.get("USER") or f"uid-{os.getuid()}"
