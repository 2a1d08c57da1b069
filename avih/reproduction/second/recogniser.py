"""The second recogniser: what a service with another network sees, trained here on persons of no measurement."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load, save
from torch import Tensor

from avih.align import AlignedFace, Aligner
from avih.atomic import write_bytes
from avih.datasets import open_source
from avih.device import chosen_device
from avih.errors import UsageError
from avih.evaluation.metrics import unit_rows
from avih.images import decode_photo, to_tensor
from avih.reproduction.context import Context
from avih.reproduction.faces import Faces, Picture, faces
from avih.reproduction.outcome import Row
from avih.reproduction.second.network import WEIGHTS, SecondNetwork
from avih.reproduction.second.quality import SecondQuality, measure
from avih.reproduction.second.training import Recipe, train_second

Floats = NDArray[np.float64]
AT_ONCE: Final = 64
TOLD_EVERY: Final = 50  # steps


@dataclass(frozen=True)
class Training:
    """The aligned photos it learns from.

    Attributes:
        name: of the data, for the tables.

    Shape:
        - images: ``(n, H, W, 3)`` uint8; persons: ``(n,)``.
    """

    images: Picture
    persons: tuple[str, ...]
    name: str


@dataclass(frozen=True)
class Second:
    """A recogniser of another architecture and loss than the service's.

    Attributes:
        name: architecture, loss and training data, for the tables.
        fingerprint: 16 hex digits naming the weights.
    """

    network: SecondNetwork
    name: str
    fingerprint: str

    def features(self, images: Tensor) -> Tensor:
        """Return one unit feature per picture; gradients reach the pictures where they ask for any.

        Shape:
            - images: ``(batch, 3, 112, 96)`` RGB in [0, 1], aligned as for the service recogniser.
            - returns: ``(batch, d)`` float32, each row of length 1.

        Raises:
            UsageError: another shape, or whole-number pixels.
        """
        device = self.network.gradients.weight.device
        found: Tensor = self.network(images.to(device))
        return found.to(images.device)

    def __call__(self, images: Tensor) -> Tensor:
        """Do what :meth:`features` does."""
        return self.features(images)

    def of_pixels(self, pictures: Sequence[Picture]) -> Floats:
        """Return unit features of stored pictures.

        Shape: pictures (H, W, 3) uint8 each; returns (n, d).
        """
        with torch.no_grad():
            pieces = [
                self(to_tensor(pictures[start : start + AT_ONCE]))
                for start in range(0, len(pictures), AT_ONCE)
            ]
        return unit_rows(torch.cat(pieces).numpy())

    def quality(self, context: Context) -> SecondQuality:
        """Return what it is worth on originals of the test persons, measured once."""
        known = faces(context)
        settings = {
            "weights": self.fingerprint,
            "shares": WEIGHTS,
            "data": known.data,
            "test": known.persons("test"),
            "strangers": known.persons("single"),
        }

        def compute() -> Any:
            context.tell("second recogniser: measuring on originals of the test persons")
            return measure(self.of_pixels, known, model=self.name).model_dump(mode="json")

        return SecondQuality.model_validate(context.remember("second/quality", settings, compute))


def recipe_of(context: Context) -> Recipe:
    """Return the profile's recipe."""
    return context.size(
        smoke=Recipe(steps=6, persons_each=5, photos_each=2, varied=1), cpu=Recipe(), full=Recipe(steps=3000)
    )


def training_photos(context: Context) -> Training:
    """Read the persons of the part ``second``, and ORL's where it was given; nobody who is measured on.

    Raises:
        UsageError: a training person also stands in a measurement.
    """
    known = faces(context)
    check_disjoint(known)
    pictures = [(face.person, face.pixels) for face in known.aligned("second")]
    name = f"{len({person for person, _ in pictures})} other persons of {known.data}"
    if context.data.orl is not None and context.profile != "smoke":
        more = _orl(context.data.orl, known.recogniser.card.template)
        pictures += more
        name += f" and the {len({person for person, _ in more})} of ORL"
    count = Counter(person for person, _ in pictures)
    several = [(person, pixels) for person, pixels in pictures if count[person] > 1]
    images = np.stack([pixels for _, pixels in several])
    return Training(images, tuple(person for person, _ in several), f"{name} ({len(several)} photos)")


def check_disjoint(known: Faces) -> None:
    """Make sure that no training person stands in a measurement.

    Raises:
        UsageError: one does.
    """
    shared = set(known.parts["second"]) & (set(known.parts["test"]) | set(known.parts["single"]))
    if shared:
        raise UsageError(
            f"Expected training persons who stand in no measurement, got {', '.join(sorted(shared)[:3])} in "
            "both: take every person into one part only."
        )


def _orl(folder: Path, template: str) -> list[tuple[str, Picture]]:
    source = open_source(source=str(folder), layout="orl")
    photos = list(source.photos())
    read = [decode_photo(source.read(photo), name=photo.path).pixels for photo in photos]
    found = Aligner(template=template).align(read)
    return [
        (f"ORL/{photo.person}", face.pixels)
        for photo, face in zip(photos, found, strict=True)
        if isinstance(face, AlignedFace)
    ]


def second_recogniser(context: Context) -> Second:
    """Return the second recogniser: from the profile's folder, or trained now."""
    recipe, known = recipe_of(context), faces(context)
    orl = context.data.orl is not None and context.profile != "smoke"
    facts = f"{recipe.digest()} {known.data} {sorted(known.parts['second'])} {'ORL' if orl else ''}"
    stem = f"second-{hashlib.sha256(facts.encode()).hexdigest()[:16]}"
    path = context.folder("networks") / f"{stem}.safetensors"
    if not path.is_file():
        _train(context, recipe, path)
    data = path.read_bytes()
    state = load(data)
    told = bytes(state.pop("name").tolist()).decode()
    with torch.random.fork_rng(devices=[]):  # its first weights are drawn, and all replaced
        network = SecondNetwork(directions=len(state["gradients.bias"]))
    network.load_state_dict(state)
    network.eval().requires_grad_(False).to(chosen_device(context.device))
    return Second(network, told, hashlib.sha256(data).hexdigest()[:16])


def _train(context: Context, recipe: Recipe, path: Path) -> None:
    photos = training_photos(context)
    context.tell(f"second recogniser: training on {photos.name}")

    def progress(step: int, steps: int) -> None:
        if step % TOLD_EVERY == 0:
            context.tell(f"second recogniser: {step} of {steps} steps")

    network = train_second(photos.images, photos.persons, recipe, progress=progress)
    name = (
        "gradient and texture histograms with Fisher's criterion, and a small ResNet with contrastive loss and "
        f"cross-entropy; trained on {photos.name}"
    )
    state = {key: value.contiguous() for key, value in network.state_dict().items()}
    write_bytes(path, save({**state, "name": torch.tensor(list(name.encode()), dtype=torch.uint8)}))


def quality_rows(context: Context) -> list[Row]:
    """Return what the second recogniser is worth on originals, for the tables that use it."""
    return list(second_recogniser(context).quality(context).rows)
