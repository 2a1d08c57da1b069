"""Keys of the lab's own: made by the gallery's public recipe, used in memory, forgotten with the process.

An attacker can make as many as he likes; and what an attacker who may have any picture protected under one key
learns, he can learn from one of these.
"""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import chain

import numpy as np
import torch
from torch import nn

from avih.attack.control import key_settings, protect_settings
from avih.attack.pairs import Pairs, Pictures
from avih.datasets.pictures import public_pictures
from avih.device import device_of, placed
from avih.generators import build_generator
from avih.images import to_tensor
from avih.key_training import PictureSampler, train_generator
from avih.lab.settings import LabSettings
from avih.lab.subject import Subject
from avih.methods.pipeline import Pipeline, Portrait, Work
from avih.methods.registry import pipeline_of
from avih.recovery import Stored, recover
from avih.settings import KeySettings, ProtectSettings
from avih.veils.veil import Veil

LAB_VERSION = "lab"  # in place of a gallery version in nonces: no stored picture has it


@dataclass(eq=False, repr=False)
class LabVeils:
    """Veils of a lab key, crafted when a person's photos are first hidden."""

    craft: Callable[[str, Pictures], Veil]
    known: dict[str, Veil] = field(default_factory=dict)

    def learn(self, person: str, photos: Pictures) -> None:
        """Craft the veil of a person from photos, unless there is one."""
        if person not in self.known:
            self.known[person] = self.craft(person, photos)

    def of(self, person: str, shape: tuple[int, ...]) -> Veil:
        """Return the veil of a person."""
        return self.known[person]

    def admitted(self, person: str) -> tuple[str, ...]:
        """Nothing is counted: the photos are gone with the lab."""
        return ()


@dataclass(eq=False, repr=False)
class LabKey:
    """One key, and what its owner or an attacker with chosen pictures can do with it; generator on the CPU."""

    secret: bytes
    generator: nn.Module
    subject: Subject
    settings: ProtectSettings
    veils: LabVeils | None = None
    stored: dict[str, Stored] = field(default_factory=dict)

    def hide(self, pairs: Pairs, *, version: str = LAB_VERSION) -> Pairs:
        """Hide the originals of some pairs under this key; names and persons stay.

        Args:
            pairs: whose originals.
            version: part of the nonces; the same picture under another version gets another nonce.
        """
        if self.veils:
            for person in dict.fromkeys(pairs.persons):
                rows = [row for row, one in enumerate(pairs.persons) if one == person]
                self.veils.learn(person, pairs.originals[rows])
        settings = self.settings.for_few(len(pairs))
        recogniser = self.subject.recogniser
        generator = placed(self.generator, device_of(recogniser))
        work = Work(self.secret, generator, recogniser, settings, version, self.veils)
        hider = pipeline_of(self.settings.method).hider(work)
        portraits = (
            Portrait(image, person, pixels)
            for image, person, pixels in zip(pairs.images, pairs.persons, pairs.originals, strict=True)
        )
        done = {one.portrait.image: one for one in hider.hide(portraits)}
        for image, one in done.items():
            made = one.protected
            self.stored[image] = Stored(image, made.pixels, made.nonce, made.sealed, one.portrait.person)
        return pairs.with_inputs(np.stack([done[image].protected.pixels for image in pairs.images]))

    def nonces(self, images: Sequence[str]) -> tuple[str, ...]:
        """Return the nonces of pictures that were hidden last under these names."""
        return tuple(self.stored[image].nonce for image in images)

    def recover(self, images: Sequence[str]) -> Pictures:
        """Return what the owner of this key gets back."""
        back = recover(
            [self.stored[image] for image in images],
            secret=self.secret, generator=self.generator, recovery=self.settings.recovery, veils=self.veils,
        )  # fmt: skip
        return np.stack(back)


@dataclass(eq=False, repr=False)
class Scheme:
    """Makes the lab's keys; each number is one key for the whole audit."""

    subject: Subject
    settings: LabSettings
    progress: Callable[[str], None]
    keys: dict[int, LabKey] = field(default_factory=dict)

    @property
    def cheap(self) -> bool:
        """Whether the lab's keys are made and used by a shorter recipe than the gallery's."""
        return self.settings.cheap_keys and self.subject.protect.recovery == "unmixed"

    @property
    def shares_generator(self) -> bool:
        """Whether the lab's keys have the gallery's generator, which is public."""
        return self.settings.cheap_keys and self.subject.generator is not None

    def key_recipe(self) -> KeySettings:
        """Return the recipe of the lab's keys."""
        return key_settings(self.settings.network) if self.cheap else self.subject.key

    def protect_recipe(self) -> ProtectSettings:
        """Return how the lab's keys hide."""
        return protect_settings(self.settings.network) if self.cheap else self.subject.protect

    def key(self, number: int) -> LabKey:
        """Return lab key ``number``, from 1; a new number makes a new key."""
        if number not in self.keys:
            self.progress(f"key {number} of the lab's own")
            self.keys[number] = self.make(seed=new_seed())
        return self.keys[number]

    def make(self, *, seed: int) -> LabKey:
        """Make a key whose generator starts from ``seed``; the secret comes from the system in any case."""
        secret, recipe = secrets.token_bytes(32), self.key_recipe()
        generator = self._generator(recipe, seed)
        return LabKey(secret, generator, self.subject, self.protect_recipe(), self._veils(secret))

    def _generator(self, recipe: KeySettings, seed: int) -> nn.Module:
        if recipe.architecture == "none":
            return build_generator(architecture="none", options={})
        public = self.subject.generator
        if self.shares_generator and public is not None:
            return public  # a keyed key may take over the generator of another: its secret is what counts
        height, width = self.subject.pairs.originals.shape[1:3]
        sampler = PictureSampler(
            pictures=public_pictures(), height=height, width=width, rng=np.random.default_rng(seed)
        )
        device = device_of(self.subject.recogniser)
        return train_generator(settings=recipe, sampler=sampler, seed=seed, device=device).generator.cpu()

    def _veils(self, secret: bytes) -> LabVeils | None:
        pipeline: Pipeline = pipeline_of(self.subject.protect.method)
        if pipeline.craft is None:
            return None
        craft, options = pipeline.craft, pipeline.options.model_validate(self.subject.protect.options)
        recogniser = self.subject.recogniser

        def crafted(person: str, photos: Pictures) -> Veil:
            self.progress(f"veil of a person, {len(photos)} photos")
            images: torch.Tensor = to_tensor(photos)
            return craft(photos=images, recogniser=recogniser, secret=secret, label=person, settings=options)

        return LabVeils(crafted)


def new_seed() -> int:
    """Draw where a generator starts, as keys do: 63 bits of the system's entropy, never a small number."""
    return secrets.randbits(63) | (1 << 62)


def joined(parts: Sequence[Pairs]) -> Pairs:
    """Put pairs one after another."""
    return Pairs(
        images=tuple(chain.from_iterable(part.images for part in parts)),
        persons=tuple(chain.from_iterable(part.persons for part in parts)),
        originals=np.concatenate([part.originals for part in parts]),
        protected=np.concatenate([part.protected for part in parts]),
    )
