"""Disks that are full, read-only or broken: a clear message, nothing half visible, and the way back."""

import errno
import shutil
from pathlib import Path
from random import Random
from typing import Final

from benchmarks.faults import works
from benchmarks.faults.bench import PROTECT, RUN, Bench, given
from benchmarks.faults.fault import Attempt, Fault, require
from benchmarks.faults.forks import Work
from benchmarks.faults.gallery import Gallery
from benchmarks.faults.hooks import AtChange, LargestFile
from benchmarks.faults.namespaces import Disk
from benchmarks.faults.processes import Ended

PAGE: Final = 4096
FAILED: Final = 1
NO_ROOM: Final = ("No space left on device", "disk is full")  # of the system, and of SQLite


def told(ended: Ended, reason: str, *, what: str) -> None:
    """Check that a command failed with a message that names the reason."""
    ended.require_code(FAILED, what=what)
    require(reason in ended.said, f"{what}: expected {reason!r} to be told, got: {ended.last_line}")


def whole_again(bench: Bench, gallery: Gallery) -> None:
    """Check that nothing half can be seen and nothing is left; then protect again, and compare the bytes."""
    gallery.nothing_half()
    gallery.nothing_left()
    bench.command(gallery, "protect").require_code(0, what="the rerun")
    gallery.accounted()
    gallery.same_bytes(bench.gallery("protected"))
    gallery.whole()


def full_disk(name: str, work: Work, arguments: tuple[str, ...]) -> Attempt:
    """Return one attempt: work on a disk that has less room than is needed, by a random amount."""

    def attempt(bench: Bench, draw: Random) -> str:
        undisturbed = bench.undisturbed(name, "begun", work, *arguments)
        gallery = bench.gallery("begun")
        store, outside, after = (gallery.root / part for part in ("store", "outside", "after"))
        shutil.copytree(store, outside)
        disk = Disk(bench.forks, store)
        needed = _pages(Path(undisturbed.gallery.address)) - _pages(outside)
        room = draw.randrange(0, needed // 2, PAGE)
        disk.mount("-t", "tmpfs", "-o", "size=64m", "tmpfs")
        shutil.copytree(outside, disk.seen_from_here, dirs_exist_ok=True)
        used = shutil.disk_usage(disk.seen_from_here).used
        disk.mount("-o", f"remount,size={used + room}")
        ended = bench.forks.run(work, *given(arguments, gallery), before=[works.cheap_keys, disk.enter])
        ended.require_code(FAILED, what=f"{room} of {needed} bytes free")
        require(any(word in ended.said for word in NO_ROOM), f"not told: {ended.last_line}")
        shutil.copytree(disk.seen_from_here, after)
        shutil.rmtree(store)  # which takes the mount away too
        after.rename(store)
        gallery.nothing_half()
        gallery.nothing_left()
        bench.run(gallery, work, *arguments).require_code(0, what=f"the rerun after {room} bytes free")
        gallery.accounted()
        gallery.same_bytes(undisturbed.gallery)
        gallery.whole()
        return "message, exit code 1, nothing half; with room again the bytes of an undisturbed run"

    return attempt


def _pages(folder: Path) -> int:
    """Return the bytes that the files of a folder take, in whole pages."""
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    return sum(-(-size // PAGE) * PAGE for size in sizes)


def read_only(bench: Bench, _: Random) -> str:
    """Change a gallery in a read-only store; then only read it."""
    gallery = bench.gallery("live")
    before = gallery.contents()
    disk = Disk(bench.forks, gallery.root / "store")
    disk.mount("--bind", str(gallery.root / "store"))
    disk.mount("-o", "remount,ro,bind")
    before_work = [works.cheap_keys, disk.enter]
    for work, arguments in ((works.run_all, RUN), (works.rotate, ("{store}",))):
        ended = bench.forks.run(work, *given(arguments, gallery), before=before_work)
        told(ended, "Read-only file system", what=work.__name__)
    for name, *more in (("verify",), ("recover", "--out", str(gallery.root / "recovered")), ("status",)):
        words = gallery.command(name, *more) if name != "status" else (name, "--store", gallery.address)
        bench.forks.run(works.command, *words, before=before_work).require_code(0, what=f"avih {name}")
    require(gallery.contents() == before, "files changed in a read-only store")
    bench.run(gallery, works.rotate, "{store}").require_code(0, what="rotate, writable again")
    gallery.rotated()
    gallery.whole()
    return "run and rotate say it, verify, recover and status work, writable again it goes on"


def file_limit(bench: Bench, draw: Random) -> str:
    """Protect while no file may become as large as the largest must be: the write breaks off in the middle."""
    bench.undisturbed("protect", "begun", works.command, *PROTECT)
    gallery = bench.gallery("begun")
    largest = max(map(len, bench.gallery("protected").protected().values()))
    limit = draw.randrange(2 * PAGE, largest)
    ended = bench.forks.run(
        works.command, *given(PROTECT, gallery), before=[works.cheap_keys, LargestFile(limit)]
    )
    told(ended, "File too large", what=f"files of at most {limit} bytes")
    whole_again(bench, gallery)
    return "message, exit code 1, nothing half; without the limit the bytes of an undisturbed run"


def broken_disk(bench: Bench, draw: Random) -> str:
    """Protect while the disk answers a random change of a file, and every later one, with an error."""
    undisturbed = bench.undisturbed("protect", "begun", works.command, *PROTECT)
    gallery, number = bench.gallery("begun"), draw.randint(1, undisturbed.changes - 1)
    failing = AtChange(gallery.address, "fail from then on", number, error=errno.EIO)
    ended = bench.forks.run(works.command, *given(PROTECT, gallery), before=[works.cheap_keys, failing])
    told(ended, "Input/output error", what=f"EIO from change {number} on")
    gallery.nothing_half()
    bench.command(gallery, "protect").require_code(0, what="the rerun")
    gallery.accounted()
    gallery.same_bytes(undisturbed.gallery)
    gallery.whole()
    return "message, exit code 1, nothing half; the disk repaired, the bytes of an undisturbed run"


def hiccup(bench: Bench, draw: Random) -> str:
    """Protect while the disk answers one random change of a file with an error."""
    undisturbed = bench.undisturbed("protect", "begun", works.command, *PROTECT)
    gallery, number = bench.gallery("begun"), draw.randint(1, undisturbed.changes - 1)
    failing = AtChange(gallery.address, "fail once", number, error=errno.EIO)
    ended = bench.forks.run(works.command, *given(PROTECT, gallery), before=[works.cheap_keys, failing])
    ended.require_code(0, FAILED, what=f"EIO at change {number}")
    if ended.code:
        told(ended, "Input/output error", what=f"EIO at change {number}")
        bench.command(gallery, "protect").require_code(0, what="the rerun")
    gallery.accounted()
    gallery.same_bytes(undisturbed.gallery)
    gallery.whole()
    return "told, and right after a rerun" if ended.code else "the task was tried again by itself"


FAULTS: Final = (
    Fault("disk full: avih protect", "too little room, by a random amount",
          full_disk("protect", works.command, PROTECT), full=10),
    Fault("disk full: avih run", "too little room, by a random amount",
          full_disk("run", works.run_all, RUN), full=10),
    Fault("file size limit", "protect while no file may become large enough", file_limit, quick=1, full=10),
    Fault("read-only store", "run, rotate, verify, recover, status", read_only),
    Fault("I/O errors, lasting", "protect; EIO from a random change on", broken_disk, quick=1, full=10),
    Fault("I/O error, once", "protect; EIO at a random change", hiccup, quick=1, full=10),
)  # fmt: skip
