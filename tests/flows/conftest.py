"""One small gallery, made once by the real flow from real files; tests copy it before they change it."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from avih.naming import Store
from avih.settings import EvaluateSettings, IndexSettings, KeySettings, RunSettings
from small_audit import copied, from_source, light_gallery
from small_methods import Gallery
from small_source import write_source
from tasks import opened
from tasks.records import Place, RecogniserChoice
from tasks.run_record import load_run, save_run

SETTINGS = RunSettings(
    index=IndexSettings(shard_size=12),
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

    @property
    def shards(self) -> list[int]:
        """Numbers of all shards of the protected version."""
        return sorted(int(path.name[:5]) for path in self.protected.glob("*.tar"))

    def run(self, **more: object):
        """Run the whole flow again on this store and source."""
        return run(self.store, self.source, **more)

    def files(self) -> dict[str, bytes]:
        """All files of the protected version."""
        return {path.name: path.read_bytes() for path in sorted(self.protected.iterdir())}

    @property
    def protected(self) -> Path:
        return self.store / "4_protected" / "people" / self.result.key_id / "v0001"


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
    place = Store(tmp_path / "store")
    record = load_run(store=place, gallery="people")
    save_run(record.model_copy(update={"source": str(tmp_path / "photos")}), store=place)
    opened.forget()
    return Made(tmp_path / "store", tmp_path / "photos", made.result)


@pytest.fixture(scope="session")
def light(prefect_server: None, tmp_path_factory: pytest.TempPathFactory) -> Gallery:
    """Eight pictures in two shards, live; they come back exactly. Read it, do not change it."""
    return light_gallery(tmp_path_factory.mktemp("light"))


@pytest.fixture
def own(light: Gallery, tmp_path: Path) -> Gallery:
    """A copy of the light gallery to change at will."""
    return copied(light, tmp_path)


@pytest.fixture
def small(own: Gallery) -> Made:
    """The light gallery where only the order of things counts, with a source that may change."""
    from_source(own, str(own.photos))
    return Made(own.store.root, own.photos, own.result)
