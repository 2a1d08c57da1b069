"""What an attacker learns of a keyed mixing who knows pictures under it, or may choose them.

Chosen pictures and versions are hidden under a key of the lab's own, made by the gallery's recipe: the gallery's
secret is not at hand here. They are taken before free values are moved towards the features: the values that hold
the code are the same bytes before and after, and nothing else of a stored picture comes from the mixing. So what
links them is the mixing's fault, and not f(x') = f(x), which everybody can read by design.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from torch import nn

from avih.attack.pairs import Pairs, Pictures
from avih.errors import UsageError
from avih.generators.codec import encode
from avih.lab.attack import Finding, Guess, Result
from avih.lab.lab import Lab
from avih.lab.scheme import LabKey
from avih.lab.tools.mixing_attacks import codes_of, mean_code, nearly_right, open_by_differences, shown
from avih.lab.tools.mixing_statistics import MOST, equal_values, shared_shifts, version_link
from avih.mixing import Mixing

REPEATS = 4  # times that one picture is hidden, and pictures that get one name
PHOTOS = 16  # of which versions are made, at most
KNOWN = (2, 4, 8, 16)  # known pictures under one mixing, in the demonstration


def guess_by_differences(lab: Lab, known: Pairs, targets: Pairs, label: str) -> Guess:
    """Open targets by known pictures, as if one mixing had served all of them."""
    fill = mean_code(lab.leaked.originals)
    opened = open_by_differences(
        known=codes_of(known.originals), known_stored=_rows(known.protected),
        stored=_rows(targets.protected), fill=fill,
    )  # fmt: skip
    # Every key's generator reads the same code, so one serves for pictures of a lab key as well.
    pictures, blind = _shown(lab, opened.codes), _shown(lab, fill[None])
    return Guess(
        label, targets, pictures, (np.broadcast_to(blind, pictures.shape),),
        {"pairs": len(known), "found": opened.found},
    )  # fmt: skip


def chosen(lab: Lab) -> Iterator[Result]:
    """Have pictures of one's choice protected, and read the targets under the same key by what was learnt."""
    lab.tell("chosen pictures")
    key, shape = _starting(lab), lab.targets.originals.shape[1:]
    again = key.hide(_named("again", np.stack([lab.leaked.originals[0]] * REPEATS)))
    equal = equal_values(_rows(again.protected))
    yield Finding(
        f"one picture protected {REPEATS} times under {REPEATS} names",
        {"equal_values": equal.found, "chance": 1 / 256, "bound": equal.bound},
        "Any two of them share no more values than noise does."
        if not equal.surely
        else "They share more values than noise does: the mixing is not fresh for every picture.",
        level="fail" if equal.surely else "pass",
    )
    pictures = chosen_pictures(shape=shape, count=lab.settings.key_pictures, seed=lab.settings.seed)
    known, targets = key.hide(_named("chosen", pictures)), key.hide(lab.targets)
    yield guess_by_differences(lab, known, targets, f"differences, {len(known)} chosen pictures")


