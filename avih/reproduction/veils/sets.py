"""Veils for the tables of 002: crafted once per person, kept, and measured once from the stored 8-bit photos.

A veil is kept as a file because its start is public here; a real one is as secret as the photos under it.
"""

import hashlib
import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from avih.acceleration import for_gradients
from avih.atomic import write_bytes
from avih.images import to_tensor
from avih.methods.person_veil import Veil, VeilSettings, craft_veil, read_veil, veil_bytes
from avih.methods.v_uap import craft_v_uap
from avih.reproduction.context import Context
from avih.reproduction.faces import Face, Faces, Picture, faces
from avih.reproduction.networks import SECRET
from avih.reproduction.veils.features import Unit, unit_features
from avih.veils.apply import put_on

Kind = Literal["veil", "plain", "v_uap"]
KINDS: Mapping[Kind, str] = {"veil": "Ours", "plain": "Ours without block variance", "v_uap": "V-UAP"}
ALPHA = 0.2  # the paper's choice
MOST_APART = (
    60  # strangers who stand in no gallery: the outsider's mean face, and those who wear another's veil
)
VERSION = 1  # of what is measured; another number measures again


@dataclass(frozen=True)
class Sizes:
    """How much is done.

    Half the steps of twice the size give the same SSIM_e (0.0130, where 100 steps of 0.01 gave 0.013 on one
    person) and the same matching rate, and take half the time.

    Attributes:
        persons: how many; ``few`` where a figure needs many veils of each, ``noisy`` where it needs many photos.
        photos: of each, at most; the first ``crafting`` of them craft the veil.
        wearers: strangers whose photos are put under each veil.
        steps, step_size: how a veil is crafted.
    """

    persons: int
    photos: int
    crafting: int
    wearers: int
    steps: int
    step_size: float
    few: int
    noisy: int


@dataclass(frozen=True)
class Person:
    """A person's aligned photos; the first ``crafting`` of them craft the veil.

    Shape:
        - photos: ``(n, H, W, 3)`` uint8; features: ``(n, d)``.
    """

    name: str
    photos: NDArray[np.uint8]
    features: Unit
    crafting: int


@dataclass(frozen=True)
class Worn:
    """A person's photos under a veil, as they are stored.

    Shape:
        - stored: ``(n, H, W, 3)`` uint8; features: ``(n, d)``.
    """

    person: Person
    veil: Veil
    stored: NDArray[np.uint8]
    features: Unit
    clipped: int


