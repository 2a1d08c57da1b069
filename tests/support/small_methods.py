"""Small galleries by another method than AVIH: a store of their own, and what tests ask of it."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from avih.datasets.synthetic import SyntheticFaces
from avih.images import decode_png
from avih.keys import Vault
from avih.manifest import verify_gallery
from avih.naming import Store
from avih.settings import EvaluateSettings, IndexSettings, RunSettings, preset
from avih.shards import iter_samples
from tasks import opened
from tasks.originals import iter_originals
from tasks.protect_shard import protected_address
from tasks.records import Place, RecogniserChoice
from tasks.recover_gallery import recover_shard
from unorchestrated import without_prefect

FACES = SyntheticFaces(persons=4, photos_per_person=2, first_person=40)
RECOGNISER = RecogniserChoice(card="synthetic")


def settings_of(method: str, **options: Any) -> RunSettings:
    """The preset of a method for a gallery of a few photos."""
    made = preset("fast", method=method, options=options)
    small = EvaluateSettings(contact_sheet_images=2, limits=made.evaluate.limits)
    return made.model_copy(update={"index": IndexSettings(shard_size=4), "evaluate": small})


@dataclass
class Gallery:
    """A gallery in a store of its own; ``result`` is what its first run gave."""

    root: Path
    settings: RunSettings
    result: Any = None
    orchestrated: bool = True

    @property
    def store(self) -> Store:
        return Store(self.root / "store")

    @property
    def photos(self) -> Path:
        return self.root / "photos"

    @property
    def key_id(self) -> str:
        return self.result.key_id

    def place(self, version: str = "v0001") -> Place:
        return Place(store=str(self.store.root), gallery="people", version=version, recogniser=RECOGNISER)

    def run(self, **more: Any) -> Any:
        """Run the whole flow."""
        import flows.run_gallery

        opened.forget()
        arguments = {"store": str(self.store.root), "gallery": "people", "source": str(self.photos),
                     "settings": self.settings, "recogniser": RECOGNISER} | more  # fmt: skip
        with self._how():
            return flows.run_gallery.run_gallery(**arguments)

    def nightly(self) -> Any:
        import flows.nightly

        opened.forget()
        with self._how():
            return flows.nightly.nightly_reprotect(store=str(self.store.root), gallery="people")

    def _how(self) -> AbstractContextManager[None]:
        """Through Prefect, or the bodies of the flows alone, which is much quicker."""
        return nullcontext() if self.orchestrated else without_prefect()

    def folder(self, version: str = "v0001", key_id: str | None = None) -> Path:
        return self.store.folder("protected", gallery="people", version=version, key_id=key_id or self.key_id)

    def shards(self, version: str = "v0001", key_id: str | None = None) -> list[int]:
        return sorted(int(path.name[:5]) for path in self.folder(version, key_id).glob("*.tar"))

    def rows(self, version: str = "v0001", key_id: str | None = None) -> pd.DataFrame:
        tables = [pd.read_parquet(path) for path in sorted(self.folder(version, key_id).glob("*.parquet"))]
        return pd.concat(tables).set_index("image_id").sort_index()

    def samples(self, version: str = "v0001", key_id: str | None = None) -> dict[str, dict[str, bytes]]:
        """The files of every sample of a version, by image id."""
        found = {}
        for number in self.shards(version, key_id):
            address = protected_address(self.place(version), key_id or self.key_id, number)
            found |= {sample.key: dict(sample.files) for sample in iter_samples(self.store, address)}
        return found

    def originals(self, version: str = "v0001") -> dict[str, np.ndarray]:
        numbers = self.shards(version)
        return {name: x for number in numbers for name, x in iter_originals(self.place(version), number)}

    def recovered(
        self, folder: Path, version: str = "v0001", key_id: str | None = None
    ) -> tuple[dict[str, np.ndarray], list[str]]:
        """Recover every shard; the pictures, and the ids that were refused."""
        parts = [
            recover_shard(place=self.place(version), key_id=key_id or self.key_id, number=number, images=None,
                          recovery=self.settings.protect.recovery, folder=folder)
            for number in self.shards(version, key_id)
        ]  # fmt: skip
        pictures = {path.stem: decode_png(path.read_bytes()) for path in folder.glob("*.png")}
        return pictures, [name for part in parts for name in part.refused]

    def problems(self, version: str = "v0001", key_id: str | None = None) -> list[str]:
        return verify_gallery(store=self.store, gallery="people", version=version, key_id=key_id or self.key_id,
                              mac_key=Vault(self.store.keys).mac_key())  # fmt: skip


def made(root: Path, settings: RunSettings, *, orchestrated: bool = False, **more: Any) -> Gallery:
    """Draw two photos each of four persons and run the whole flow on them."""
    FACES.write(root / "photos")
    gallery = Gallery(root, settings, orchestrated=orchestrated)
    gallery.result = gallery.run(**more)
    return gallery
