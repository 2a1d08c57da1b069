"""ImageNet pictures from an ImageFolder, and torchvision's weights of ResNet-50, where somebody has them."""

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Final

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors import SafetensorError
from torch import nn

from avih.errors import ImageRefused, IntegrityError
from avih.images import decode_photo
from avih.reproduction.networks import PUBLIC_SEED
from avih.reproduction.outcome import NotRun

Pixels = NDArray[np.uint8]

CLASSES: Final = 1000
SHORTER: Final = 256  # torchvision's preparation for IMAGENET1K_V1: shorter side 256, centre of 224
SIDE: Final = 224
CHECKPOINT: Final = (
    "resnet50-0676ba61.pth"  # torchvision's IMAGENET1K_V1; the name ends with its SHA-256's first
)
SUFFIXES: Final = (".jpeg", ".jpg", ".png")


@dataclass(frozen=True)
class Target:
    """What Table 9 is measured on; the tests give a small network and public photographs.

    Attributes:
        folder: pictures in torchvision's ImageFolder layout; the sorted folders are the classes, from 0.
        network: the service model, frozen: pictures in [0, 1] to logits.
        classes: how many logits it gives.
        model: its name, for the tables.
        data: the pictures' name, for the tables.
        shorter: length that a picture's shorter side is brought to.
        side: of the square cut from its centre.
        own: are both the paper's own?
    """

    folder: Path
    network: nn.Module
    classes: int
    model: str
    data: str
    shorter: int = SHORTER
    side: int = SIDE
    own: bool = False


def find_weights(folder: Path | None) -> Path | None:
    """Return ResNet-50's weights: from the pictures' folder, else from torch's cache, else none."""
    places = [] if folder is None else [*sorted(folder.glob("resnet50*.safetensors")), folder / CHECKPOINT]
    places.append(Path(torch.hub.get_dir()) / "checkpoints" / CHECKPOINT)
    return next((path for path in places if path.is_file()), None)


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Read a file of tensors; nothing in it is run.

    Raises:
        IntegrityError: torchvision's checkpoint has another SHA-256 than its name says, or a file is damaged.
    """
    content = path.read_bytes()
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load(content)
        wanted = path.stem.rpartition("-")[2]
        if not hashlib.sha256(content).hexdigest().startswith(wanted):
            raise IntegrityError(
                f"Expected a SHA-256 that begins with {wanted} for {path.name}: fetch it again."
            )
        return dict(torch.load(io.BytesIO(content), map_location="cpu", weights_only=True))
    except (SafetensorError, UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise IntegrityError(
            f"{path.name} cannot be read ({type(error).__name__}): fetch it again."
        ) from None


def choose(target: Target, *, most: int) -> list[tuple[Path, int]]:
    """Draw pictures at random (a public seed) with their classes, those that can be read and are large enough.

    Raises:
        NotRun: another number of class folders than the network has classes, or no readable picture.
    """
    folders = sorted(path for path in target.folder.iterdir() if path.is_dir())
    if len(folders) != target.classes:
        raise NotRun(
            f"Expected one folder for each of {target.classes} classes (some may be empty), got {len(folders)}: "
            "their order numbers the classes."
        )
    there = [
        (path, number)
        for number, folder in enumerate(folders)
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in SUFFIXES
    ]
    chosen: list[tuple[Path, int]] = []
    for row in np.random.default_rng(PUBLIC_SEED).permutation(len(there)):
        if (
            len(chosen) < most
            and prepared(there[row][0], shorter=target.shorter, side=target.side) is not None
        ):
            chosen.append(there[row])
    if not chosen:
        raise NotRun("No picture of ImageNet could be read: expected JPEG or PNG files in the class folders.")
    return chosen


def prepared(path: Path, *, shorter: int, side: int) -> Pixels | None:
    """Read a picture as torchvision's networks want it: shorter side scaled, the centre cut out.

    Shape:
        - returns ``(side, side, 3)`` uint8; None where it is no readable picture.
    """
    try:
        pixels = decode_photo(path.read_bytes(), name=path.name).pixels
    except ImageRefused:
        return None
    scale = shorter / min(pixels.shape[:2])
    height, width = (max(shorter, int(length * scale)) for length in pixels.shape[:2])
    scaled = np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR))
    top, left = round((height - side) / 2), round((width - side) / 2)
    return np.ascontiguousarray(scaled[top : top + side, left : left + side])
