"""Attack 5: keys from guessed small seeds.

A key from a small seed is made on purpose and attacked first: the right guess must open it. Unmixed, the
generator is the whole key and is trained again from the guessed seed. Keyed, the generator is public, and what is
guessed are the 32 bytes of the secret. This shows why the system draws both. It says nothing of the gallery's
key, which was not made like that, so these guesses do not count; what counts are the same guesses at the
gallery's own key, where the lab makes keys by the gallery's recipe.
"""

import time
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import torch

from avih.attack.pairs import Pairs
from avih.attack.prior import noise_like
from avih.lab.attack import AttackFacts, Finding, Guess, Kind
from avih.lab.attacks.cross_key_network import kind_of_lab_keys
from avih.lab.attacks.external_keys import through_key
from avih.lab.lab import Lab
from avih.lab.scheme import LabKey
from avih.mixing import SECRET_BYTES

FACTS = AttackFacts(
    name="seed_guessing",
    title="Keys from guessed seeds",
    claim="AVIH, section 4.3 and supplement: the key space is that of the generator's weights; in truth it is "
    "no larger than that of the seed from which they were trained.",
    holds="The protected pictures with their nonces, the recipe of keys, and the guess that somebody chose a "
    "small seed.",
    methods=("avih",),
    recoveries=("keyed", "unmixed"),
)
SEED_BITS: Final = 62  # that the system draws for a generator; its training pictures are drawn by 128 more
SECONDS_PER_YEAR: Final = 365.25 * 24 * 3600


def run(lab: Lab) -> Iterator[Guess | Finding]:
    """Guess the seed of a key made to be weak, and that of the gallery's key, from 0 up."""
    seeds = range(lab.settings.seeds)
    true = int(np.random.default_rng(lab.settings.seed).integers(len(seeds)))
    lab.tell(f"a weak key, from a seed below {len(seeds)}")
    weak = _key_from(lab, true)
    victims = weak.hide(lab.first(lab.targets, lab.settings.fit_pictures))
    nonces, own = weak.nonces(victims.images), lab.subject.nonces_of(lab.targets.images)
    apart: dict[str, float] = {}
    spent = 0.0
    for seed in seeds:
        lab.tell(f"a key from the guessed seed {seed}")
        began = time.perf_counter()
        guessed = _key_from(lab, seed)
        spent += time.perf_counter() - began
        apart[f"seed {seed}"] = largest_difference(weak, guessed)
        label = f"weak key, seed {seed}{' (the right one)' if seed == true else ''}"
        yield _guess(lab, guessed, label, victims, nonces, seed=seed, kind="no evidence")
        # By a shorter recipe than the gallery's no seed gives its key: that guess then proves nothing.
        kind = kind_of_lab_keys(lab)
        yield _guess(lab, guessed, f"gallery's key, seed {seed}", lab.targets, own, seed=seed, kind=kind)
    if _keyed(lab):
        return
    yield Finding(
        "generators trained again, against the weak key's",
        apart,
        f"Largest difference between two weights; 0 means the same generator. The weak key's seed was {true}: "
        "a generator is no more secret than its seed.",
    )
    each = spent / len(seeds)
    yield Finding(
        "cost of guessing the seed of a product key",
        {"seconds_per_seed": each, "years": each * 2.0**SEED_BITS / SECONDS_PER_YEAR},
        f"One guess after the other over {SEED_BITS} random bits, on this machine; the order of the training "
        "pictures is drawn apart from them, by 128 bits more.",
    )


def _keyed(lab: Lab) -> bool:
    return lab.subject.protect.recovery == "keyed"


def _key_from(lab: Lab, seed: int) -> LabKey:
    """Make the key of somebody who takes a small number for a secret."""
    generator = lab.subject.generator
    if not _keyed(lab) or generator is None:
        return lab.scheme.make(seed=seed)
    secret = seed.to_bytes(SECRET_BYTES, "big")
    return LabKey(secret, generator, lab.subject, lab.scheme.protect_recipe())


def _guess(
    lab: Lab, key: LabKey, label: str, targets: Pairs, nonces: Sequence[str], *, seed: int, kind: Kind | None
) -> Guess:
    noise = noise_like(targets.protected, seed=lab.settings.seed)
    pictures = through_key(lab, key, targets.protected, nonces)
    blind = (through_key(lab, key, noise, nonces),)
    return Guess(label, targets, pictures, blind, {"seed": seed}, kind=kind)


def largest_difference(first: LabKey, second: LabKey) -> float:
    """Return the largest difference between two generators' weights."""
    pairs = zip(first.generator.parameters(), second.generator.parameters(), strict=True)
    return max(float(torch.max(torch.abs(one - other))) for one, other in pairs)
