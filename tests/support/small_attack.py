"""Small faces, a small service model and small attacks, so that the real check runs within seconds."""

from types import SimpleNamespace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from avih.attack.pairs import Pairs
from avih.attack.settings import AttackSettings
from avih.datasets.synthetic import SyntheticFaces
from avih.generators.codec import CodecGenerator
from avih.protection import Protector
from avih.settings import ProtectSettings

PERSONS, PHOTOS = 8, 6
SMALL = AttackSettings(
    pairs=(8,), steps=200, minimum_steps=120, check_every=20, width=8, blocks=1, prior_steps=10,
    learning_rate=3e-3, adversarial_weight=0.0, control_pairs=30, control_tests=8, control_key_steps=150,
    control_key_width=8, control_steps=30, control_ssim_advantage=0.08,
)  # fmt: skip


class SmallService(nn.Module):
    """A frozen random network in the place of the service model."""

    card = SimpleNamespace(feature_size=32)

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(1)
            self.layers = nn.Sequential(
                nn.Conv2d(3, 8, 5, stride=4),
                nn.ReLU(),
                nn.AdaptiveAvgPool2d(4),
                nn.Flatten(),
                nn.Linear(128, 32),
            )
        self.requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        return functional.normalize(self.layers(images), dim=1)


def small_faces() -> Pairs:
    """Forty-eight faces of eight persons, 56x48, not protected yet."""
    faces = SyntheticFaces(persons=PERSONS, photos_per_person=PHOTOS, size=56)
    names = [(person, photo) for person in range(PERSONS) for photo in range(PHOTOS)]
    pictures = np.stack([faces.photo(*name)[:, 4:52] for name in names])
    return Pairs(
        images=tuple(f"{person}_{photo}" for person, photo in names),
        persons=tuple(f"p{person}" for person, _ in names),
        originals=pictures,
        protected=pictures,
    )


def keyed(pairs: Pairs, *, secret: bytes) -> Pairs:
    """Hide pairs under a keyed key."""
    generator = CodecGenerator(width=8, blocks=1)
    protector = Protector(secret, generator, SmallService(), ProtectSettings(steps=3), "v0001")
    hidden = protector.protect(pictures=list(pairs.originals), images=pairs.images)
    return pairs.with_inputs(np.stack([one.pixels for one in hidden]))
