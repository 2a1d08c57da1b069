"""What a kind of bad input is, and what is seen when one is tried."""

import hashlib
import os
import re
import stat
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import ValidationError

from avih.errors import AvihError, ImageRefused

BOUND_MIB: Final = 256  # a photo of the most pixels that are read takes more; nothing that is refused does
STATUS, CLEAR_REFS, RESET_PEAK = Path("/proc/self/status"), Path("/proc/self/clear_refs"), "5"

T = TypeVar("T")
Said = tuple[str, str]


@dataclass(frozen=True)
class BadInput:
    """One kind of bad input.

    Attributes:
        name: its name, different from all others.
        door: by which it comes in: ``photo``, ``archive``, ``card``...
        expected: the class of the error or the reason of the row that it must get; ``read`` where it is odd and
            must be taken. Several with ``|`` between them.
        make: puts it into an empty folder and returns what ``take`` needs.
        take: hands it to avih, as a user would; returns a reason and a sentence, or raises.
        bomb: it is made to fill memory or a disk.
    """

    name: str
    door: str
    expected: str
    make: Callable[[Path], Any]
    take: Callable[[Path, Any], Said]
    bomb: bool = False


@dataclass(frozen=True)
class Trial:
    """What happened.

    Attributes:
        got: the error's class or the row's reason.
        said: the sentence that a user reads.
        grown_mib: how far memory rose above where it was.
        problem: why it did not go as it must; empty where it did.
    """

    name: str
    door: str
    got: str
    said: str
    grown_mib: float
    problem: str

    @property
    def survived(self) -> bool:
        """Whether avih named it, stayed within its memory and left everything else alone."""
        return not self.problem


def always(value: T) -> Callable[..., T]:
    """Return a function that gives one value, whatever it is asked."""
    return lambda *_: value


def calling(make: Callable[[], T]) -> Callable[..., T]:
    """Return a function that asks ``make``, whatever it is asked itself."""
    return lambda *_: make()


def try_in_own_folder(kind: BadInput) -> Trial:
    """Try one kind in a temporary folder that is removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="avih-bad-") as folder:
        Path(folder).chmod(0o755)  # a kind may be tried as another user
        return try_one(kind, Path(folder))


def try_one(kind: BadInput, folder: Path) -> Trial:
    """Try one kind in a folder inside ``folder``; whatever else changes in ``folder`` came out of it."""
    work = folder / "work"
    work.mkdir()
    (folder / "beside").write_bytes(b"nobody may touch this")
    made = kind.make(work)
    before, start = _outside(folder, work), _reset_peak()
    try:
        got, said = kind.take(work, made)
        problem = ""
    except ImageRefused as refused:
        got, said, problem = refused.reason, str(refused), ""
    except (AvihError, OSError, ValidationError) as error:
        got, said, problem = type(error).__name__, _one_line(str(error)), ""
    except Exception as error:  # a bare exception is what this looks for
        got, said = type(error).__name__, _one_line(str(error))
        problem = f"not one of avih's errors: {got}"
    grown = max(0.0, _peak() - start)
    if not problem and not set(got.split("|")) <= set(kind.expected.split("|")):
        problem = f"expected {kind.expected}, got {got}"
    if not problem and got != "read" and not said.strip():
        problem = "it was refused without a word"
    if _outside(folder, work) != before:
        problem = "something outside its folder was touched"
    if grown > BOUND_MIB:
        problem = f"memory rose by {grown:.0f} MiB"
    return Trial(kind.name, kind.door, got, said, round(grown, 1), problem)


def _one_line(text: str) -> str:
    return re.sub(r"\s+", " ", text)[:400]


def _outside(folder: Path, work: Path) -> dict[str, str]:
    """Return what lies beside the folder in which a kind is tried."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path != work and work not in path.parents:
            regular = stat.S_ISREG(path.lstat().st_mode)
            content = hashlib.sha256(path.read_bytes()).hexdigest() if regular else ""
            found[str(path.relative_to(folder))] = f"{path.lstat().st_mode:o} {content}"
    return found


def _reset_peak() -> float:
    """Let the system forget our highest memory; return what we hold now, in MiB."""
    if os.access(CLEAR_REFS, os.W_OK):
        CLEAR_REFS.write_text(RESET_PEAK)
    return _peak()


def _peak() -> float:
    found = re.search(r"VmHWM:\s+(\d+) kB", STATUS.read_text()) if STATUS.exists() else None
    return int(found[1]) / 1024 if found else 0.0
