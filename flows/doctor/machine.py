"""Checks of the machine: a passphrase, the packages' versions, what computes, room on the disk."""

import os
import shutil
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement

from avih.device import DEVICE_VARIABLE, chosen_device, machine_name
from avih.errors import AvihError
from avih.keys import Vault, find_passphrase
from avih.keys.passphrase import KEY_FILE_VARIABLE, PASSPHRASE_VARIABLE, passphrase_given
from avih.naming import Stage, Store
from flows.doctor.finding import Case, Finding, fine, to_do
from tasks.status_disk import folder_size

# With newer ones every flow fails, or schedules never fire and only the server's log says so.
PINNED: Final = ("fastapi<0.151", "sqlalchemy<2.1")
GRAPHICS_CARD: Final = Path("/proc/driver/nvidia/version")
LEAST_FREE: Final = 2**30  # bytes
STAGES: Final[tuple[Stage, ...]] = ("aligned", "protected", "evaluated")


def passphrase(case: Case) -> Iterator[Finding]:
    """Can jobs that nobody sits at open the keys?"""
    what = "passphrase"
    if not passphrase_given():
        yield to_do(
            what, "none in the environment",
            do=f"Set {KEY_FILE_VARIABLE} (a file of mode 600) or {PASSPHRASE_VARIABLE} where jobs are started.",
        )  # fmt: skip
        return
    try:
        find_passphrase()
        vault = Vault(case.store.keys)
        if not vault.path.exists():
            yield fine(what, "given; there is no key yet that it could open")
            return
        vault.mac_key(create=False)
    except AvihError as error:
        yield to_do(what, str(error), do="Give the passphrase that the store's keys are sealed with.")
    else:
        yield fine(what, "given, and it opens the vault")


def packages(_: Case) -> Iterator[Finding]:
    """Are all packages in the range that avih works with?"""
    try:
        declared = metadata.requires("avih") or []
    except metadata.PackageNotFoundError:  # run from its source
        declared = list(PINNED)
    wanted = [Requirement(text) for text in declared]
    wrong = [
        f"{one.name} {found or 'missing'} (expected {one.specifier or 'any'})"
        for one in wanted
        if (one.marker is None or one.marker.evaluate({"extra": ""}))
        and ((found := _version(one.name)) is None or not one.specifier.contains(found, prereleases=True))
    ]
    if wrong:
        yield to_do("packages", "; ".join(wrong), do="Run make setup, or pip install with constraints.txt.")
    else:
        yield fine("packages", f"{len(wanted)} in their ranges")


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def device(_: Case) -> Iterator[Finding]:
    """What computes, and is it what the machine has?"""
    try:
        chosen = chosen_device()
    except AvihError as error:
        yield to_do("device", str(error), do=f"Correct {DEVICE_VARIABLE}, or the driver.")
        return
    if chosen.type == "cpu" and GRAPHICS_CARD.exists() and not os.environ.get(DEVICE_VARIABLE):
        yield to_do(
            "device", "there is a graphics card that torch does not see",
            do=f"Install a torch that fits the driver, or set {DEVICE_VARIABLE}=cpu if it is meant.",
        )  # fmt: skip
    else:
        yield fine("device", machine_name(chosen))


def room(case: Case) -> Iterator[Finding]:
    """Is there room for the next version of the largest gallery?"""
    sizes = {name: _newest_version(case.store, name) for name in case.store.galleries()}
    largest = max(sizes, key=lambda name: sizes[name], default="")
    needed = max(LEAST_FREE, sizes.get(largest, 0))
    free = shutil.disk_usage(case.store.root).free
    found = f"{_gib(free)} free"
    if largest:
        found += f", the last version of {largest} takes {_gib(sizes[largest])}"
    if free < needed:
        yield to_do("disk", found, do="Free or add room: the next version takes about as much as the last.")
    else:
        yield fine("disk", found)


def _newest_version(store: Store, gallery: str) -> int:
    """Return the bytes of a gallery's newest version."""
    versions = store.versions(gallery)
    if not versions:
        return 0
    roots = [store.gallery_root(stage, gallery) for stage in STAGES]
    return sum(folder_size(path) for root in roots for path in root.rglob(versions[-1]) if path.is_dir())


def _gib(size: int) -> str:
    return f"{size / 2**30:.2f} GiB"
