"""What every dry run checks as the job itself would: the passphrase, the gallery's lock, the weights at hand."""

from pathlib import Path
from typing import Final
from urllib.parse import urlparse

from avih.keys import LeakBudget, Vault, find_passphrase
from avih.naming import Store
from avih.recognisers import read_card
from avih.recognisers.load import brings_weights
from tasks import opened
from tasks.gallery_lock import GalleryBusy
from tasks.records import RecogniserChoice
from tasks.status_parts import Lock, read_lock

FETCHED_FIRST: Final = "the recogniser's weights would be fetched first"


def check_passphrase(store: Store) -> None:
    """Check that there is a passphrase, and that it opens the store's vault; none is made.

    Raises:
        KeyRefused: there is none, it is the wrong one, or it is too short for a new store.
        IntegrityError: the vault's file is damaged.
    """
    passphrase = find_passphrase()
    vault = Vault(store.keys, passphrase)
    if vault.path.exists() or store.galleries():
        vault.mac_key(create=False)
    elif not any(store.keys.glob("*.key")):
        passphrase.require_length()


def holder(store: Store, gallery: str) -> str:
    """Say who holds a gallery; empty where nobody does."""
    lock = read_lock(store, gallery)
    return _told(lock) if lock.state == "held" else ""


def check_free(store: Store, gallery: str) -> None:
    """Check that no job holds the gallery; nothing is waited for, and the lock is not taken.

    Raises:
        GalleryBusy: one does.
    """
    if held := holder(store, gallery):
        raise GalleryBusy(f"Expected gallery {gallery} to be free, got: {held}. Wait for it to end.")


def _told(lock: Lock) -> str:
    if not lock.purpose:
        return "a process that has just begun"
    return f"{lock.purpose} by process {lock.pid} on {lock.host} since {lock.since}"


def budget_left(store: Store, key_id: str) -> int:
    """Return how many more pictures a key may protect."""
    budget = LeakBudget(store.keys, key_id)
    return max(0, budget.limit() - budget.used())


def fingerprint_at_hand(choice: RecogniserChoice, store: Store) -> str | None:
    """Load a recogniser, check its probe and return its fingerprint; None if its weights are still to fetch.

    Raises:
        UsageError, IntegrityError: as :func:`avih.recognisers.load_recogniser`.
    """
    card = read_card(choice.card)
    if choice.weights is None and not (card.weights and card.weights.is_file()) and card.address:
        fetched = store.sources / f"{card.name}{Path(urlparse(card.address).path).suffix}"
        if not fetched.is_file() and not brings_weights(card, None):
            return None
    return opened.recogniser(choice, store.root).fingerprint
