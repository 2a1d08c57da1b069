"""Attack 3: no pair of this key leaked; the attacker trains on keys of his own, made by the public recipe."""

from collections.abc import Iterator, Sequence

from torch import nn

from avih.attack.pairs import Pairs
from avih.lab.attack import AttackFacts, Guess
from avih.lab.attacks.cross_key_network import hidden_under, own_pictures
from avih.lab.lab import Lab, Lesson
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
    tried: list[tuple[int, nn.Module | None]] = [(count, None) for count in counts]
    if lab.subject.generator is not None:
        tried.append((counts[-1], lab.subject.generator))
    lessons = [Lesson(_pairs(lab, count), generator) for count, generator in tried]
    lab.tell(f"{len(tried)} networks on the pairs of up to {counts[-1]} own keys")
    for (count, generator), lesson, attack in zip(tried, lessons, lab.train_all(lessons), strict=True):
        label = f"{count} own key{'s' if count > 1 else ''}{' and the generator' if generator else ''}"
        facts = {"keys": count, "pairs": len(lesson.pairs), "steps": attack.steps}
        yield lab.network_guess(attack, label, lab.targets, **facts)


def _pairs(lab: Lab, count: int) -> Pairs:
    own = own_pictures(lab)
    return _by_picture([hidden_under(lab, number, own) for number in range(1, count + 1)])


def _by_picture(copies: Sequence[Pairs]) -> Pairs:
    """Join copies picture by picture.

    The last rows say when training stops: no original among them may be trained on under another key.
    """
    return joined([copy.named([image]) for image in copies[0].images for copy in copies])
