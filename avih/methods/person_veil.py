"""Person-specific veils: one optimisation per person, one veil for all photos of that person (002).

Algorithm 1 of 002 omits the step itself and starts from the person's first photo. Here the step is that of
MI-FGSM, which it names, and the start is noise from a secret: Section 3.5 wants a start value of the user's own.
"""

from collections.abc import Callable

import torch
from pydantic import Field
from torch import Tensor

from avih.errors import UsageError
from avih.loop import round_to_levels
from avih.losses import Objective
from avih.methods.facts import MethodFacts
from avih.methods.pipeline import Pipeline
from avih.settings import Count, Frozen
from avih.veils.exposure import WARNING
from avih.veils.hiding import LIMITS, VeilHider
from avih.veils.losses import Intra, Recognise, SubspaceDistance, VeilBlockVariance, VisualDistance
from avih.veils.subspace import FeatureHull
from avih.veils.veil import ALPHA, KIND, STARTS, Start, Veil, read_veil, start_noise, veil_bytes

__all__ = [
    "FACTS",
    "KIND",
    "PIPELINE",
    "Veil",
    "VeilOptions",
    "VeilSettings",
    "craft_veil",
    "features_of",
    "optimise",
    "read_veil",
    "start_noise",
    "veil_bytes",
]

FACTS = MethodFacts(
    name="person_veil",
    title="Person-specific veils",
    paper="Once-for-all: Efficient Visual Face Privacy Protection via Person-specific Veils (2024), Section 3",
    needs="Several aligned photos of one person, the recogniser's gradients, and a 32-byte secret.",
    gives="One veil for all photos of the person: putting it on takes no optimisation, and whoever has it takes "
    "it off again, up to the rounding of the stored picture.",
    cannot="It cannot withstand an attack: most of a crafted veil ends at black or white, and one protected "
    "picture alone gives its face away. Nor can it hide several photos under one veil: their mean gives it away, "
    "and so does one photo together with its protected picture. Keep one gallery photo per person per veil. The "
    "recogniser sees the veil rather than the photo: a stranger's photo under it matches its owner.",
)

Progress = Callable[[int, float], None]
Build = Callable[[Tensor, Tensor], Objective]


class VeilSettings(Frozen):
    """How a veil is crafted; 002 gives alpha, momentum and blocks, but neither steps, step size nor weights."""

    steps: Count = Field(100, description="Gradient steps per veil.")
    step_size: float = Field(0.01, gt=0, le=1, description="Sign step, in units of the pixel range.")
    momentum: float = Field(1.0, ge=0, le=1, description="Decay mu of the past gradients (the paper: 1).")
    alpha: float = Field(
        ALPHA, gt=0, lt=1, description="Share of the photo in the stored picture (the paper: 0.2)."
    )
    feature_weight: float = Field(1.0, ge=0, description="Weight of the distance from the feature hull.")
    visual_weight: float = Field(2.0, ge=0, description="Weight lambda of the visual distance, made large.")
    variance_weight: float = Field(0.05, ge=0, description="Weight mu of the block variance.")
    block_size: Count = Field(3, description="Side of a block in pixels (the paper: 3).")
    block_stride: Count = Field(1, description="Pixels from one block to the next.")
    intra: Intra = Field("centred", description="Equation 10: centred on the block means, or as printed.")
    start: Start = Field(
        "white", description="Noise that a veil starts from; pink has the spectrum of photos."
    )
    batch_size: Count = Field(32, description="Photos that the recogniser sees at once.")


class VeilOptions(VeilSettings):
    """What a gallery of veils lets choose: how they are crafted, and how many photos may share one."""

    photos_per_veil: Count = Field(1, description="Photos of a person that may ever go under one veil.")


