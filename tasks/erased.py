"""Who was erased from a gallery: a signed list of keyed hashes, so that nobody comes back and no name is kept."""

from avih.errors import IntegrityError
from avih.naming import Store
from tasks.signed_json import ERASED_LABEL, read_signed, write_signed


def read_erased(*, store: Store, gallery: str, mac_key: bytes | None) -> frozenset[str]:
    """Return the keyed hashes (:func:`avih.scanning.person_mac`) of the persons erased from a gallery.

    Args:
        store: where.
        gallery: its name.
        mac_key: compares the signature; earlier releases wrote the list without one.

    Raises:
        IntegrityError: the file is damaged or was altered; indexing without it would bring erased persons back.
    """
    path = store.erased(gallery)
    content = read_signed(path, mac_key=mac_key, label=ERASED_LABEL, unsigned=True)
    if content is None:
        return frozenset()
    persons = content.pop("persons", None)
    if content or not isinstance(persons, list):
        raise IntegrityError(
            f"Expected the erased persons of {gallery} in {path}, got a damaged file. Restore it from a backup, "
            "or remove it and erase the persons again."
        )
    return frozenset(str(mac) for mac in persons)


def remember_erased(*, store: Store, gallery: str, person_mac: str, mac_key: bytes) -> None:
    """Add a person's keyed hash to the list."""
    persons = sorted(read_erased(store=store, gallery=gallery, mac_key=mac_key) | {person_mac})
    write_signed(store.erased(gallery), {"persons": persons}, mac_key=mac_key, label=ERASED_LABEL, mode=0o600)
