"""Attack 6: many protected versions of one picture, as rotations and repeated runs leave them behind."""

from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from avih.attack.pairs import Pairs, Pictures
from avih.attack.prior import noise_like
from avih.lab.attack import AttackFacts, Finding, Guess, Kind
from avih.lab.attacks.cross_key_network import few_targets, hidden_under, kind_of_lab_keys, own_pictures
from avih.lab.lab import Lab, Lesson
from avih.lab.scheme import joined

FACTS = AttackFacts(
    name="many_versions",
    title="Many versions of one picture",
    claim="AVIH, section 4.3: change keys often. Every rotation leaves another protected version of the same "
    "picture with whoever kept a copy.",
    holds="Several protected versions of each attacked picture, under different keys or under one key; for the "
    "network also of other pictures, with their originals.",
)
FEWEST_PAIRS: Final = 8  # with half of them a network does not undo even a constant mask
COMBINED: Final = ("mean", "median")  # of two values both are the same
Values = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class _Copies:
    """Versions of the same pictures, and at how many of them a network is trained.

    Attributes:
        name: what the versions differ by.
        targets: the attacked pictures, version by version.
        leaked: pictures with known originals, version by version; perhaps fewer versions.
        sizes: numbers of versions that are combined.
        trained: those of them with a network.
    """

    name: str
    targets: Sequence[Pairs]
    leaked: Sequence[Pairs]
    sizes: Sequence[int]
    trained: Sequence[int]


def run(lab: Lab) -> Iterator[Guess | Finding]:
    """Combine versions under different keys, then versions under one key."""
    one_key = _of_one_key(lab)
    tried = [_of_several_keys(lab), *([one_key] if one_key else [])]
    # All networks at once: side by side they take less time.
    lessons = [Lesson(_leak(lab, copies, size)) for copies in tried for size in copies.trained]
    lab.tell(f"{len(lessons)} networks on means of versions")
    lab.train_all(lessons)
    for copies in tried:
        yield from _guesses(lab, copies, kind_of_lab_keys(lab))
    if one_key is None:
        yield Finding(
            "versions under one key",
            {"differ": 0.0},
            "A picture comes out the same in every version under one key: there is nothing to combine.",
        )


def _of_several_keys(lab: Lab) -> _Copies:
    """Take the gallery's own pictures, and the same originals under every lab key."""
    numbers = range(1, lab.settings.own_keys + 1)
    targets = [few_targets(lab), *(hidden_under(lab, number, few_targets(lab)) for number in numbers)]
    leaked = [own_pictures(lab), *(hidden_under(lab, number, own_pictures(lab)) for number in numbers)]
    sizes = sorted({min(size, len(targets)) for size in lab.settings.versions if size > 1})
    # Nothing more has to be hidden for the largest one.
    return _Copies("different keys", targets, leaked, sizes, sizes if _thorough(lab) else sizes[-1:])


def _of_one_key(lab: Lab) -> _Copies | None:
    """Hide the same originals again and again under the first lab key, with other nonces and starts.

    None where a version is the same picture again, as under a veil or a block cipher.
    """
    sizes = sorted({size for size in lab.settings.versions if size > 1})
    trained = sizes if _thorough(lab) else sizes[:1]
    few = few_targets(lab)
    own = lab.first(lab.leaked, max(len(few), FEWEST_PAIRS))
    both: list[Pairs] = []
    for turn in range(max(sizes, default=1)):
        both.append(_version(lab, joined([few, own]), turn))
        if turn == 1 and np.array_equal(both[0].protected, both[1].protected):
            return None
    targets, leaked = ([one.named(part.images) for one in both] for part in (few, own))
    return _Copies("one key", targets, leaked, sizes, trained)


def _thorough(lab: Lab) -> bool:
    return lab.settings.profile == "full"


def _version(lab: Lab, pairs: Pairs, turn: int) -> Pairs:
    """Return one version under the first lab key; the first is what the other attacks use as well."""
    if turn == 0:
        return hidden_under(lab, 1, pairs)
    lab.tell(f"{len(pairs)} pictures under lab key 1, version {turn + 1}")
    apart = copy(lab.scheme.key(1))
    apart.stored = {}  # so that the first version stays what lies under the key
    return apart.hide(pairs, version=f"lab-{turn + 1}")


def _guesses(lab: Lab, copies: _Copies, kind: Kind | None) -> Iterator[Guess]:
    faces = lab.leaked.originals
    for size in copies.sizes:
        targets = copies.targets[:size]
        noise = [noise_like(one.protected, seed=lab.settings.seed + turn) for turn, one in enumerate(targets)]
        made = {how: _as_inputs(targets, how=how, faces=faces) for how in COMBINED[: size - 1]}
        blind = {how: combined(noise, how=how, faces=faces) for how in made}
        for how, pairs in made.items():
            label = f"{how} of {size} versions, {copies.name}"
            yield Guess(label, pairs, pairs.protected, (blind[how],), {"versions": size}, kind=kind)
        if size in copies.trained:
            leaked = _leak(lab, copies, size)
            label = f"network on the mean of {size} versions, {copies.name}"
            attack = lab.train(leaked)
            guess, without = attack.guess(made["mean"].protected), attack.guess(blind["mean"])
            facts = {"versions": size, "pairs": len(leaked), "steps": attack.steps}
            yield Guess(label, made["mean"], guess, (without,), facts, kind=kind)


def _leak(lab: Lab, copies: _Copies, size: int) -> Pairs:
    """Return the leaked pictures with the means of so many versions."""
    return _as_inputs(copies.leaked[:size], how="mean", faces=lab.leaked.originals)


def _as_inputs(versions: Sequence[Pairs], *, how: str, faces: Pictures) -> Pairs:
    """Return what the attacker has of some pictures as one picture each."""
    return versions[0].with_inputs(combined([one.protected for one in versions], how=how, faces=faces))


def combined(versions: Sequence[Pictures], *, how: str, faces: Pictures) -> Pictures:
    """Combine versions value by value, then give each result the mean and the contrast of usual faces.

    What many versions leave of a picture is faint; how bright and how rich in contrast faces are is no secret.

    Args:
        versions: of the same pictures.
        how: ``mean`` or ``median``.
        faces: any faces.

    Shape:
        - each of ``versions``, and the output: ``(n, H, W, 3)`` uint8.
    """
    stack = np.stack(versions).astype(np.float64)
    faint: Values = stack.mean(axis=0) if how == "mean" else np.median(stack, axis=0)
    each = (1, 2, 3)
    centred = faint - faint.mean(axis=each, keepdims=True)
    spread = centred.std(axis=each, keepdims=True)
    wanted = faces.std(axis=each).mean()
    lifted = faces.mean() + centred * (wanted / np.maximum(spread, 1e-6))
    made: Pictures = lifted.round().clip(0, 255).astype(np.uint8)
    return made
