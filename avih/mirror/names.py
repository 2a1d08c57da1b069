"""Which files of a store lie elsewhere too, which of them wait to be read, and in which order they count."""

from pathlib import Path, PurePosixPath
from typing import Final

STORE_FILE: Final = "avih-store.json"  # names the store; made with its first file
LOCKS: Final = "locks/"
# Each machine's own: databases under constant change, downloads that can be fetched again, tables of papers.
OWN: Final = ("0_sources", "prefect", "mlflow", "reproduction")
ALERTS: Final = "alerts"
PRIVATE: Final = "owner"  # folder of faces in clear: nothing but the mode of the file protects them
SUMMARY: Final = "summary.json"
LAZY: Final = ".tar"  # fetched when it is first read


def name_of(path: Path, root: Path) -> str | None:
    """Name a file of the working copy as the store elsewhere does; None for what is this machine's own."""
    if not path.is_relative_to(root):
        return None
    name = path.relative_to(root).as_posix()
    return name if is_shared(name) else None


def is_shared(name: str) -> bool:
    """Tell whether an object belongs to the store: no lock, no temporary file, nothing that is a machine's own.

    A name that leads out of the folder is nobody's. What shows faces in clear stays where it was made.
    """
    parts = PurePosixPath(name).parts
    if PRIVATE in parts[2:-1]:  # the first two are a stage and a gallery, which may be called anything
        return False
    if not parts or name.startswith(("/", LOCKS)) or name == STORE_FILE or parts[0] in OWN:
        return False
    return (
        not any(part.startswith(".") for part in parts)
        and name == str(PurePosixPath(*parts))
        and "\0" not in name
    )


def made_with(name: str) -> str | None:
    """Name the folder of pictures in clear that was made together with an object; None for most objects."""
    folder, _, last = name.rpartition("/")
    return f"{folder}/{PRIVATE}" if last == SUMMARY else None


def rank(name: str) -> int:
    """Say in which turn a file may appear: what another file speaks for comes before it."""
    last = name.rpartition("/")[2]
    if last == "current.json":
        return 3
    if last == "manifest.json":
        return 2
    return 1 if last.endswith(".done.json") else 0


def realm(name: str) -> str:
    """Name what a file belongs to: a gallery, or one of the store's own folders."""
    parts = PurePosixPath(name).parts
    stage = len(parts) > 2 and parts[0][:1].isdigit() and parts[0] != "3_keys"
    return f"gallery {parts[1]}" if stage else parts[0]
