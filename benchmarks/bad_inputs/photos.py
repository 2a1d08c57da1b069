"""Bad photos: files of every kind in a source folder, read as the index and the align stage read them."""

import contextlib
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from avih.datasets import open_source
from avih.errors import ImageRefused
from avih.images import decode_photo, encode_png
from avih.scanning import Row, scan
from benchmarks.bad_inputs.hostile import HOSTILE, cut_everywhere
from benchmarks.bad_inputs.kind import BadInput, Said, always
from benchmarks.bad_inputs.pictures import PHOTO, PIXELS, REFUSED, encoded, odd_formats

GOOD: Final = "Ann/good.png"
FOLDER: Final = "Bad"
NOBODY: Final = 65534
Make = Callable[[Path], list[str]]  # puts files into the folder and returns the paths that must have a row


def _file(name: str, data: Callable[[], bytes]) -> Make:
    def make(folder: Path) -> list[str]:
        (folder / name).write_bytes(data())
        return [f"{FOLDER}/{name}"]

    return make


def _link(name: str, target: str) -> Make:
    def make(folder: Path) -> list[str]:
        (folder / name).symlink_to(target)
        return [f"{FOLDER}/{name}"]

    return make


def _named(*names: str, shown: str | None = None) -> Make:
    """Sound photos under these names."""

    def make(folder: Path) -> list[str]:
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(encode_png(PIXELS))
        return [f"{FOLDER}/{shown or name}" for name in names]

    return make


def _folder(folder: Path) -> list[str]:
    (folder / "folder.jpg").mkdir()
    return [f"{FOLDER}/folder.jpg"]


def _pipe(folder: Path) -> list[str]:
    os.mkfifo(folder / "pipe.jpg")
    return [f"{FOLDER}/pipe.jpg"]


def _socket(folder: Path) -> list[str]:
    before = Path.cwd()
    os.chdir(folder)  # a socket's whole path may have 107 letters
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind("socket.jpg")
    finally:
        os.chdir(before)
    return [f"{FOLDER}/socket.jpg"]


def _device(folder: Path) -> list[str]:
    try:
        os.mknod(folder / "device.jpg", 0o600 | 0o020000, os.makedev(1, 5))  # what /dev/zero is
    except PermissionError:
        (folder / "device.jpg").symlink_to("/dev/zero")
    return [f"{FOLDER}/device.jpg"]


def _too_deep(folder: Path) -> list[str]:
    folder.joinpath(*["d"] * 40).mkdir(parents=True)
    return [f"{FOLDER}/" + "/".join(["d"] * 32)]


def _large(folder: Path) -> list[str]:
    with (folder / "large.jpg").open("wb") as file:
        file.truncate(2**40)  # a hole: it takes no space
    return [f"{FOLDER}/large.jpg"]


def _closed(folder: Path) -> list[str]:
    (folder / "closed.png").write_bytes(encode_png(PIXELS))
    (folder / "closed.png").chmod(0)
    return [f"{FOLDER}/closed.png"]


def _closed_folder(folder: Path) -> list[str]:
    (folder / "closed").mkdir(mode=0)
    return [f"{FOLDER}/closed"]


def _cut(folder: Path) -> list[str]:
    for name, data in cut_everywhere().items():
        (folder / f"{name}.jpg").write_bytes(data)
    return [f"{FOLDER}/{name}.jpg" for name in cut_everywhere()]


