"""One small gallery, made once by the real flow from real files; tests copy it before they change it."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from avih.datasets.synthetic import SyntheticFaces
from avih.settings import EvaluateSettings, IndexSettings, KeySettings, RunSettings
from tasks import opened
from tasks.records import Place, RecogniserChoice

SETTINGS = RunSettings(
    index=IndexSettings(shard_size=8),
    key=KeySettings(steps=4, width=8, blocks=1, batch_size=2),
    evaluate=EvaluateSettings(contact_sheet_images=3),
)


@dataclass(frozen=True)
class Made:
    """A gallery in a store."""

    store: Path
    source: Path
    result: object

    @property
    def place(self) -> Place:
        return Place(store=str(self.store), gallery="people", version="v0001",
                     recogniser=RecogniserChoice(card="synthetic"))  # fmt: skip

    settings = SETTINGS

    def run(self, **more: object):
        """Run the whole flow again on this store and source."""
        return run(self.store, self.source, **more)

    def files(self) -> dict[str, bytes]:
        """All files of the protected version."""
        return {path.name: path.read_bytes() for path in sorted(self.protected.iterdir())}

    @property
    def protected(self) -> Path:
        return self.store / "4_protected" / "people" / self.result.key_id / "v0001"


def write_source(folder: Path) -> None:
    """Five persons with three photos each, and five files that must end as rows with a reason."""
    SyntheticFaces(persons=5, photos_per_person=3, first_person=40).write(folder)
    bad = folder / "bad_ones"
    bad.mkdir()
    sample = next(folder.glob("person_0040/*.png")).read_bytes()
    (bad / "truncated.png").write_bytes(sample[: len(sample) // 2])
    (bad / "empty.jpg").write_bytes(b"")
    (bad / "text.jpg").write_bytes(b"this is no picture")
    (bad / "link.png").symlink_to("/etc/hostname")
    Image.fromarray(np.full((120, 120, 3), 90, np.uint8)).save(bad / "wall.png")


def run(store: Path, source: Path, **more: object):
    """Run the whole flow with the small settings."""
    from flows.run_gallery import run_gallery

    opened.forget()
    arguments = {"store": str(store), "gallery": "people", "source": str(source), "settings": SETTINGS,
                 "recogniser": RecogniserChoice(card="synthetic"), "enforce_limits": False} | more  # fmt: skip
    return run_gallery(**arguments)


@pytest.fixture(scope="session")
def made(prefect_server: None, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """The untouched gallery; read it, do not change it."""
    root = tmp_path_factory.mktemp("gallery")
    write_source(root / "photos")
    return Made(root / "store", root / "photos", run(root / "store", root / "photos"))


@pytest.fixture
def copy(made: Made, tmp_path: Path) -> Made:
    """A copy of the gallery to change at will."""
    shutil.copytree(made.store, tmp_path / "store")
    shutil.copytree(made.source, tmp_path / "photos", symlinks=True)
    opened.forget()
    return Made(tmp_path / "store", tmp_path / "photos", made.result)
