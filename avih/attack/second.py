"""The second recogniser: it took no part in protection, so an attack cannot please it by f(x') = f(x).

Without any downloaded weights it is a classical one, fitted on the owner's originals that are not attacked:
histograms of oriented gradients (Dalal and Triggs 2005) of the face's inside, then PCA and a shrunk linear
discriminant analysis (Belhumeur, Hespanha and Kriegman 1997, "Fisherfaces").
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.feature import hog
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from torch import Tensor

from avih.attack.pairs import Pictures
from avih.errors import UsageError
from avih.evaluation.metrics import Floats, unit_rows
from avih.images import to_tensor

Embed = Callable[[Pictures], Floats]
Names = NDArray[np.str_]

CELL: Final = 8  # pixels
COMPONENTS: Final = 128
SHRINKAGE: Final = 0.5
AT_ONCE: Final = 32
GREY: Final = np.array([0.299, 0.587, 0.114])
# Hair, background and shoulders are left out: rows 21 to 93 percent, columns 12 to 88 percent.
INSIDE: Final = (0.21, 0.93, 0.125, 0.875)


def gradient_histograms(pictures: Pictures) -> Floats:
    """Describe the inside of each face by its histograms of oriented gradients.

    Shape:
        - pictures: ``(n, H, W, 3)`` uint8; output: ``(n, d)``.

    Raises:
        UsageError: the face's inside is smaller than two cells.
    """
    height, width = pictures.shape[1:3]
    top, bottom, left, right = (
        int(part * side) for part, side in zip(INSIDE, (height, height, width, width), strict=True)
    )
    if min(bottom - top, right - left) < 2 * CELL:
        raise UsageError(f"Expected faces of at least {3 * CELL}x{3 * CELL} pixels, got {height}x{width}.")
    faces = pictures[:, top:bottom, left:right] @ GREY / 255
    options: dict[str, Any] = {"orientations": 9, "pixels_per_cell": (CELL, CELL), "cells_per_block": (2, 2)}
    return np.stack([hog(face, **options) for face in faces])


def fit_descriptor(pictures: Pictures, persons: Sequence[str]) -> Embed:
    """Fit the classical recogniser on originals and return it: pictures in, one feature row each out.

    Without two persons of two photos each there is nothing to discriminate by, and PCA alone is used, whitened.

    Shape:
        - pictures: ``(n, H, W, 3)`` uint8.
    """
    described = gradient_histograms(pictures)
    photos = Counter(persons)
    rows = [row for row, person in enumerate(persons) if photos[person] > 1]
    classes = {persons[row] for row in rows}
    discriminant = len(classes) > 1
    axes = PCA(min(COMPONENTS, len(described) - 1), whiten=not discriminant, random_state=0).fit(described)
    if not discriminant:
        return lambda queries: axes.transform(gradient_histograms(queries))
    reduced = axes.transform(described)
    directions = LinearDiscriminantAnalysis(solver="eigen", shrinkage=SHRINKAGE)
    directions.fit(reduced[rows], [persons[row] for row in rows])
    return lambda queries: directions.transform(axes.transform(gradient_histograms(queries)))


def network_features(recogniser: Callable[[Tensor], Tensor]) -> Embed:
    """Use a recogniser network as second recogniser."""

    def embed(pictures: Pictures) -> Floats:
        with torch.no_grad():
            parts = [
                recogniser(to_tensor(pictures[first : first + AT_ONCE]))
                for first in range(0, len(pictures), AT_ONCE)
            ]
        return torch.cat(parts).double().numpy()

    return embed


@dataclass(frozen=True, eq=False)
class Identifier:
    """A second recogniser with its gallery of reference photos.

    Shape:
        - features: ``(n, d)`` unit rows, one per reference photo of ``persons``.
    """

    embed: Embed
    features: Floats
    persons: Names

    @classmethod
    def build(cls, *, embed: Embed, pictures: Pictures, persons: Sequence[str]) -> "Identifier":
        """Enrol reference photos."""
        return cls(embed, unit_rows(embed(pictures)), np.array(persons))

    @property
    def chance(self) -> float:
        """Rate of somebody who names a person of the gallery at random."""
        return 1 / len(set(self.persons.tolist()))

    def identify(self, pictures: Pictures, persons: Sequence[str]) -> tuple[Names, Names]:
        """Name the person of the most similar reference, for each picture whose person has references.

        Shape:
            - pictures: ``(n, H, W, 3)`` uint8; output: the names found, and the true names.
        """
        named = np.array(persons, dtype=np.str_)
        known = np.isin(named, self.persons)
        if not known.any():
            return named[known], named[known]
        similar = unit_rows(self.embed(pictures[known])) @ self.features.T
        return self.persons[similar.argmax(axis=1)], named[known]
