"""A small keyed gallery for attacks on its mixing, and mixings that are weakened on purpose."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from avih import protection
from avih.attack.pairs import Pairs, Pictures
from avih.attack.settings import AttackSettings
from avih.evaluation.metrics import ssim
from avih.generators.codec import CodecGenerator, encode
from avih.lab.attack import Guess
from avih.lab.lab import Lab
from avih.lab.scheme import LabKey
from avih.lab.settings import LabSettings
from avih.lab.subject import Subject
from avih.mixing import Mixing
from avih.settings import KeySettings, ProtectSettings
from small_attack import small_faces
from small_lab import SMALL, Service, lab_of

NETWORK = AttackSettings(
    steps=4, minimum_steps=2, width=4, blocks=1, prior_steps=5, adversarial_weight=0.0, identity_weight=0.0
)
TRAINED = NETWORK.model_copy(update={"steps": 25, "minimum_steps": 25, "width": 8, "learning_rate": 3e-3})
BRIEF = SMALL.model_copy(update={"network": NETWORK})
FACES = small_faces()
SHAPE = FACES.originals.shape[1:]
VALUES = FACES.originals[0].size


def small_lab(settings: LabSettings = BRIEF) -> Lab:
    """A keyed gallery whose generator is the exact inverse of the code, and a lab key with the same generator."""
    generator = CodecGenerator(width=4, blocks=1).eval().requires_grad_(False)
    protect = ProtectSettings(recovery="keyed", steps=3)
    subject = Subject(
        gallery="people", version="v0001", pairs=FACES, nonces=("",) * len(FACES), others=None,
        recogniser=Service(), protect=protect, key=KeySettings(architecture="codec", width=4, blocks=1),
        generator=generator, recover=lambda names, pictures: pictures, data="drawn faces",
    )  # fmt: skip
    owner = LabKey(bytes(range(32)), generator, subject, protect)
    hidden = owner.hide(FACES, version="v0001")
    lab = lab_of(replace(subject, pairs=hidden, nonces=owner.nonces(FACES.images)), settings)
    lab.scheme.keys[1] = LabKey(bytes(range(1, 33)), generator, subject, protect)
    return lab


def one_nonce(patch: pytest.MonkeyPatch) -> None:
    """Weaken: one nonce for all pictures, so one constant mixing."""
    patch.setattr(protection, "make_nonce", lambda **_: "v0001/one/nonce")


def drawn(*, places: bool, shifts: bool) -> classmethod:  # type: ignore[type-arg]
    """Weaken: a mixing for every nonce without new places, or without shifts."""
    true = Mixing.draw.__func__  # type: ignore[attr-defined]

    def draw(cls: type[Mixing], *, secret: bytes, nonce: str, values: int) -> Mixing:
        mixing: Mixing = true(cls, secret=secret, nonce=nonce, values=values)
        if not places:
            nothing = np.zeros(values, dtype=np.uint8)
            mixing = replace(mixing, permutation=np.arange(values), flips=nothing)
        return mixing if shifts else replace(mixing, shifts=np.zeros(values, dtype=np.uint8))

    return classmethod(draw)


def advantage(lab: Lab, guess: Guess) -> float:
    """How much more alike to the originals than the best blind guess."""
    priors = [np.broadcast_to(lab.blank, guess.pictures.shape), *guess.blind]
    return alike(guess.pictures, guess.targets) - max(alike(one, guess.targets) for one in priors)


def alike(pictures: Pictures, pairs: Pairs) -> float:
    """Mean SSIM with the originals."""
    return float(np.mean([ssim(one, true) for one, true in zip(pictures, pairs.originals, strict=True)]))


def under(mixings: list[Mixing], pictures: Pictures) -> Pictures:
    """Put the code of each picture under its mixing, free values and all."""
    rows = zip(mixings, pictures, strict=True)
    return np.stack([mixing.invert(encode(one)) for mixing, one in rows])


def mixings(count: int, *, fresh: bool) -> list[Mixing]:
    """Draw mixings: one for every picture, or the same for all."""
    names = [f"nonce {number if fresh else 0}" for number in range(count)]
    return [Mixing.draw(secret=bytes(32), nonce=name, values=VALUES) for name in names]


def rows(pictures: Pictures) -> NDArray[np.uint8]:
    """Write each picture as a row."""
    return pictures.reshape(len(pictures), -1)
