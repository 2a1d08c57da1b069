"""Attack 4: pictures of the gallery recovered with other keys: singly, averaged, chosen among, and distilled."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from avih.attack.pairs import Pairs, Pictures
from avih.attack.prior import noise_like
from avih.attack.second import network_features
from avih.evaluation.metrics import unit_rows
from avih.lab.attack import AttackFacts, Guess
from avih.lab.attacks.cross_key_network import hidden_under, own_pictures
from avih.lab.lab import Lab
from avih.lab.scheme import LabKey, joined
from avih.mixing import Mixing
from avih.recognisers import Recogniser

FACTS = AttackFacts(
    name="external_keys",
    title="Recovery with other keys",
    claim="AVIH, section 4.3 and figure 5: what one key model protects, key models of another start do not "
    "recover.",
    holds="The protected pictures with their nonces, keys of the attacker's own made by the public recipe, the "
    "recogniser, and the key's generator where it is no secret.",
    methods=("avih",),
    recoveries=("keyed", "unmixed"),
)
Combine = Callable[[Pictures, Pictures, Recogniser], Pictures]


@dataclass(frozen=True, eq=False)
class _Way:
    """One way to send stored pictures through several keys; the label of each key's output, and the output."""

    name: str
    labels: tuple[str, ...]
    send: Callable[[Pictures, Sequence[str]], Pictures]


def run(lab: Lab) -> Iterator[Guess]:
    """Recover with each other key, with combinations of them, and with a network that learned their average."""
    keys = {number: lab.scheme.key(number) for number in range(1, lab.settings.own_keys + 1)}
    targets, nonces = lab.targets, lab.subject.nonces_of(lab.targets.images)
    noise = noise_like(targets.protected, seed=lab.settings.seed)
    for way in _ways(lab, keys):
        outputs, blind = way.send(targets.protected, nonces), way.send(noise, nonces)
        for label, output, without in zip(way.labels, outputs, blind, strict=True):
            yield Guess(f"{label}{way.name}", targets, output, (without,))
        for label, combine in COMBINATIONS.items():
            if len(outputs) < FEWEST[label]:
                continue
            made = combine(outputs, targets.protected, lab.subject.recogniser)
            without = combine(blind, noise, lab.subject.recogniser)
            facts = {"keys": len(outputs)}
            yield Guess(f"{label} of {len(outputs)} outputs{way.name}", targets, made, (without,), facts)
    yield _distilled(lab, keys)


def through_key(lab: Lab, key: LabKey, pictures: Pictures, nonces: Sequence[str]) -> Pictures:
    """Recover pictures with a key as if they were its own: un-mixed with its secret where there is a mixing.

    Shape:
        - pictures: ``(n, H, W, 3)`` uint8; the same comes back.
    """
    if lab.subject.protect.recovery == "keyed":
        drawn = [
            Mixing.draw(secret=key.secret, nonce=nonce, values=picture.size).apply(picture)
            for picture, nonce in zip(pictures, nonces, strict=True)
        ]
        pictures = np.stack(drawn)
    return lab.generator_through(key.generator, pictures)


def _ways(lab: Lab, keys: Mapping[int, LabKey]) -> Iterator[_Way]:
    labels = tuple(f"lab key {number}" for number in keys)
    keyed = lab.subject.protect.recovery == "keyed"

    def as_own(pictures: Pictures, nonces: Sequence[str]) -> Pictures:
        return np.stack([through_key(lab, key, pictures, nonces) for key in keys.values()])

    yield _Way(", un-mixed with its own secret" if keyed else "", labels, as_own)
    if not keyed:
        return
    if lab.scheme.shares_generator:
        labels = ()  # each of them would show the same
    generators = [key.generator for key in keys.values()][: len(labels)]
    if lab.subject.generator is not None:
        generators.append(lab.subject.generator)
        labels = (*labels, "the gallery's generator")

    def bare(pictures: Pictures, _: Sequence[str]) -> Pictures:
        return np.stack([lab.generator_through(generator, pictures) for generator in generators])

    yield _Way(", not un-mixed", labels, bare)


def _distilled(lab: Lab, keys: Mapping[int, LabKey]) -> Guess:
    """Train a network to give at once the mean of what all own keys make of own pictures, and let it guess."""
    own, parts = own_pictures(lab), []
    for number, key in keys.items():
        hidden = hidden_under(lab, number, own)
        nonces = key.nonces(hidden.images)
        outputs = np.stack([through_key(lab, each, hidden.protected, nonces) for each in keys.values()])
        mean = _mean(outputs, hidden.protected, lab.subject.recogniser)
        parts.append(Pairs(hidden.images, hidden.persons, mean, hidden.protected))
    pairs = joined(parts)
    lab.tell(f"network on the mean output of {len(keys)} keys, {len(pairs)} pictures")
    attack = lab.train(pairs)
    label = f"distilled average of {len(keys)} keys"
    return lab.network_guess(attack, label, lab.targets, keys=len(keys), pairs=len(pairs), steps=attack.steps)


def total_variation(pictures: Pictures) -> NDArray[np.float64]:
    """Return the mean step between neighbours of each picture: noise has large ones, photos small ones.

    Shape:
        - pictures: ``(n, H, W, 3)`` uint8; output: ``(n,)`` in grey levels.
    """
    values = pictures.astype(np.float64)
    down, right = np.abs(np.diff(values, axis=1)), np.abs(np.diff(values, axis=2))
    steps: NDArray[np.float64] = down.mean(axis=(1, 2, 3)) + right.mean(axis=(1, 2, 3))
    return steps


def _mean(outputs: Pictures, seen: Pictures, recogniser: Recogniser) -> Pictures:
    made: Pictures = outputs.mean(axis=0).round().astype(np.uint8)
    return made


def _median(outputs: Pictures, seen: Pictures, recogniser: Recogniser) -> Pictures:
    made: Pictures = np.median(outputs, axis=0).round().astype(np.uint8)
    return made


def _smoothest(outputs: Pictures, seen: Pictures, recogniser: Recogniser) -> Pictures:
    """Take, picture by picture, the output that looks most like a photo."""
    return _chosen(outputs, -np.stack([total_variation(output) for output in outputs]))


def _most_alike(outputs: Pictures, seen: Pictures, recogniser: Recogniser) -> Pictures:
    """Take the output in which the recogniser sees most of what it sees in x', and so in the original."""
    embed = network_features(recogniser)
    asked = unit_rows(embed(seen))
    return _chosen(outputs, np.stack([(unit_rows(embed(output)) * asked).sum(axis=1) for output in outputs]))


def _chosen(outputs: Pictures, scores: NDArray[np.float64]) -> Pictures:
    best = scores.argmax(axis=0)
    made: Pictures = outputs[best, np.arange(len(best))]
    return made


COMBINATIONS: Final[Mapping[str, Combine]] = {
    "mean": _mean,
    "median": _median,
    "smoothest": _smoothest,
    "most alike to the recogniser": _most_alike,
}
FEWEST: Final = {
    "mean": 2,
    "median": 3,
    "smoothest": 2,
    "most alike to the recogniser": 2,
}  # two: the mean again
