"""Change the passphrase of a store while nobody works on its galleries."""

from contextlib import ExitStack

from avih.keys import Passphrase
from avih.keys.resealing import PassphraseChange, change_passphrase
from avih.naming import Store
from tasks.gallery_lock import gallery_lock


def change_store_passphrase(
    *, store: Store, old: Passphrase, new: Passphrase, actor: str
) -> PassphraseChange:
    """Hold every gallery and seal all files of the store's keys anew.

    Raises:
        GalleryBusy: somebody works on a gallery; nothing was changed.
        KeyRefused, UsageError, IntegrityError: see :func:`avih.keys.resealing.change_passphrase`.
    """
    with ExitStack() as held:
        for gallery in store.galleries():
            held.enter_context(gallery_lock(store, gallery, purpose="a change of the passphrase"))
        return change_passphrase(store.keys, old=old, new=new, actor=actor)