def chosen_pictures(*, shape: tuple[int, ...], count: int, seed: int) -> Pictures:
    """Choose pictures from which a mixing is read best: plain ones, ramps, a single block, and noise.

    Shape:
        - output: ``(count, H, W, 3)`` uint8, at least 8.
    """
    height, width = shape[:2]
    down, across = (np.linspace(0, 255, side).round() for side in (height, width))
    ramps = (np.broadcast_to(down[:, None, None], shape), np.broadcast_to(across[None, :, None], shape))
    block = np.zeros(shape)
    block[height // 4 : height // 4 + 8, width // 2 : width // 2 + 8] = 255
    plain = [np.zeros(shape), np.full(shape, 255.0), *ramps, block]
    noise = np.random.default_rng(seed).integers(0, 256, (max(8, count) - len(plain), *shape))
    return np.concatenate([np.stack(plain), noise]).astype(np.uint8)


def reuse(lab: Lab) -> Iterator[Finding]:
    """Try to get one nonce for two pictures, and show what that would give away."""
    lab.tell("reuse of a nonce")
    key, pictures = _starting(lab), np.unique(lab.leaked.originals, axis=0)[:REPEATS]
    nonces: list[str] = []
    for one in (*pictures, pictures[0]):
        same = _named("same", one[None])
        key.hide(same)
        nonces += key.nonces(same.images)
    *fresh, repeated = nonces
    stored = len(lab.subject.nonces) - len(set(lab.subject.nonces))
    caught = len(set(fresh)) == len(pictures) and not stored
    yield Finding(
        "one nonce for two pictures",
        {
            "pictures_under_one_name": len(pictures), "different_nonces": len(set(fresh)),
            "same_picture_same_nonce": float(repeated == fresh[0]), "stored": len(lab.subject.nonces),
            "stored_again": stored,
        },
        "Other pixels under the same name, version and key get another nonce: avih.mixing.make_nonce ends it in "
        "a keyed tag of the pixels, and nothing that protects takes a nonce from its caller. (The same picture "
        "again gets the same nonce and the same code: two such copies show which values are free, and no more.)"
        if caught
        else "One nonce served several pictures: whoever knows some of them opens the others.",
        level="pass" if caught else "fail",
    )  # fmt: skip
    yield _stored_reuse(lab)
    yield _what_would_fall(lab, key, nonces[0])


def _stored_reuse(lab: Lab) -> Finding:
    """Look for two stored pictures under one mixing, whatever their nonces say."""
    compared = _rows(lab.subject.pairs.protected[:MOST])
    shared, count = shared_shifts(compared), len(compared)
    return Finding(
        "one mixing for two stored pictures",
        {"strongest": shared.found, "bound": shared.bound, "comparisons": shared.comparisons},
        f"The first {count} stored pictures compared each with each by their differences modulo 256: the most "
        f"alike two are "
        f"{'more alike than' if shared.surely else 'no more alike than'} chance gives.",
        level="fail" if shared.surely else "pass",
    )


def _what_would_fall(lab: Lab, key: LabKey, nonce: str) -> Finding:
    """Force one mixing on all pictures, which no caller can, and open the targets by known ones."""
    mixing = Mixing.draw(secret=key.secret, nonce=nonce, values=lab.targets.originals[0].size)
    forced = [
        pairs.with_inputs(np.stack([mixing.invert(encode(one)) for one in pairs.originals]))
        for pairs in (lab.leaked, lab.targets)
    ]
    fill, true = mean_code(lab.leaked.originals), codes_of(lab.targets.originals)
    values: dict[str, float | None] = {"prior": nearly_right(np.broadcast_to(fill, true.shape), true)}
    for count in (size for size in KNOWN if size <= len(lab.leaked)):
        known = lab.first(forced[0], count)
        opened = open_by_differences(
            known=codes_of(known.originals), known_stored=_rows(known.protected),
            stored=_rows(forced[1].protected), fill=fill,
        )  # fmt: skip
        values[f"known_{count}"] = nearly_right(opened.codes, true)
    return Finding(
        "if a nonce were reused (forced here, no part of the verdict)",
        values,
        "Share of the values of unknown pictures that are read within 8 grey levels, by the number of known "
        "pictures under the same mixing.",
    )


def versions(lab: Lab) -> Iterator[Result]:
    """Hide the same photos under many nonces: average them, and see whether they can be linked."""
    count = max(2, *lab.settings.versions)
    lab.tell(f"{count} versions of the same photos")
    key, photos = _starting(lab), lab.first(lab.targets, PHOTOS)
    hidden = np.stack([key.hide(photos, version=f"lab-{one}").protected for one in range(count)])
    # A mean of noise is flat: its contrast is brought back, so that whatever is in it can be seen.
    mean = 127.5 + (hidden.mean(axis=0) - 127.5) * np.sqrt(count)
    yield Guess(
        f"mean of {count} versions", photos, mean.round().clip(0, 255).astype(np.uint8), (),
        {"versions": count},
    )  # fmt: skip
    if len(photos) < 2:
        return
    link = version_link(hidden.reshape(*hidden.shape[:2], -1))
    yield Finding(
        f"linking {count} versions of a photo by correlation",
        {"auc": link.auc, "chance": 0.5, "error": link.error},
        "Versions of one photo are no more alike than those of two photos. (By f(x') they are linked by design.)"
        if not link.surely
        else "Versions of one photo are more alike than those of two photos: nonces do not mix afresh.",
        level="fail" if link.surely else "pass",
    )


def _starting(lab: Lab) -> LabKey:
    """Return a lab key that hides as the gallery does, up to where free values would begin to move."""
    key = lab.scheme.key(1)
    return replace(key, settings=key.settings.model_copy(update={"steps": 1}), stored={})


def _named(name: str, pictures: Pictures) -> Pairs:
    names = tuple(f"{name}-{number}" for number in range(len(pictures)))
    return Pairs(names, ("",) * len(pictures), pictures, pictures)


def _rows(pictures: Pictures) -> Pictures:
    return pictures.reshape(len(pictures), -1)


def _shown(lab: Lab, codes: Pictures) -> Pictures:
    return shown(codes, generator=public_generator(lab), shape=lab.targets.originals.shape[1:])


def public_generator(lab: Lab) -> nn.Module:
    """Return the key's generator.

    Raises:
        UsageError: it is a secret here, or there is none.
    """
    if lab.subject.generator is None:
        raise UsageError("Expected a keyed gallery, whose generator is public, got one without.")
    return lab.subject.generator
