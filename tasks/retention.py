"""Which versions stay after a rotation, and how the others go."""

import contextlib
from pathlib import Path
from typing import Final

from avih.atomic import remove_tree
from avih.gallery import History, read_history
from avih.names import KEY_ID
from avih.naming import Stage, Store, version_number
from tasks import opened

_KEYED: Final[tuple[Stage, ...]] = ("evaluated", "protected")  # in the order of removal


def galleries_using(store: Store, key_id: str) -> list[str]:
    """Name the galleries whose current version is protected under a key."""
    using = []
    for gallery in store.galleries():
        current = read_history(store=store, gallery=gallery, mac_key=None).current
        if current and current.key_id == key_id:
            using.append(gallery)
    return using


def old_versions(history: History, versions: list[str], *, current: str, keep: int) -> list[str]:
    """Name the versions before the current one but the ``keep`` newest that were promoted."""
    newest = version_number(current)
    earlier = [version for version in versions if version_number(version) < newest]
    promoted = [v for v in earlier if v in {entry.version for entry in history.promotions}]
    kept = set(promoted[len(promoted) - keep :] if keep else [])
    return [version for version in earlier if version not in kept]


def remove_old_versions(*, store: Store, gallery: str, keep: int) -> list[str]:
    """Remove all versions before the current one but the ``keep`` newest that were promoted; name them.

    Index last: a version whose index is gone is gone for every reader, and a kill in between is made good by
    the next call.
    """
    history = read_history(store=store, gallery=gallery, mac_key=opened.vault(store.root).mac_key())
    current = history.current
    if current is None:
        return []
    removed = old_versions(history, store.versions(gallery), current=current.version, keep=keep)
    for version in removed:
        remove_version(store=store, gallery=gallery, version=version)
    _remove_empty(store, gallery)
    return removed


def remove_version(*, store: Store, gallery: str, version: str) -> None:
    """Remove every folder of a version; its sealed originals stay in the versions that share them.

    After a kill the next call goes on: what was measured goes first, because it shows faces in clear, and its
    keys are looked for wherever a folder of one is left.
    """
    for stage in _KEYED:
        for key_id in _keys_in(stage, store=store, gallery=gallery, version=version):
            _remove(store.folder(stage, gallery=gallery, version=version, key_id=key_id))
    _remove(store.folder("aligned", gallery=gallery, version=version))
    _remove(store.attacked(gallery=gallery, version=version))
    _remove(store.folder("audited", gallery=gallery, version=version))
    _remove(store.folder("index", gallery=gallery, version=version))


def _keys_in(stage: Stage, *, store: Store, gallery: str, version: str) -> list[str]:
    """Name the keys under which one stage has a folder of a version."""
    root = store.gallery_root(stage, gallery)
    folders = root.iterdir() if root.is_dir() else ()
    return sorted(one.name for one in folders if KEY_ID.fullmatch(one.name) and (one / version).is_dir())


def _remove_empty(store: Store, gallery: str) -> None:
    """Remove keys' folders without a version: a kill may have come between a version and its key's folder."""
    for stage in _KEYED:
        root = store.gallery_root(stage, gallery)
        for folder in root.iterdir() if root.is_dir() else ():
            if folder.is_dir():
                with contextlib.suppress(OSError):  # it has versions
                    folder.rmdir()


def _remove(folder: Path) -> None:
    if folder.is_dir():
        remove_tree(folder)
        with contextlib.suppress(OSError):  # a key's folder goes with its last version
            folder.parent.rmdir()
