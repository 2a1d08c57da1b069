"""Open what tasks need, once per process: recognisers, aligners, keys and vaults.

Opening a key runs scrypt and a recogniser's probe runs a network; doing either per shard would be waste.
"""

from collections.abc import Callable
from functools import lru_cache, wraps
from pathlib import Path
from threading import RLock
from typing import ParamSpec, TypeVar

from torch import nn

from avih.align import Aligner
from avih.device import chosen_device
from avih.errors import UsageError
from avih.generators import load_generator
from avih.keys import Key, KeyStore, Vault
from avih.keys.store import Purpose
from avih.naming import Store
from avih.recognisers import Recogniser, load_recogniser
from avih.recovery import Opening
from avih.settings import AlignSettings, Recovery
from avih.veils.store import VeilStore
from tasks.records import Place, RecogniserChoice

_Params = ParamSpec("_Params")
_Result = TypeVar("_Result")
_opening = RLock()


def _once(function: Callable[_Params, _Result]) -> Callable[_Params, _Result]:
    """Remember a few results; two shards that ask at the same time open it once."""
    cached = lru_cache(maxsize=8)(function)
    _caches.append(cached.cache_clear)

    @wraps(function)
    def opened(*args: _Params.args, **kwargs: _Params.kwargs) -> _Result:
        with _opening:
            return cached(*args, **kwargs)  # type: ignore[arg-type]  # all arguments here are hashable

    return opened


_caches: list[Callable[[], None]] = []


@_once
def recogniser(choice: RecogniserChoice, store: Path) -> Recogniser:
    """Load a recogniser, check its probe, and bring it to this machine's device."""
    return load_recogniser(
        card=choice.card, weights=choice.weights_path, cache=Store(store).sources, device=_device()
    )


def another_recogniser(choice: RecogniserChoice, store: Path, *, service: Recogniser) -> Recogniser:
    """Load a second recogniser, which judges reconstructions and must have had no part in protection.

    Raises:
        UsageError: it is the service model.
    """
    found = recogniser(choice, store)
    if found.fingerprint == service.fingerprint:
        raise UsageError(
            f"Expected a second recogniser that took no part in protection, got the service model "
            f"{choice.card!r} itself. Give another card, or none."
        )
    return found


def _device() -> str:
    return str(
        chosen_device()
    )  # AVIH_DEVICE, or a GPU where there is one: the worker's choice, not the run's


@_once
def aligner(settings: AlignSettings) -> Aligner:
    """Load MTCNN."""
    return Aligner(
        template=settings.template,
        minimum_confidence=settings.minimum_confidence,
        batch_size=settings.batch_size,
        device=_device(),
    )


@_once
def vault(store: Path) -> Vault:
    """Open the vault of sealed originals; made when the first original is sealed."""
    return Vault(Store(store).keys)


@_once
def _sealed_key(store: Path, key_id: str) -> tuple[Key, nn.Module]:
    opened = KeyStore(Store(store).keys).load(key_id, purpose="inspect")
    return opened, load_generator(opened.generator_bytes, device=_device())


def key(store: Path, *, key_id: str, purpose: Purpose) -> tuple[Key, nn.Module]:
    """Open a key with its generator; the key's state is looked up each time, the file only once.

    Raises:
        KeyRefused: the key's state does not allow the purpose, or the passphrase is wrong.
    """
    KeyStore(Store(store).keys).require(key_id, purpose=purpose)
    return _sealed_key(store, key_id)


def veils(place: Place, *, key_id: str, purpose: Purpose) -> VeilStore:
    """Open the veils of a gallery under a key, for what the key's state allows.

    Raises:
        KeyRefused: as for :func:`key`.
    """
    found, _ = key(place.folder.root, key_id=key_id, purpose=purpose)
    return VeilStore(place.folder.keys, found, place.gallery)


def opening(place: Place, *, key_id: str, recovery: Recovery, purpose: Purpose) -> Opening:
    """Open all that brings a gallery's pictures back: secret, generator and, where there are any, veils.

    Raises:
        KeyRefused: as for :func:`key`.
    """
    found, generator = key(place.folder.root, key_id=key_id, purpose=purpose)
    own = veils(place, key_id=key_id, purpose=purpose) if recovery == "veil" else None
    return Opening(found.secret.reveal(), generator, own)


def forget() -> None:
    """Drop everything opened, so that tests see files as they are."""
    for clear in _caches:
        clear()
