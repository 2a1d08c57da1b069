"""What a gallery version was made from: settings, recogniser, key and the versions of the software."""

import platform
from importlib import metadata
from pathlib import Path
from typing import Any, Self

from avih import __version__
from avih.atomic import write_json
from avih.errors import IntegrityError, UsageError
from avih.gallery import read_history
from avih.index_file import INDEX_FILE
from avih.json_text import read_json
from avih.keys import Vault
from avih.naming import Store
from avih.settings import RunnerSettings, RunSettings
from tasks.records import Place, RecogniserChoice, Record
from tasks.signed_list import list_files

SOFTWARE = (
    "torch",
    "torchvision",
    "facenet-pytorch",
    "numpy",
    "scikit-image",
    "prefect",
    "mlflow",
    "webdataset",
)
RECORD_FILE = "run.json"


class RunMissing(UsageError):
    """A version was indexed, but no key was chosen for it yet."""


class RunRecord(Record):
    """Everything needed to run a stage of a gallery version again; no secret."""

    gallery: str
    version: str
    source: str
    recogniser: RecogniserChoice
    key_id: str
    settings: RunSettings
    lpips_backbone: str | None = None

    def on(self, runner: RunnerSettings | None) -> Self:
        """Return the record with its shards made elsewhere; None: where they were made before."""
        if runner is None:
            return self
        return self.model_copy(update={"settings": self.settings.model_copy(update={"runner": runner})})

    def place(self, store: Store) -> Place:
        """Where the stages of this version work."""
        return Place(
            store=store.address, gallery=self.gallery, version=self.version, recogniser=self.recogniser
        )


def software() -> dict[str, str]:
    """Return the versions of what a result depends on."""
    return {"avih": __version__, "python": platform.python_version()} | {
        name: metadata.version(name) for name in SOFTWARE
    }


def save_run(record: RunRecord, *, store: Store) -> None:
    """Write the record beside the version's index, and sign what both hold."""
    folder = store.folder("index", gallery=record.gallery, version=record.version)
    write_json(
        folder / RECORD_FILE, described(record), mode=0o600
    )  # it names the source, a path of the owner's
    list_files(
        store=store, gallery=record.gallery, version=record.version, what="index",
        files=[folder / RECORD_FILE, folder / INDEX_FILE, store.erased(record.gallery)],
        mac_key=Vault(store.keys).mac_key(),
    )  # fmt: skip


def described(record: RunRecord) -> dict[str, Any]:
    """Return the record and the software versions as plain values."""
    return record.model_dump(mode="json") | {"software": software()}


def load_run(*, store: Store, gallery: str, version: str | None = None) -> RunRecord:
    """Read the record of a version: the current one by default, or the newest before any was promoted.

    Raises:
        UsageError: no such gallery or version.
        RunMissing: the version was only indexed so far.
    """
    versions = store.versions(gallery)
    if not versions:
        known = ", ".join(store.galleries()) or "none"
        raise UsageError(f"Expected a gallery in {store.address}, got {gallery!r}; there are: {known}.")
    if version is None:  # a version that is named can be used even where nobody knows which is current
        current = read_history(store=store, gallery=gallery, mac_key=None).current
        version = current.version if current else versions[-1]
    if version not in versions:
        raise UsageError(f"Expected a version of {gallery} among {', '.join(versions)}, got {version!r}.")
    path = store.folder("index", gallery=gallery, version=version) / RECORD_FILE
    if not path.exists():
        raise RunMissing(
            f"Gallery {gallery} {version} was begun but has no {RECORD_FILE}. Run avih run again."
        )
    return read_run(path)


def read_run(path: Path) -> RunRecord:
    """Read the file of a record.

    Raises:
        IntegrityError: it is damaged.
    """
    try:
        values = read_json(path.read_bytes())
        values.pop("software", None)
        return RunRecord.model_validate(values)
    except (ValueError, TypeError, AttributeError, UsageError) as error:
        raise IntegrityError(
            f"Expected what a version was made from in {path}, got a damaged file ({type(error).__name__}). "
            "Bring it back from a backup."
        ) from None
