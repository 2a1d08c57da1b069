"""Attack 1: a network trained on leaked pairs of the very key, at every size of the leak."""

from collections.abc import Iterator

from torch import nn

from avih.attack.settings import AttackSettings
from avih.lab.attack import AttackFacts, Guess
from avih.lab.lab import Lab, Lesson

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
    for size in lab.leaks():
        tried = list(_tried(lab, size))
        lab.tell(f"{len(tried)} networks on {size} leaked pairs")
        for (loss, generator), attack in zip(
            tried, lab.train_all([_lesson(lab, size, *one) for one in tried]), strict=True
        ):
            label = f"{size} pairs, {loss}{' and the generator' if generator else ''}"
            yield lab.network_guess(attack, label, lab.targets, pairs=size, steps=attack.steps, loss=loss)


def _tried(lab: Lab, size: int) -> Iterator[tuple[str, nn.Module | None]]:
    """Yield the losses, and whether the generator is appended, that are tried at one size of the leak."""
    every = lab.settings.every_loss_everywhere or size == lab.leaks()[-1]
    for loss in LOSSES if every else ("all losses",):
        yield loss, None
    if lab.subject.generator is not None:
        yield "all losses", lab.subject.generator


def _lesson(lab: Lab, size: int, loss: str, generator: nn.Module | None) -> Lesson:
    network: AttackSettings = lab.settings.network.model_copy(update=LOSSES[loss])
    return Lesson(lab.first(lab.leaked, size), generator, network)
