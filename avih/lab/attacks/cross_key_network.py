"""Attack 2: a network trained on leaked pairs of one key, tried on pictures of another; all ordered pairs."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from avih.attack.pairs import Pairs
from avih.lab.attack import AttackFacts, Guess, Kind
from avih.lab.lab import Lab, Lesson
from avih.lab.scheme import LAB_VERSION, joined
from avih.mixing import make_nonce

FACTS = AttackFacts(
    name="cross_key_network",
    title="Network trained on pairs of another key",
    claim="AVIH, section 4.3 and figure 6: a network trained on pairs of one key does not undo another, so a "
    "change of keys heals a leak.",
    holds="Protected pictures of one key with their originals, and the recogniser; what is attacked lies under "
    "another key.",
)
GALLERY = "the gallery's key"


def run(lab: Lab) -> Iterator[Guess]:
    """Train one network per key, and let it guess pictures of every other key."""
    leaks, victims = {GALLERY: lab.leaked}, {GALLERY: lab.targets}
    for number in range(1, lab.settings.own_keys + 1):
        name = f"lab key {number}"
        hidden_under(lab, number, joined([own_pictures(lab), few_targets(lab)]))  # at once, which is quicker
        leaks[name] = hidden_under(lab, number, own_pictures(lab))
        victims[name] = hidden_under(lab, number, few_targets(lab))
    lab.tell(f"{len(leaks)} networks, each on the pairs of one key")
    attacks = lab.train_all([Lesson(pairs) for pairs in leaks.values()])
    for (trained, pairs), attack in zip(leaks.items(), attacks, strict=True):
        for tried, targets in victims.items():
            if tried == trained:
                continue
            label = f"trained on {trained}, tried on {tried}"
            guess = lab.network_guess(attack, label, targets, pairs=len(pairs), steps=attack.steps)
            yield guess if tried == GALLERY else replace(guess, kind=kind_of_lab_keys(lab))


def kind_of_lab_keys(lab: Lab) -> Kind | None:
    """Return what a guess about pictures under the lab's own keys is worth.

    Keys of the gallery's recipe stand for its key; keys of a shorter one are weaker than it and decide nothing.
    """
    return "no evidence" if lab.scheme.cheap else None


def own_pictures(lab: Lab) -> Pairs:
    """Return the pictures that the attacker hides under keys of his own; the leaked originals serve as such."""
    return lab.first(lab.leaked, _most(lab))


def few_targets(lab: Lab) -> Pairs:
    """Return the targets that are hidden again under the lab's own keys."""
    return lab.first(lab.targets, max(1, _most(lab) // 2))


def hidden_under(lab: Lab, number: int, pairs: Pairs) -> Pairs:
    """Hide the originals of pairs under a lab key; what lies under it already is not hidden twice.

    Args:
        lab: the audit.
        number: of the lab key, from 1.
        pairs: whose originals; names and persons stay.
    """
    key = lab.scheme.key(number)
    nonces = {
        image: make_nonce(secret=key.secret, version=LAB_VERSION, image=image, pixels=pixels)
        for image, pixels in zip(pairs.images, pairs.originals, strict=True)
    }
    missing = [
        image
        for image in pairs.images
        if image not in key.stored or key.stored[image].nonce != nonces[image]  # hidden for another version
    ]
    if missing:
        lab.tell(f"{len(missing)} pictures under lab key {number}")
        key.hide(pairs.named(missing))
    return pairs.with_inputs(np.stack([key.stored[image].pixels for image in pairs.images]))


def _most(lab: Lab) -> int:
    """Return how many pictures go under one lab key; unmixed hiding costs several times as much, so half."""
    most = lab.settings.key_pictures
    return max(2, most // 2) if lab.scheme.cheap else most
