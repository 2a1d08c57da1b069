"""Checks of the store's files: who may read the keys, what killed runs left behind, who holds what."""

import stat
from collections.abc import Iterator
from typing import Final

from avih.atomic import remove_leftovers
from avih.errors import AvihError
from flows.doctor.finding import REPAIR, Case, Finding, fine, mended, not_known, to_do
from flows.server.lock import server_of
from tasks.status_disk import read_disk
from tasks.status_parts import read_lock
from tasks.worker_probe import mark_in_store

OTHERS: Final = 0o077
NOT_SECRET: Final = ("README.md",)
MOST_NAMED: Final = 3


def private(case: Case) -> Iterator[Finding]:
    """May anybody else look at the keys, or at what Prefect keeps?"""
    keys = case.store.keys
    paths = [keys, *keys.rglob("*")] if keys.is_dir() else []
    open_to_others = [
        path
        for path in [*paths, *([case.store.prefect] if case.store.prefect.is_dir() else [])]
        if path.name not in NOT_SECRET
        and not path.is_symlink()
        and stat.S_IMODE(path.stat().st_mode) & OTHERS
    ]
    if not open_to_others:
        yield fine("permissions", f"{keys.name} is its owner's alone" if paths else "there are no keys yet")
        return
    found = (
        f"others may look at {_named([str(path.relative_to(case.store.root)) for path in open_to_others])}"
    )
    if not case.repair:
        yield to_do("permissions", found, do=REPAIR)
        return
    try:
        for path in open_to_others:
            path.chmod(stat.S_IMODE(path.stat().st_mode) & ~OTHERS)
    except OSError as error:
        yield to_do(
            "permissions", f"{found}; {error}", do="Run avih doctor --repair as the owner of the files."
        )
    else:
        yield mended("permissions", f"taken from others: {_named([path.name for path in open_to_others])}")


def leftovers(case: Case) -> Iterator[Finding]:
    """Did killed processes leave temporary files?"""
    what = "temporary files"
    found = read_disk(case.store.root).stragglers
    ended = [one for one in found if one.maker == "ended"]
    if ended and case.repair:
        folders = sorted({(case.store.root / one.path).parent for one in ended})
        gone = [path for folder in folders for path in remove_leftovers(folder)]
        yield mended(what, f"removed {_named([path.name for path in gone])}")
    elif ended:
        yield to_do(what, f"left by processes that ended: {_named([one.path for one in ended])}", do=REPAIR)
    else:
        yield fine(what, "none that a killed process left")
    if others := [one.path for one in found if one.maker == "unknown"]:
        yield not_known(
            what, f"made by another machine, or by whom is not known: {_named(others)}",
            do="Run avih doctor on the machine that made them; remove them if there is none any more.",
        )  # fmt: skip


def locks(case: Case) -> Iterator[Finding]:
    """Who holds which gallery, and is that process there?"""
    for gallery in case.store.galleries():
        what, lock = f"lock of {gallery}", read_lock(case.store, gallery)
        holder = f"{lock.purpose} by process {lock.pid} on {lock.host} since {lock.since}"
        if lock.stale:
            yield to_do(
                what, f"held: {holder}, of which there is no sign of life",
                do=f"See whether process {lock.pid} or one that it began works there; end it. A lock of a folder "
                "goes with its processes; one of a store elsewhere is taken over by the next job.",
            )  # fmt: skip
        elif lock.state == "held":
            yield fine(what, f"held: {holder}")
        elif lock.state == "unknown":
            yield not_known(
                what, "this file system has no locks", do="Let one machine alone change the store."
            )
        else:
            yield fine(what, "free")
    if (server := server_of(case.store)) is not None:
        yield fine("lock of the server", f"held by process {server.get('pid', '?')}")


def _named(names: list[str]) -> str:
    """Name a few, and count the others."""
    more = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def folders(case: Case) -> Iterator[Finding]:
    """May this user write to the store?"""
    try:
        with mark_in_store(case.store):
            pass
    except (AvihError, OSError) as error:
        yield to_do("store", f"{case.store.address}: {error}", do="Let this user write there.")
    else:
        yield fine("store", f"{case.store.address}, galleries: {len(case.store.galleries())}")