_LONG = "x" * 251 + ".png"
# Name -> what makes it, and the reason that its rows must have.
ENTRIES: Final[dict[str, tuple[Make, str]]] = {
    "a folder named like a photo": (_folder, "not_a_file"),
    "a pipe": (_pipe, "not_a_file"),
    "a socket": (_socket, "not_a_file"),
    "a device": (_device, "not_a_file|outside_source"),
    "a link to a device": (_link("zero.jpg", "/dev/zero"), "outside_source"),
    "a link out of the source": (_link("out.png", "../../beside"), "outside_source"),
    "a link to the password file": (_link("passwd.jpg", "/etc/passwd"), "outside_source"),
    "a link to nothing": (_link("nothing.jpg", "nowhere.jpg"), "missing"),
    "a link to itself": (_link("circle.jpg", "circle.jpg"), "missing"),
    "a link to the folder above": (_link("again", ".."), "link_to_folder"),
    "folders without end": (_too_deep, "too_deep"),
    "a file of a terabyte": (_large, "too_large"),
    "a file that may not be read": (_closed, "no_permission"),
    "a folder that may not be listed": (_closed_folder, "no_permission"),
    "photos cut at nine places": (_cut, "truncated|unsupported_format"),
    "a name that is not UTF-8": (
        _named(os.fsdecode(b"caf\xe9.png"), shown="caf\\udce9.png"),
        "name_not_utf8",
    ),
    "a name with a line feed": (_named("a\nb.png"), "read"),
    "a name with terminal commands": (_named("\x1b[2J\x07\x08.png"), "read"),
    "a name that runs backwards": (_named("\u202egnp.exe.png"), "read"),
    "a name of pictures": (_named("\U0001f600\U0001f468\u200d\U0001f469.png"), "read"),
    "a name of 255 letters": (_named(_LONG), "read"),
    "a name of dots": (_named("a..png", "a. .png", "a.png.png"), "read"),
    "a name like an option": (_named("--help.png", "-rf.png"), "read"),
    "a name that is a query": (_named("'); DROP TABLE placed; --.png", "%s%n{0}.png"), "read"),
    "a name with a formula": (_named("=cmd()|calc.png", "@mlflow=run.png"), "read"),
    "two names alike but for case": (_named("twin.png", "TWIN.png", "twin.PNG"), "read"),
    "two names of the same letters": (_named("\u00e9.png", "e\u0301.png"), "read"),
    "names that become one": (_named("a b.png", "a-b.png", "a/b.png", "a__b.png"), "read"),
    "the same picture twice": (_named("one.png", "two.png"), "read"),
}


def kinds() -> list[BadInput]:
    """Return every kind of bad photo."""
    return [
        BadInput(name, "photo", reason, _source(make), _take, bomb=name in HOSTILE or "bomb" in name)
        for name, (make, reason) in _all().items()
    ]


def write_all(folder: Path) -> dict[str, str]:
    """Write the photos of all kinds below ``folder``; return the reason that each path's row must have.

    Those that depend on who reads them are left out.
    """
    expected: dict[str, str] = {}
    for number, (make, reason) in enumerate(_all().values()):
        if reason != "no_permission":
            own = folder / f"{number:03d}"
            own.mkdir()
            expected |= {f"{own.name}/{path.removeprefix(FOLDER + '/')}": reason for path in make(own)}
    return expected


def _all() -> dict[str, tuple[Make, str]]:
    """Return what makes each kind, and its reason."""
    files = {name: (_file("photo.jpg", always(data)), reason) for name, (data, reason) in REFUSED.items()}
    files |= {name: (_file("photo.jpg", data), reason) for name, (data, reason) in HOSTILE.items()}
    files |= {f"odd: {name}": (_file(odd.name, always(odd.data)), "read")
              for name, odd in odd_formats(PHOTO).items()}  # fmt: skip
    return files | ENTRIES


def _source(make: Make) -> Callable[[Path], list[str]]:
    def made(folder: Path) -> list[str]:
        for name in ("Ann", FOLDER):
            (folder / name).mkdir()
        (folder / GOOD).write_bytes(encoded("PNG"))
        return make(folder / FOLDER)

    return made


def _take(folder: Path, expected: list[str]) -> Said:
    """Read the source as a run does; every entry has a row of its own, and the good photo is read."""
    with _as_nobody():
        rows = list(scan(source := open_source(source=str(folder), layout="image_folder"), limit=None,
                         mac_key=bytes(32)))  # fmt: skip
        outcomes = {row.path: _decoded(row, source.read) for row in rows}
    assert outcomes.pop(GOOD) == ("read", ""), "the good photo beside it was lost"
    assert set(outcomes) >= set(expected), f"no row for {set(expected) - set(outcomes)}"
    assert len({row.image_id for row in rows}) == len(rows), "two photos have one id"
    said = {outcomes[path] for path in expected}
    return "|".join(sorted({reason for reason, _ in said})), min(text for _, text in said)


def _decoded(row: Row, read: Callable[..., bytes]) -> Said:
    from avih.datasets import Photo

    if row.status != "indexed":
        return row.reason, row.reason
    try:
        decode_photo(read(Photo(path=row.path, person=row.person)), name=row.path)
    except ImageRefused as refused:
        return refused.reason, refused.detail
    return "read", ""


@contextlib.contextmanager
def _as_nobody() -> Iterator[None]:
    """Give up root's right to read everything while the block runs."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(user)
