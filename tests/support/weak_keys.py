"""Weak schemes for the attacks with keys of the lab's own: hiding is a function, and takes no time."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache

import numpy as np
import torch
from torch import Tensor, nn

from avih.attack.pairs import Pairs, Pictures
from avih.attack.settings import AttackSettings
from avih.evaluation.metrics import ssim
from avih.lab.attack import Guess
from avih.lab.lab import Lab
from avih.lab.scheme import LAB_VERSION, LabKey, Scheme
from avih.lab.settings import LabSettings
from avih.lab.subject import Subject, draw_parts
from avih.mixing import Mixing, make_nonce
from avih.recovery import Stored
from avih.settings import KeySettings, ProtectSettings
from small_attack import small_faces
from small_lab import SMALL, Service

NETWORK = AttackSettings(
    steps=60, minimum_steps=40, width=8, blocks=0, prior_steps=0, learning_rate=5e-3, adversarial_weight=0.0,
    identity_weight=0.0,
)  # fmt: skip
HASTY = NETWORK.model_copy(update={"steps": 1, "minimum_steps": 1})
SETTINGS = SMALL.model_copy(update={"network": NETWORK, "cheap_keys": False, "fit_pictures": 4, "seeds": 3})
Hide = Callable[["WeakKey", Pictures, Sequence[str]], Pictures]


class Times(nn.Module):
    """Multiplies by a weight and adds an offset."""

    def __init__(self, weight: float, offset: float = 0.0) -> None:
        super().__init__()
        self.weight, self.offset = nn.Parameter(torch.tensor(weight), requires_grad=False), offset

    def forward(self, images: Tensor) -> Tensor:
        return (images * self.weight + self.offset).clamp(0, 1)


class WeakKey(LabKey):
    """A key whose pictures a function makes; it counts them."""

    hide_how: Hide
    hidden = 0

    def hide(self, pairs: Pairs, *, version: str = LAB_VERSION) -> Pairs:
        nonces = [
            make_nonce(secret=self.secret, version=version, image=image, pixels=original)
            for image, original in zip(pairs.images, pairs.originals, strict=True)
        ]
        pictures = self.hide_how(self, pairs.originals, nonces)
        for image, made, nonce in zip(pairs.images, pictures, nonces, strict=True):
            self.stored[image] = Stored(image, made, nonce)
        self.hidden += len(pairs)
        return pairs.with_inputs(pictures)


class WeakScheme(Scheme):
    """Makes such keys: the seed makes the generator, the secret is another one every time."""

    hide_how: Hide
    generator_of: Callable[[int], nn.Module]
    made = 0

    def key(self, number: int) -> LabKey:
        if number not in self.keys:
            self.keys[number] = self.make(seed=number)
        return self.keys[number]

    def make(self, *, seed: int) -> LabKey:
        self.made += 1
        secret = hashlib.sha256(f"{seed} {self.made}".encode()).digest()
        key = WeakKey(secret, self.generator_of(seed), self.subject, self.subject.protect)
        key.hide_how = self.hide_how
        return key


@cache
def faces_in_small() -> Pairs:
    """Small faces at half of their size, 28x24."""
    faces = small_faces()
    small = np.ascontiguousarray(faces.originals[:, ::2, ::2])
    return Pairs(faces.images, faces.persons, small, small)


def weak_lab(
    hide: Hide, *, recovery: str = "sealed", settings: LabSettings = SETTINGS,
    generator_of: Callable[[int], nn.Module] = lambda seed: Times(1.0), public: nn.Module | None = None,
) -> Lab:  # fmt: skip
    """A lab about small faces, 28x24, hidden by a function; the gallery's key has the seed 77."""
    bare = Subject(
        gallery="people", version="v0001", pairs=faces_in_small(),
        nonces=(), others=None, recogniser=Service(), protect=ProtectSettings(recovery=recovery),
        key=KeySettings(), generator=public, recover=lambda names, pictures: pictures, data="drawn faces",
    )  # fmt: skip

    def scheme(of: Subject) -> WeakScheme:
        made = WeakScheme(of, settings, lambda text: None)
        made.hide_how, made.generator_of = hide, generator_of
        return made

    owner = scheme(bare).make(seed=77)
    pairs = owner.hide(bare.pairs, version="v0001")
    whole = replace(bare, pairs=pairs, nonces=owner.nonces(pairs.images))
    parts = draw_parts(whole, targets=settings.targets, leaked=settings.most_leaked)
    return Lab(whole, parts, settings, scheme(whole), lambda text: None)


def advantage(lab: Lab, guess: Guess) -> float:
    """Mean SSIM above the best guess without the picture."""
    true = guess.targets.originals
    blank = np.broadcast_to(lab.leaked.originals.mean(axis=0).round().astype(np.uint8), true.shape)
    priors = [similarity(blind, true) for blind in (blank, *guess.blind)]
    return similarity(guess.pictures, true) - max(priors)


def similarity(pictures: Pictures, true: Pictures) -> float:
    return float(np.mean([ssim(np.ascontiguousarray(a), b) for a, b in zip(pictures, true, strict=True)]))


def masked(key: WeakKey, pictures: Pictures, nonces: Sequence[str]) -> Pictures:
    """One mask for all keys: whoever undoes one undoes all."""
    mask = np.random.default_rng(5).integers(0, 256, size=pictures.shape[1:])
    return ((pictures.astype(np.int64) + mask) // 2).astype(np.uint8)


def shuffled(key: WeakKey, pictures: Pictures, nonces: Sequence[str]) -> Pictures:
    """Every key has an order of its own of all values."""
    order = np.random.default_rng(list(key.secret)).permutation(pictures[0].size)
    return pictures.reshape(len(pictures), -1)[:, order].reshape(pictures.shape)


def mixed(key: WeakKey, pictures: Pictures, nonces: Sequence[str]) -> Pictures:
    """The product's mixing around a generator that changes nothing."""
    return np.stack([
        Mixing.draw(secret=key.secret, nonce=nonce, values=one.size).invert(one)
        for one, nonce in zip(pictures, nonces, strict=True)
    ])  # fmt: skip


def noisy(key: WeakKey, pictures: Pictures, nonces: Sequence[str]) -> Pictures:
    """A third of the picture shows through noise that is fresh for every key and version."""
    noise = [
        np.random.default_rng(list(nonce.encode())).integers(0, 256, size=pictures.shape[1:])
        for nonce in nonces
    ]
    return (pictures / 3 + np.stack(noise) / 1.5).astype(np.uint8)


def halved(key: WeakKey, pictures: Pictures, nonces: Sequence[str]) -> Pictures:
    """Recovered by the generator that multiplies by the inverse of what this divides by."""
    return (pictures / float(key.generator.weight)).astype(np.uint8)
