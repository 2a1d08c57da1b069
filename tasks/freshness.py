"""A task begins with what other machines have written by then, where its store lies elsewhere."""

from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any

from avih.mirror import seam
from avih.naming import KEYS_FOLDER, ShardAddress, Store
from tasks.records import Place


def freshened(function: Callable[..., Any]) -> Callable[..., Any]:
    """Look at the store before the function runs; it is found by the arguments: a ``Place``, or ``store``.

    The task of one shard looks at that shard alone, so that what it costs does not grow with the gallery.
    """

    @wraps(function)
    def fresh(*args: Any, **kwargs: Any) -> Any:
        places = [found for found in kwargs.values() if isinstance(found, Place)]
        number, key_id = kwargs.get("number"), kwargs.get("key_id")
        if not places and isinstance(kwargs.get("store"), str):
            gallery = kwargs.get("gallery") or getattr(kwargs.get("plan"), "gallery", None)
            Store.find(kwargs["store"]).refreshed(gallery)
        for place in places:
            if isinstance(number, int):
                _look_at_shard(place, number, key_id)
            else:
                place.folder.refreshed(place.gallery)
        return function(*args, **kwargs)

    return fresh


def _look_at_shard(place: Place, number: int, key_id: str | None) -> None:
    """See keys and index, and the shard in every version: work is taken over from earlier ones."""
    store = place.folder
    if not seam.is_elsewhere(store.root):
        return
    index = store.gallery_root("index", place.gallery).relative_to(store.root)
    seam.refreshed(store.root, f"{KEYS_FOLDER}/", f"{index}/")
    seam.refreshed(store.root, *_shard_names(store, place.gallery, number, key_id))


def _shard_names(store: Store, gallery: str, number: int, key_id: str | None) -> Iterator[str]:
    for version in store.versions(gallery):
        addresses = [ShardAddress("aligned", gallery, version, number)]
        if key_id is not None:
            addresses += [
                ShardAddress(s, gallery, version, number, key_id) for s in ("protected", "evaluated")
            ]
        yield from (f"{address.folder}/{address.name}." for address in addresses)
