"""V-UAP, the baseline of 002: one perturbation per person from distances of vector to vector (Equation 15).

The photos' features are matched one by one instead of through their hull, and nothing flattens the picture; the
loop, the start and the mixture are those of the veils.
"""

from dataclasses import replace

from torch import Tensor

from avih.losses import Objective
from avih.methods.facts import MethodFacts
from avih.methods.person_veil import PIPELINE as VEIL_PIPELINE
from avih.methods.person_veil import Progress, VeilSettings, features_of, optimise
from avih.veils.losses import Recognise, VectorDistance, VisualDistance
from avih.veils.veil import STARTS, Veil

FACTS = MethodFacts(
    name="v_uap",
    title="V-UAP, the baseline of the veils",
    paper="Once-for-all: Efficient Visual Face Privacy Protection via Person-specific Veils (2024), Equation 15",
    needs="Several aligned photos of one person, the recogniser's gradients, and a 32-byte secret.",
    gives="What a veil gives; here to compare with.",
    cannot="All that a veil cannot, and it hides less: no term flattens what is left of the photo.",
)


def craft_v_uap(
    *,
    photos: Tensor,
    recogniser: Recognise,
    secret: bytes,
    label: str,
    settings: VeilSettings | None = None,
    progress: Progress | None = None,
) -> Veil:
    """Craft the baseline's veil: feature distance photo by photo, visual distance made large (002, Equation 15).

    Equation 15 asks for equal recognition as a constraint; it is a penalty here, with the same weights as for a
    veil. The settings of the block variance do not matter.

    Args:
        photos: aligned photos of the person.
        recogniser: from pictures in [0, 1] to unit features.
        secret: 32 random bytes, from which the start noise is drawn.
        label: names the veil.
        settings: how; the defaults if none.
        progress: called after each step with the number of steps so far and the loss of the step.

    Shape:
        - photos: ``(photos, 3, H, W)`` in [0, 1]; recogniser: ``(batch, 3, H, W)`` to ``(batch, d)``.

    Raises:
        UsageError: no photos in [0, 1], or a secret of another length.
    """
    chosen = settings or VeilSettings()

    def build(originals: Tensor, features: Tensor) -> Objective:
        return Objective(
            (
                VectorDistance(recogniser, features, chosen.feature_weight),
                VisualDistance(originals, -chosen.visual_weight),
            )
        )

    return optimise(
        photos=photos,
        features=features_of(photos, recogniser=recogniser, batch_size=chosen.batch_size),
        recogniser=recogniser,
        start=STARTS[chosen.start](secret=secret, label=label, like=photos[0]),
        build=build,
        settings=chosen,
        progress=progress,
    )


PIPELINE = replace(VEIL_PIPELINE, craft=craft_v_uap)
