"""Bad archives of a data set, unpacked as a download is: refused whole, with nothing left of them."""

import hashlib
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from avih.datasets.cards import DatasetCard
from avih.datasets.download import fetch
from avih.datasets.unpack import unpack
from avih.errors import DownloadFailed
from benchmarks.bad_inputs.archive_files import (
    CENTRAL,
    END,
    LOCAL,
    Content,
    announced,
    changed,
    hungry_xz,
    locked_zip,
    nested,
    overlapping_zip,
    sparse,
    tar_of,
    twice,
    with_member,
    zip_of,
    zip_twice,
)
from benchmarks.bad_inputs.kind import BadInput, Said, always

FILE, TARGET = "faces.archive", "my-faces"
NOWHERE: Final = "http://127.0.0.1:9/faces.archive"

TARS: Final[dict[str, Content]] = {
    "tar: name with ..": lambda: tar_of({"../escaped": b"x"}),
    "tar: name with .. further in": lambda: tar_of({"faces/../../escaped": b"x"}),
    "tar: name with backslashes": lambda: tar_of({"faces\\..\\..\\escaped": b"x"}),
    "tar: absolute name": lambda: tar_of({"/tmp/avih-escaped": b"x"}),
    "tar: drive letter": lambda: tar_of({"C:/escaped": b"x"}),
    "tar: one name twice, behind a zero byte": lambda: tar_of({"faces/a\0b.png": b"x", "faces/a": b"y"}),
    "tar: link out": with_member("faces/link", tarfile.SYMTYPE, "../.."),
    "tar: absolute link": with_member("faces/link", tarfile.SYMTYPE, "/etc"),
    "tar: hard link out": with_member("faces/link", tarfile.LNKTYPE, "../../beside"),
    "tar: pipe": with_member("faces/pipe", tarfile.FIFOTYPE),
    "tar: character device": with_member("faces/null", tarfile.CHRTYPE),
    "tar: block device": with_member("faces/disk", tarfile.BLKTYPE),
    "tar: one name twice": twice,
    "tar: cut": lambda: tar_of()[:200],
    "tar: cut before compression": lambda: tar_of(kind="w")[:700],
    "tar: empty file": lambda: b"",
    "tar: text": lambda: b"no archive at all" * 50,
    "tar: an archive in an archive": nested,
    "tar: member of 100 terabytes": announced(tarfile.REGTYPE, 100 * 2**40),
    "tar: hole of a terabyte": sparse,
    "tar: 300 MiB of zeros in 1 MiB": announced(tarfile.REGTYPE, 300 * 2**20, sent=301),
    "tar: long header of 300 MiB": announced(tarfile.XHDTYPE, 300 * 2**20, sent=301),
    "tar: long name of 300 MiB": announced(tarfile.GNUTYPE_LONGNAME, 300 * 2**20, sent=301),
    "tar: xz with a dictionary of 3 GiB": hungry_xz,
}
ZIPS: Final[dict[str, Content]] = {
    "zip: name with ..": lambda: zip_of({"../escaped": b"x"}),
    "zip: absolute name": lambda: zip_of({"/tmp/avih-escaped": b"x"}),
    "zip: link": lambda: zip_of({"faces/link": b"/etc"}, attributes=0o120777),
    "zip: device": lambda: zip_of({"faces/null": b""}, attributes=0o020666),
    "zip: encrypted": locked_zip,
    "zip: one name twice": zip_twice,
    "zip: cut": lambda: zip_of()[:-30],
    "zip: wrong checksum": lambda: changed(zip_of(), 16, b"\1\2\3\4", mark=CENTRAL),
    "zip: unknown compression": lambda: changed(
        changed(zip_of(), 8, b"\x63\0", mark=LOCAL), 10, b"\x63\0", mark=CENTRAL
    ),
    "zip: its list lies beyond its end": lambda: changed(zip_of(), 16, b"\xff\xff\xff\x7f", mark=END),
    "zip: 300 MiB of zeros in 1 MiB": lambda: zip_of({"faces/a.png": bytes(300 * 2**20)}),
    "zip: 500 entries in one place": overlapping_zip,
    "zip: text": lambda: b"no archive at all" * 50,
}  # fmt: skip
BOMBS: Final = ("terabyte", "MiB", "GiB", "entries")


def kinds() -> list[BadInput]:
    """Return every kind of bad archive."""
    files = [(name, "tar", make) for name, make in TARS.items()]
    files += [(name, "zip", make) for name, make in ZIPS.items()]
    found = [
        BadInput(name, "archive", "DownloadFailed", _archive(make), _fetched(kind), bomb=_is_bomb(name))
        for name, kind, make in files
    ]
    found.append(BadInput("another SHA-256", "archive", "NetworkFailed", _archive(tar_of), _other_digest))
    many = {f"faces/{number}": b"" for number in range(2000)}
    for kind, data in (("tar", tar_of(many)), ("zip", zip_of(many))):
        make = _archive(always(data))
        found.append(BadInput(f"{kind}: too many members", "archive", "DownloadFailed", make, _bounded(kind)))
    return found


def _is_bomb(name: str) -> bool:
    return any(word in name for word in BOMBS)


def _archive(make: Content) -> Callable[[Path], bytes]:
    def made(folder: Path) -> bytes:
        content = make()
        (folder / FILE).write_bytes(content)
        return content

    return made


def _fetched(kind: str) -> Callable[[Path, bytes], Said]:
    """Unpack a file that was put in place by hand, as its card says."""

    def take(folder: Path, content: bytes) -> Said:
        return _fetch(folder, kind, hashlib.sha256(content).hexdigest())

    return take


def _other_digest(folder: Path, content: bytes) -> Said:
    return _fetch(folder, "tar", hashlib.sha256(b"another").hexdigest())


def _fetch(folder: Path, kind: str, sha256: str) -> Said:
    archive = {"file": FILE, "address": NOWHERE, "sha256": sha256, "kind": kind, "unpack_as": TARGET,
               "inner_folder": "faces"}  # fmt: skip
    about = dict.fromkeys(("title", "layout", "licence", "citation", "contains", "by_hand"), "none")
    card = DatasetCard.model_validate({"name": "faces", "archives": [archive], **about})
    try:
        fetch(card=card, folder=folder, progress=False)
    except DownloadFailed:
        left = sorted(path.name for path in folder.iterdir() if path.name != FILE)
        assert not left, f"left behind: {left}"
        raise
    return "read", ""


def _bounded(kind: str) -> Callable[[Path, bytes], Said]:
    def take(folder: Path, content: bytes) -> Said:
        into = folder / "into"
        into.mkdir()
        unpack(file=folder / FILE, into=into, kind="tar" if kind == "tar" else "zip", max_members=1000)
        return "read", ""

    return take
