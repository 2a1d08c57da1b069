"""Attack 3: no pair of this key leaked; the attacker trains on keys of his own, made by the public recipe."""

from collections.abc import Iterator, Sequence

from torch import nn

from avih.attack.pairs import Pairs
from avih.lab.attack import AttackFacts, Guess
from avih.lab.attacks.cross_key_network import hidden_under, own_pictures
from avih.lab.lab import Lab
from avih.lab.scheme import joined

FACTS = AttackFacts(
    name="zero_leak",
    title="Network trained on keys of the attacker's own",
    claim="AVIH, section 4.3: nothing falls as long as the key's start does not leak, although its structure "
    "and recipe are known.",
    holds="The recipe of keys and of hiding, the recogniser, photos of other persons; no picture of this key "
    "with its original.",
)


def run(lab: Lab) -> Iterator[Guess]:
    """Train on the same pictures under 1 to K own keys; where the key's generator is public, with it as well."""
    counts = sorted(set(lab.settings.many_keys))
    for count in counts:
        yield _guess(lab, count, None)
    if lab.subject.generator is not None:
        yield _guess(lab, counts[-1], lab.subject.generator)


def _guess(lab: Lab, count: int, generator: nn.Module | None) -> Guess:
    own = own_pictures(lab)
    pairs = _by_picture([hidden_under(lab, number, own) for number in range(1, count + 1)])
    appended = " and the generator" if generator is not None else ""
    lab.tell(f"network on {len(pairs)} pairs of {count} own keys{appended}")
    attack = lab.train(pairs, generator=generator)
    label = f"{count} own key{'s' if count > 1 else ''}{appended}"
    return lab.network_guess(attack, label, lab.targets, keys=count, pairs=len(pairs), steps=attack.steps)


def _by_picture(copies: Sequence[Pairs]) -> Pairs:
    """Join copies picture by picture.

    The last rows say when training stops: no original among them may be trained on under another key.
    """
    return joined([copy.named([image]) for image in copies[0].images for copy in copies])