def craft_veil(
    *,
    photos: Tensor,
    recogniser: Recognise,
    secret: bytes,
    label: str,
    settings: VeilSettings | None = None,
    progress: Progress | None = None,
) -> Veil:
    """Craft the veil of one person (002, Algorithm 1 and Equation 13).

    Args:
        photos: aligned photos of the person.
        recogniser: from pictures in [0, 1] to unit features.
        secret: 32 random bytes, from which the start noise is drawn.
        label: names the veil; one secret serves many labels.
        settings: how; the defaults if none.
        progress: called after each step with the steps so far and the loss.

    Shape:
        - photos: ``(photos, 3, H, W)`` in [0, 1]; recogniser: ``(batch, 3, H, W)`` to ``(batch, d)``.

    Raises:
        UsageError: no photos in [0, 1], a secret of another length, or features that are not finite.
    """
    chosen = settings or VeilSettings()
    features = features_of(photos, recogniser=recogniser, batch_size=chosen.batch_size)
    identity = SubspaceDistance(recogniser, FeatureHull(features), chosen.feature_weight)
    flatness = VeilBlockVariance(chosen.variance_weight, chosen.block_size, chosen.block_stride, chosen.intra)

    def build(originals: Tensor, _: Tensor) -> Objective:
        return Objective((identity, VisualDistance(originals, -chosen.visual_weight), flatness))

    return optimise(
        photos=photos,
        features=features,
        recogniser=recogniser,
        start=STARTS[chosen.start](secret=secret, label=label, like=photos[0]),
        build=build,
        settings=chosen,
        progress=progress,
    )


def features_of(photos: Tensor, *, recogniser: Recognise, batch_size: int) -> Tensor:
    """Return the features of photos, without gradients.

    Shape:
        - photos: ``(photos, 3, H, W)`` in [0, 1]; returns ``(photos, d)``.

    Raises:
        UsageError: no photos, another shape, or values outside [0, 1].
    """
    if photos.ndim != 4 or photos.shape[1] != 3 or len(photos) == 0 or not photos.is_floating_point():
        raise UsageError(
            f"Expected photos (photos, 3, H, W) in floating point, got {photos.dtype} {tuple(photos.shape)}."
        )
    if not bool(((photos >= 0) & (photos <= 1)).all()):
        raise UsageError("Expected photos in [0, 1]; divide 8-bit values by 255.")
    with torch.no_grad():
        return torch.cat([recogniser(some) for some in photos.split(batch_size)])


def optimise(
    *,
    photos: Tensor,
    features: Tensor,
    recogniser: Recognise,
    start: Tensor,
    build: Build,
    settings: VeilSettings,
    progress: Progress | None,
) -> Veil:
    """Run Algorithm 1 of 002 and keep the veil whose stored photos have the smallest mean loss.

    ``build`` makes the objective of some photos, from the photos and their features.

    Shape:
        - photos: ``(photos, 3, H, W)`` in [0, 1]; features: theirs, ``(photos, d)``.
        - start: d_0, ``(3, H, W)`` in [0, 1].
    """
    alpha, d = settings.alpha, start
    velocity = torch.zeros_like(d)
    best, smallest, steps = d, torch.inf, 0
    for step in range(1, settings.steps + 1):
        loss, gradient = _look(photos, features, d, build, settings)
        if loss < smallest:
            best, smallest, steps = d, loss, step
        velocity = settings.momentum * velocity + gradient / gradient.abs().sum().clamp_min(1e-30)
        d = (d - settings.step_size * velocity.sign()).clamp(0, 1)
        if progress:
            progress(step, loss)
    stored = round_to_levels(alpha * photos + (1 - alpha) * best)
    found = features_of(stored, recogniser=recogniser, batch_size=settings.batch_size)
    cosines = torch.nn.functional.cosine_similarity(found, features).float().cpu()
    return Veil(d=best.float().cpu(), alpha=alpha, cosines=cosines, steps=steps)


def _look(
    photos: Tensor, features: Tensor, d: Tensor, build: Build, settings: VeilSettings
) -> tuple[float, Tensor]:
    """Return the mean loss of the stored photos under d, and its gradient by d."""
    total, gradient = 0.0, torch.zeros_like(d)
    some = settings.batch_size
    for originals, targets in zip(photos.split(some), features.split(some), strict=True):
        # The gradient is taken at the rounded pictures: what is best in memory is then best in the file.
        stored = round_to_levels(settings.alpha * originals + (1 - settings.alpha) * d)
        loss, slope, _ = build(originals, targets).with_gradient(stored)
        total += float(loss.sum())
        gradient += (1 - settings.alpha) * slope.sum(dim=0)
    return total / len(photos), gradient / len(photos)


PIPELINE = Pipeline(
    hider=VeilHider,
    recoveries=("veil",),
    options=VeilOptions,
    protect={"minimum_cosine": LIMITS.cos_min_min},
    limits=LIMITS,
    craft=craft_veil,
    warning=WARNING,
)
