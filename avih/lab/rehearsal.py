"""A gallery in memory, hidden by any recipe: what a defence is worth, before a stored gallery has it."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from avih.attack.pairs import Pairs, Pictures
from avih.lab.scheme import LabKey, Scheme, new_seed
from avih.lab.settings import QUICK, LabSettings
from avih.lab.subject import Subject
from avih.recognisers import Recogniser
from avih.settings import KeySettings, ProtectSettings

VERSION = "v0001"  # unlike the lab's own version, so that no nonce of an attack occurs among these


def rehearse(
    faces: Pairs,
    *,
    recogniser: Recogniser,
    protect: ProtectSettings,
    key: KeySettings,
    data: str,
    gallery: str = "rehearsal",
    settings: LabSettings = QUICK,
    consenting: bool = False,
    alone: bool = False,
    tell: Callable[[str], None] = lambda text: None,
) -> Subject:
    """Hide faces under a new key, in memory, as a gallery with these settings would.

    Args:
        faces: whose originals are hidden; what they are stored as does not matter.
        recogniser: the service model.
        protect: how pictures are hidden.
        key: how the key's generator is made.
        data: which data this is.
        gallery: name of the made-up gallery.
        settings: of the audit that follows.
        consenting: whether reconstructions may be shown.
        alone: treat each photo as if it were a person's only one, so that no two share what persons have.
        tell: takes a line about what is going on.
    """
    bare = Subject(
        gallery=gallery, version=VERSION, pairs=faces, nonces=("",) * len(faces), others=None,
        recogniser=recogniser, protect=protect, key=key, generator=None, recover=lambda names, pictures: pictures,
        data=data, consenting=consenting,
    )  # fmt: skip
    # A key as the owner makes it: the cheap keys of an audit are none of the gallery's.
    owner = Scheme(bare, settings.model_copy(update={"cheap_keys": False}), tell).make(seed=new_seed())
    hidden = owner.hide(replace(faces, persons=faces.images) if alone else faces, version=VERSION)
    return replace(
        bare,
        pairs=replace(hidden, persons=faces.persons),
        nonces=owner.nonces(faces.images),
        generator=owner.generator if protect.recovery == "keyed" else None,
        recover=lambda names, pictures: recovered(owner, names, pictures),
    )


def recovered(owner: LabKey, names: Sequence[str], pictures: Pictures) -> Pictures:
    """Return what the owner gets back from pictures stored under these names.

    Shape:
        - pictures: ``(n, H, W, 3)`` uint8; the same comes back.
    """
    kept = owner.stored
    changed = [replace(kept[name], pixels=pixels) for name, pixels in zip(names, pictures, strict=True)]
    owner.stored = {one.image: one for one in changed}
    try:
        return np.stack(list(owner.recover(names)))
    finally:
        owner.stored = kept
