"""AVIH Table 3: a key whose generator never saw a face, beside the default one that saw drawn faces."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from avih.datasets.pictures import PHOTOGRAPHS, public_pictures
from avih.evaluation.metrics import ssim
from avih.reproduction.context import Context
from avih.reproduction.hiding.gallery_set import features, gallery_set, quality_of
from avih.reproduction.hiding.protected import Kept, Way, protected_faces, recovered
from avih.reproduction.networks import trained_network
from avih.reproduction.outcome import Outcome, Row, mean_row
from avih.settings import KeySettings

SHOW_PEOPLE = ("astronaut", "camera")
OTHERS = {
    "AdaFace": (98.6, 0.026, 0.891),
    "ArcFace": (96.5, 0.027, 0.909),
    "SphereFace": (79.9, 0.031, 0.890),
}
NEAREST = (89.2, 0.031, 0.882)  # CosFace: acc_one, SSIM_e, SSIM_d


def pictures_without_people() -> list[NDArray[np.uint8]]:
    """Return scikit-image's photographs that show nobody, uint8 ``(h, w, 3)``."""
    photographs = public_pictures(faces=0)
    return [
        picture for name, picture in zip(PHOTOGRAPHS, photographs, strict=True) if name not in SHOW_PEOPLE
    ]


def natural_key(context: Context) -> Outcome:
    """AVIH Table 3: identification with one protected photo, SSIM_e and SSIM_d."""
    gallery = gallery_set(context)
    recogniser = gallery.faces.recogniser
    settings = KeySettings() if context.profile != "smoke" else KeySettings(steps=20, width=8)
    network = trained_network(
        context, settings, size=(recogniser.card.input_height, recogniser.card.input_width),
        pictures=pictures_without_people, pictures_name="photographs without people (scikit-image)",
    )  # fmt: skip
    way = Way(recogniser, network.generator, gallery.way.settings, network.made)
    persons = gallery.faces.persons("test", most=context.size(smoke=2, cpu=32, full=32))
    shown = [
        one.face
        for person in persons
        for one in _of(gallery.kept, person)[: context.size(smoke=1, cpu=2, full=20)]
    ]
    kept = protected_faces(context, "natural", shown, way)
    names = [one.face.person for one in kept]
    right, sure = _placed(context, kept, persons)
    quality = [(ssim(one.face.pixels, one.pixels), ssim(one.face.pixels, back))
               for one, back in zip(kept, recovered(kept, way), strict=True)]  # fmt: skip
    label, (acc_one, ssim_e, ssim_d) = "key without faces, keyed", NEAREST
    rows = [
        mean_row(label=label, metric="acc_one", values=right, persons=sure, paper=acc_one, percent=True),
        mean_row(label=label, metric="ssim_e", values=[one for one, _ in quality], persons=names, paper=ssim_e),
        mean_row(label=label, metric="ssim_d", values=[one for _, one in quality], persons=names, paper=ssim_d),
        mean_row(label="default key, keyed", metric="ssim_d", persons=gallery.persons,
                 values=quality_of(context, gallery).ssim_d),
        *(Row(label=f"{name}, as in the paper", metric=metric, paper=values[place])
          for name, values in OTHERS.items() for place, metric in enumerate(("acc_one", "ssim_e", "ssim_d"))),
    ]  # fmt: skip
    lost = float(rows[3].ours or 0) - float(rows[2].ours or 0)
    return Outcome(
        mark="substitute",
        rows=tuple(rows),
        data=f"{gallery.faces.data}; key trained on 12 photographs without people (paper: LFW; COCO's test set)",
        model=f"{gallery.faces.model} (paper's nearest: CosFace)",
        setting=f"{network.made}. Each photo placed in turn among the photos of one-photo persons.",
        findings=(
            f"A key that never saw a face recovers {abs(lost):.3f} {'less' if lost > 0 else 'more'} SSIM_d than "
            f"the default one: 'slightly different' {'holds' if abs(lost) < 0.05 else 'does not hold'}.",
            "The default key saw drawn faces, no real one, where the paper's saw CelebA.",
        ),
    )


def _of(kept: Sequence[Kept], person: str) -> list[Kept]:
    return [one for one in kept if one.face.person == person]


def _placed(context: Context, kept: Sequence[Kept], persons: Sequence[str]) -> tuple[list[bool], list[str]]:
    """Is a placed protected photo nearer to each probe of its person than every stranger's original?"""
    gallery = gallery_set(context)
    names = np.array(gallery.persons)
    strangers = gallery.original[~np.isin(names, list(gallery.faces.persons("test")))]
    placed = features([one.pixels for one in kept], gallery.faces.recogniser)
    right: list[bool] = []
    whose: list[str] = []
    for person in persons:
        own = np.flatnonzero(names == person)
        best = (gallery.original[own] @ strangers.T).max(axis=1)
        for one, feature in zip(kept, placed, strict=True):
            if one.face.person != person:
                continue
            others = np.array([gallery.kept[row].face.name != one.face.name for row in own])
            right += [bool(hit) for hit in (gallery.original[own] @ feature > best)[others]]
            whose += [person] * int(others.sum())
    return right, whose
