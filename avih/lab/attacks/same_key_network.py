"""Attack 1: a network trained on leaked pairs of the very key, at every size of the leak."""

from collections.abc import Iterator

from torch import nn

from avih.attack.settings import AttackSettings
from avih.lab.attack import AttackFacts, Guess
from avih.lab.lab import Lab

FACTS = AttackFacts(
    name="same_key_network",
    title="Network trained on leaked pairs of this key",
    claim="AVIH, section 4.3: only pictures of the leaked key fall; arXiv 2408.04261: how many images may share "
    "one key.",
    holds="N protected pictures of this key with their originals, the recogniser, and the key's generator where "
    "it is no secret.",
)
LOSSES: dict[str, dict[str, float]] = {
    "all losses": {},
    "plain": {"adversarial_weight": 0.0, "identity_weight": 0.0},
    "GAN": {"identity_weight": 0.0},
    "identity": {"adversarial_weight": 0.0},
}


def run(lab: Lab) -> Iterator[Guess]:
    """Train at every size of the leak, and with every loss at the largest (``full``: at all)."""
    sizes = lab.leaks()
    for size in sizes:
        every = lab.settings.every_loss_everywhere or size == sizes[-1]
        for loss in LOSSES if every else ("all losses",):
            yield _guess(lab, size, loss, None)
        if lab.subject.generator is not None:
            yield _guess(lab, size, "all losses", lab.subject.generator)


def _guess(lab: Lab, size: int, loss: str, generator: nn.Module | None) -> Guess:
    network: AttackSettings = lab.settings.network.model_copy(update=LOSSES[loss])
    lab.tell(f"network on {size} leaked pairs, {loss}{', with the generator' if generator else ''}")
    attack = lab.train(lab.first(lab.leaked, size), generator=generator, network=network)
    label = f"{size} pairs, {loss}{' and the generator' if generator else ''}"
    return lab.network_guess(attack, label, lab.targets, pairs=size, steps=attack.steps, loss=loss)
