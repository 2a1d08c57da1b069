"""Labelled pictures for the tables on classification (000, section 4.5, Tables 5 and 8).

CIFAR-10 is read from its binary version, which holds plain bytes; the Python version is a pickle. Where it is not
at hand scikit-learn's digits take its place: 1,797 pictures of 8x8 pixels, enlarged to 32x32.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from torch.nn import functional

from avih.images import to_pixels
from avih.reproduction.context import Context
from avih.reproduction.outcome import NotRun

Pixels = NDArray[np.uint8]
Labels = NDArray[np.int64]

SIDE: Final = 32
CLASSES: Final = 10
SHIFT: Final = 4  # pixels that a training picture of CIFAR-10 is moved by at most, as usual
_RECORD: Final = 1 + 3 * SIDE * SIDE  # bytes of a picture in CIFAR-10's binary version: label, then R, G, B


@dataclass(frozen=True, eq=False)
class Pictures:
    """Labelled pictures, split.

    Attributes:
        name: what the tables call them.
        real: are they the paper's own?
        moved: are training pictures mirrored and moved? A mirrored digit is no digit.

    Shape:
        - train, test: ``(n, 32, 32, 3)`` uint8; their labels ``(n,)`` int64 from 0 to 9.
    """

    name: str
    train: Pixels
    train_labels: Labels
    test: Pixels
    test_labels: Labels
    real: bool = False
    moved: bool = False

    def facts(self) -> dict[str, str | int]:
        """What a measurement depends on, as plain values."""
        return {"pictures": self.name, "train": len(self.train), "test": len(self.test)}


def labelled_pictures(context: Context) -> Pictures:
    """Return CIFAR-10 where it was given, else digits; the ``smoke`` profile always takes digits.

    Raises:
        NotRun: a folder was given for CIFAR-10 and does not hold its binary version.
    """
    folder = context.data.cifar10
    if context.profile == "smoke" or folder is None or not folder.exists():
        return digits(
            train=context.size(smoke=240, cpu=1300, full=1300),
            test=context.size(smoke=120, cpu=497, full=497),
        )
    return cifar10(
        folder,
        train=context.size(smoke=0, cpu=5000, full=50_000),
        test=context.size(smoke=0, cpu=1000, full=10_000),
    )


def digits(*, train: int = 1300, test: int = 497) -> Pictures:
    """Return scikit-learn's digits at 32x32: the first ``train`` to train on, ``test`` from 1,300 on to test."""
    bunch = load_digits()
    small = torch.from_numpy(bunch.images).float()[:, None] / 16
    large = functional.interpolate(small, (SIDE, SIDE), mode="bilinear", align_corners=False)
    pixels, labels = to_pixels(large.clamp(0, 1).expand(-1, 3, -1, -1)), bunch.target.astype(np.int64)
    shown = slice(1300, 1300 + test)
    return Pictures("digits (scikit-learn)", pixels[:train], labels[:train], pixels[shown], labels[shown])


def cifar10(folder: Path, *, train: int = 50_000, test: int = 10_000) -> Pictures:
    """Read CIFAR-10's binary version: ``data_batch_1.bin`` to ``data_batch_5.bin`` and ``test_batch.bin``.

    Args:
        folder: where these files are, or ``cifar-10-batches-bin`` with them.
        train: training pictures, the first ones.
        test: test pictures, the first ones.

    Raises:
        NotRun: a file is missing, or has not whole records of 3,073 bytes.
    """
    inside = folder / "cifar-10-batches-bin"
    place = inside if inside.is_dir() else folder
    parts = [_records(place / f"data_batch_{number}.bin") for number in range(1, 6)]
    pixels = np.concatenate([part[0] for part in parts])[:train]
    labels = np.concatenate([part[1] for part in parts])[:train]
    shown, truth = _records(place / "test_batch.bin")
    return Pictures("CIFAR-10", pixels, labels, shown[:test], truth[:test], real=True, moved=True)


def _records(path: Path) -> tuple[Pixels, Labels]:
    if not path.is_file():
        raise NotRun(
            f"CIFAR-10's binary version is missing: expected {path.name} in the folder given for it. "
            "The Python version is a pickle and is not read."
        )
    content = np.frombuffer(path.read_bytes(), dtype=np.uint8)
    if not content.size or content.size % _RECORD or content[::_RECORD].max() >= CLASSES:
        raise NotRun(f"Expected records of {_RECORD} bytes, each from a label of 0 to 9, in {path.name}.")
    records = content.reshape(-1, _RECORD)
    planes = records[:, 1:].reshape(-1, 3, SIDE, SIDE)
    return np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), records[:, 0].astype(np.int64)


def in_rounds(labels: Labels, *, each: int) -> NDArray[np.int64]:
    """Return rows so that round k holds the k-th picture of each class; at most ``each`` rounds.

    Shape:
        - labels: ``(n,)``; returns ``(m,)``, every class as often as any other.
    """
    of_class = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    rounds = min(each, *(len(rows) for rows in of_class))
    return np.stack([rows[:rounds] for rows in of_class], axis=1).reshape(-1)


def moved(pixels: Pixels, draw: np.random.Generator) -> Pixels:
    """Mirror every other picture, and move each by up to four pixels, black coming in from the edges."""
    height, width = pixels.shape[1:3]
    padded = np.pad(pixels, ((0, 0), (SHIFT, SHIFT), (SHIFT, SHIFT), (0, 0)))
    result = np.empty_like(pixels)
    for row, picture in enumerate(padded):
        top, left = draw.integers(0, 2 * SHIFT + 1, size=2)
        cut = picture[top : top + height, left : left + width]
        result[row] = cut[:, ::-1] if draw.random() < 0.5 else cut
    return result
