"""Protected pictures of the experiments, kept as 8-bit PNG files: what is measured is read back from there."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from avih.atomic import write_bytes, write_json
from avih.images import decode_png, encode_png, to_pixels, to_tensor
from avih.protection import Protector
from avih.recognisers import Recogniser
from avih.recovery import Stored, recover
from avih.reproduction.context import Context
from avih.reproduction.faces import Face, Picture
from avih.reproduction.networks import SECRET
from avih.settings import ProtectSettings, Recovery

AT_ONCE = 64  # pictures between two visits to the disk; a killed run loses no more
VERSION = "reproduction"


@dataclass(frozen=True)
class Way:
    """How pictures are protected: everything that changes a stored byte.

    Attributes:
        secret: 32 bytes; public here, so that anybody repeats the figures.
    """

    recogniser: Recogniser
    generator: nn.Module
    settings: ProtectSettings
    made: str
    secret: bytes = SECRET

    @property
    def recovery(self) -> Recovery:
        """The recovery of the settings."""
        return self.settings.recovery

    def digest(self) -> str:
        """Name the way: two ways of one name give the same files."""
        facts = f"{self.settings.digest()} {self.made} {self.recogniser.fingerprint}"
        return hashlib.sha256(facts.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Kept:
    """One face and its protected picture as it is stored.

    Shape:
        - pixels: ``(H, W, 3)`` uint8, read from the file.
    """

    face: Face
    pixels: Picture
    nonce: str
    steps: int

    @property
    def stored(self) -> Stored:
        """What recovery takes."""
        return Stored(self.face.name, self.pixels, self.nonce, None)


def protected_faces(context: Context, name: str, faces: Sequence[Face], way: Way) -> list[Kept]:
    """Protect faces, or read what an earlier run protected in the same way; in the order of ``faces``.

    Args:
        context: where the files are.
        name: name of the set, for people.
        faces: aligned originals; their names are unique.
        way: how.
    """
    folder = context.folder("protected", f"{name}-{way.digest()}")
    missing = [face for face in faces if not _paths(folder, face)[1].is_file()]
    protector = Protector(way.secret, way.generator, way.recogniser, way.settings, VERSION)
    for start in range(0, len(missing), AT_ONCE):
        context.tell(f"{name}: {len(faces) - len(missing) + start} of {len(faces)} pictures protected")
        some = missing[start : start + AT_ONCE]
        done = protector.protect(pictures=[face.pixels for face in some], images=[face.name for face in some])
        for face, one in zip(some, done, strict=True):
            picture, facts = _paths(folder, face)
            write_bytes(picture, encode_png(one.pixels))
            write_json(facts, {"name": face.name, "nonce": one.nonce, "steps": one.steps})
    return [_read(folder, face) for face in faces]


def _paths(folder: Path, face: Face) -> tuple[Path, Path]:
    """Name a face's picture and the facts beside it, which are written last; the pixels are part of the name."""
    digest = hashlib.sha256(face.name.encode() + face.pixels.tobytes()).hexdigest()[:24]
    return folder / f"{digest}.png", folder / f"{digest}.json"


def _read(folder: Path, face: Face) -> Kept:
    picture, facts = _paths(folder, face)
    told = json.loads(facts.read_text())
    return Kept(face, decode_png(picture.read_bytes()), told["nonce"], told["steps"])


def recovered(
    kept: Sequence[Kept], way: Way, *, secret: bytes | None = None, generator: nn.Module | None = None
) -> list[Picture]:
    """Recover stored pictures with the way's key, or with another secret or generator.

    Shape:
        - returns: each ``(H, W, 3)`` uint8.
    """
    pictures: list[Picture] = []
    for start in range(0, len(kept), AT_ONCE):
        pictures += recover(
            [one.stored for one in kept[start : start + AT_ONCE]],
            secret=secret or way.secret,
            generator=generator or way.generator,
            recovery=way.recovery,
        )
    return pictures


def with_noise(kept: Kept, *, sigma: float, noise: torch.Generator) -> Kept:
    """Add Gaussian noise to a stored picture and round it to 8 bits again, as a lossy channel would.

    Args:
        kept: the picture.
        sigma: standard deviation in grey levels of 255.
        noise: where the noise comes from.
    """
    image = to_tensor([kept.pixels])
    (pixels,) = to_pixels((image + torch.randn(image.shape, generator=noise) * (sigma / 255)).clamp(0, 1))
    return replace(kept, pixels=pixels)
