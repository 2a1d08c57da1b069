"""Attack 13, on the owner's side: what is left of matching and of recovery when stored pictures are distorted."""

from collections.abc import Iterator
from typing import Final

import numpy as np
import torch

from avih.attack.pairs import Pairs, Pictures
from avih.errors import AvihError
from avih.evaluation.metrics import ssim
from avih.lab.attack import AttackFacts, Finding
from avih.lab.attacks.recogniser_side import service_threshold
from avih.lab.lab import Lab
from avih.lab.tools.distortions import distortions
from avih.lab.tools.inversion import features_of

FACTS = AttackFacts(
    name="robustness",
    title="What distorted pictures still serve for",
    claim="AVIH, section 4.2 and Table 4: recovery bears noise; Veils, section 4.4: matching bears noise, salt "
    "and pepper and a median filter. Matching and recovery are measured separately here.",
    holds="Nothing: this is what happens to the owner.",
    kind="owner",
)
MOST: Final = 16
TEXT: Final = (
    "cosine: f(distorted x') with f(original). matched: share above the service's threshold. ssim: the owner's "
    "recovery from the distorted picture with the original."
)
SEALED: Final = " Recovery opens the ciphertext beside the picture: what happens to x' does not touch it."


def run(lab: Lab) -> Iterator[Finding]:
    """Distort stored pictures in every way; the first way is to leave them as they are."""
    targets = lab.first(lab.targets, MOST)
    threshold = service_threshold(lab)
    wanted = features_of(lab.subject.recogniser, targets.originals)
    sealed = SEALED if lab.subject.protect.recovery == "sealed" else ""
    for distortion in distortions():
        lab.tell(f"stored pictures distorted: {distortion.name}")
        seen = distortion.apply(targets.protected, seed=lab.settings.seed)
        cosines = (features_of(lab.subject.recogniser, seen) * wanted).sum(dim=1)
        similarity, refused = _recovered(lab, targets, seen)
        values = {
            "cosine": float(cosines.mean()),
            "cosine_min": float(cosines.min()),
            "matched": float((cosines > threshold).to(torch.float64).mean()),
            "threshold": threshold,
            "ssim": similarity,
        }
        yield Finding(distortion.name, values, TEXT + sealed + refused)


def _recovered(lab: Lab, targets: Pairs, seen: Pictures) -> tuple[float | None, str]:
    """Return the SSIM of what the owner gets back from the first pictures, or why there is nothing."""
    few = lab.first(targets, 2 * lab.settings.fit_pictures)  # a generator of the papers' size takes its time
    try:
        back = lab.subject.recover(few.images, seen[: len(few)])
    except AvihError as error:
        return None, f" Recovery was refused: {error}"
    return float(np.mean([ssim(one, true) for one, true in zip(back, few.originals, strict=True)])), ""