class VeilSets:
    """The persons of one profile, their veils, and the strangers around them; photos are read when asked for."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.faces: Faces = faces(context)
        self.sizes: Sizes = context.size(
            smoke=Sizes(persons=2, photos=6, crafting=3, wearers=2, steps=4, step_size=0.04, few=1, noisy=1),
            cpu=Sizes(
                persons=32, photos=20, crafting=10, wearers=20, steps=50, step_size=0.02, few=6, noisy=16
            ),
            full=Sizes(
                persons=400, photos=20, crafting=10, wearers=60, steps=100, step_size=0.01, few=400, noisy=400
            ),
        )
        self.names = self.faces.persons("test", most=self.sizes.persons)
        self._persons: dict[str, Person] = {}

    def settings(self, kind: Kind, alpha: float = ALPHA) -> VeilSettings:
        """Return how a kind is crafted: with the library's weights, which were chosen once on one person."""
        chosen = VeilSettings(steps=self.sizes.steps, step_size=self.sizes.step_size, alpha=alpha)
        return chosen.model_copy(update={"variance_weight": 0.0}) if kind == "plain" else chosen

    def person(self, name: str) -> Person:
        """Read and align a person's photos; those without a face are replaced by later ones, if there are any."""
        if name not in self._persons:
            found = self.faces.aligned("test", persons=[name])[: self.sizes.photos]
            photos = _stack(found)
            features = unit_features(photos, self.faces.recogniser)
            self._persons[name] = Person(name, photos, features, min(self.sizes.crafting, len(photos) // 2))
        return self._persons[name]

    @cached_property
    def strangers(self) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Pictures of people with one photo each: those apart, and those in the gallery."""
        self.context.tell("veils: aligning the strangers")
        found = _stack(self.faces.aligned("single"))
        apart = min(MOST_APART, len(found) // 2)
        return found[:apart], found[apart:]

    @property
    def gallery_size(self) -> int:
        """How many strangers stand in the gallery, if a face is found in each photo."""
        count = len(self.faces.parts["single"])
        return count - min(MOST_APART, count // 2)

    @cached_property
    def gallery(self) -> Unit:
        """Features of the strangers in the gallery, ``(s, d)``."""
        return unit_features(self.strangers[1], self.faces.recogniser)

    @cached_property
    def mean_face(self) -> NDArray[np.float64]:
        """What an outsider takes for a mean photo, ``(H, W, 3)`` in [0, 1]: the mean of strangers."""
        mean: NDArray[np.float64] = self.strangers[0].mean(axis=0, dtype=np.float64) / 255
        return mean

    def veil(self, name: str, kind: Kind, alpha: float = ALPHA) -> Veil:
        """Return a person's veil: from the profile's folder, or crafted now."""
        facts = json.dumps(self.facts(name, kind, alpha), sort_keys=True)
        path = self.context.folder("veils") / f"{hashlib.sha256(facts.encode()).hexdigest()[:24]}.safetensors"
        if not path.is_file():
            self.context.tell(f"veils: crafting for {name}: {kind}, alpha {alpha}")
            person = self.person(name)
            # The folded copy gives the same features and is cheaper to differentiate; no figure comes from it.
            crafted = (craft_v_uap if kind == "v_uap" else craft_veil)(
                photos=to_tensor(person.photos[: person.crafting]).to(self.context.device),
                recogniser=for_gradients(self.faces.recogniser),
                secret=SECRET,
                label=name,
                settings=self.settings(kind, alpha),
            )
            write_bytes(path, veil_bytes(crafted), mode=0o600)
        return read_veil(path.read_bytes())

    def worn(self, name: str, kind: Kind, alpha: float = ALPHA) -> Worn:
        """Put a person's veil on all of the person's photos."""
        person, veil = self.person(name), self.veil(name, kind, alpha)
        veiled = put_on(person.photos, veil=veil.pixels, alpha=alpha)
        features = unit_features(veiled.pictures, self.faces.recogniser)
        return Worn(person, veil, veiled.pictures, features, veiled.clipped)

    def facts(self, name: str, kind: Kind | None, alpha: float = ALPHA) -> dict[str, Any]:
        """Return everything that a veil depends on; without a kind, what the photos alone give."""
        sizes = self.sizes
        return {
            "data": self.faces.data,
            "recogniser": self.faces.recogniser.fingerprint,
            "photos": [photo.path for photo in self.faces.parts["test"][name]],
            "used": [sizes.photos, sizes.crafting],
            "kind": kind,
            "veil": self.settings(kind, alpha).model_dump(mode="json") if kind else None,
            "start": hashlib.sha256(SECRET + name.encode()).hexdigest()[:16],
        }

    def remember(
        self,
        what: str,
        name: str,
        compute: Callable[[], Any],
        *,
        kind: Kind | None = "veil",
        alpha: float = ALPHA,
        **more: Any,
    ) -> Any:
        """Remember figures of one person under one veil.

        Args:
            what: names the figures.
            name: the person.
            compute: gives them.
            kind: of the veil; none for figures of the photos alone.
            alpha: of the veil.
            **more: what the figures depend on besides.
        """
        crowd = [photo.path for photos in self.faces.parts["single"].values() for photo in photos]
        settings = self.facts(name, kind, alpha) | more | {
            "strangers": hashlib.sha256("\n".join(crowd).encode()).hexdigest()[:16],
            "apart": MOST_APART,
            "wearers": self.sizes.wearers,
            "version": VERSION,
        }  # fmt: skip
        place = f"veils/{what}/{kind}-{alpha}/{name}" if kind else f"veils/{what}/{name}"
        return self.context.remember(place, settings, compute)


@lru_cache(maxsize=1)
def veil_sets(context: Context) -> VeilSets:
    """Return the sets of a profile; the tables of one run share the photos that were read."""
    return VeilSets(context)


def public_seed(name: str) -> int:
    """Return a seed that is no secret, from a name."""
    return zlib.crc32(name.encode())


def _stack(found: Sequence[Face]) -> NDArray[np.uint8]:
    pictures: list[Picture] = [face.pixels for face in found]
    return np.stack(pictures)
