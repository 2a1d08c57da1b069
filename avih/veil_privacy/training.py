"""What models learn from veiled pictures: the experiments of 003, Section 5 (Tables 2, 4 and 5), as functions.

Every picture that a model sees here is the stored 8-bit one. The paper's ORL figures come from 33 test photos
(96.97 % is 32 of 33), so each accuracy carries its interval.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from avih.classifiers.lenet import LAYERS, Classifier, Layer, LayerOutput, seeded, with_more_classes
from avih.classifiers.train import Accuracy, Labelled, TrainSettings, accuracy, train_classifier
from avih.errors import UsageError
from avih.methods.veil_privacy import Veiled, VeilSettings, veil
from avih.veil_privacy.flip import folded_view, similarity

Build = Callable[[int], Classifier]


@dataclass(frozen=True)
class Setup:
    """One experiment: the data, how networks are built and trained, how pictures are veiled, and the secret.

    Args:
        train, test: pictures with labels from 0.
        build: makes an untrained network for a number of classes.
        secret: 32 bytes.
        layer: which layer of the local model is F.
    """

    train: Labelled
    test: Labelled
    build: Build
    secret: bytes = field(repr=False)
    training: TrainSettings = field(default_factory=TrainSettings)
    veiling: VeilSettings = field(default_factory=VeilSettings)
    layer: Layer = "fc3"

    @property
    def classes(self) -> int:
        """The number of classes in the training pictures."""
        return int(self.train.labels.max()) + 1


@dataclass(frozen=True)
class Veils:
    """Veiled training and test pictures, with what the veiling cost; the rows of ``cost`` are train, then test.

    Args:
        train, test: the labelled veiled pictures.
        ssim: mean SSIM of veiled and original pictures (003, Table 3).
        folded_ssim: mean SSIM of both folded: what the veil does not hide.
        cost: steps, losses and clipped values.
    """

    train: Labelled
    test: Labelled
    ssim: float
    folded_ssim: float
    cost: Veiled


@dataclass(frozen=True)
class OnBoth:
    """One model's accuracies on original and veiled test pictures."""

    original: Accuracy
    veiled: Accuracy


@dataclass(frozen=True)
class Baseline:
    """The baseline model, which is also the local model, and the veils made with it."""

    model: Classifier
    veils: Veils


@dataclass(frozen=True)
class Usefulness:
    """003, Table 2: the model trained on originals, and the one trained on veiled pictures."""

    baseline: OnBoth
    veiled: OnBoth


@dataclass(frozen=True)
class Mixture:
    """003, Table 4: accuracies of a model trained on originals and one veiled class.

    Args:
        total: originals of the other classes and veiled pictures of the one.
        original: the originals of the other classes.
        veiled: the veiled pictures of the one class.
        unveiled: the originals of the one class, whose originals it never saw.
    """

    total: Accuracy
    original: Accuracy
    veiled: Accuracy
    unveiled: Accuracy


@dataclass(frozen=True)
class Ablation:
    """003, Table 5, one column: its name, what the veils hide, and the veiled model's accuracies."""

    name: str
    ssim: float
    folded_ssim: float
    met: float
    model: OnBoth


def trained(setup: Setup, data: Labelled, *, build: Build | None = None) -> Classifier:
    """Train a fresh network of the setup on pictures."""
    network = seeded(partial(build or setup.build, setup.classes), seed=setup.training.seed)
    return train_classifier(network, data, setup.training).network


def veiled_with(setup: Setup, model: Classifier) -> Veils:
    """Veil the training and test pictures with a local model (003, Section 5.2)."""
    everything = setup.train.joined(setup.test)
    cost = veil(
        pictures=everything.pictures,
        images=everything.images,
        secret=setup.secret,
        model=LayerOutput(model, setup.layer),
        settings=setup.veiling,
    )
    count = len(setup.train.labels)
    return Veils(
        train=setup.train.showing(cost.pictures[:count]),
        test=setup.test.showing(cost.pictures[count:]),
        ssim=float(similarity(cost.pictures, everything.pictures).mean()),
        folded_ssim=float(folded_view(veiled=cost.pictures, originals=everything.pictures).ssim.mean()),
        cost=cost,
    )


def baseline(setup: Setup) -> Baseline:
    """Train the baseline on the originals and veil with it; the other experiments start from its result."""
    model = trained(setup, setup.train)
    return Baseline(model, veiled_with(setup, model))


def on_both(model: Classifier, *, originals: Labelled, veiled: Labelled) -> OnBoth:
    """Measure one model on both."""
    return OnBoth(accuracy(model, originals), accuracy(model, veiled))


def usefulness(setup: Setup, base: Baseline) -> Usefulness:
    """Train on the veiled pictures and measure both models on both kinds (003, Table 2).

    A veiled test picture is made with the baseline to keep the baseline's features of its original, so that
    the baseline reads both alike by construction; the figure that is a finding is ``veiled.original``.
    """
    model = trained(setup, base.veils.train)
    measure = partial(on_both, originals=setup.test, veiled=base.veils.test)
    return Usefulness(baseline=measure(base.model), veiled=measure(model))


def combination(setup: Setup, base: Baseline, *, veiled_class: int) -> Mixture:
    """Train on originals with one class veiled (003, Section 5.3, combination training).

    Raises:
        UsageError: there is no such class.
    """
    if not 0 <= veiled_class < setup.classes:
        raise UsageError(f"Expected a class from 0 to {setup.classes - 1}, got {veiled_class}.")
    others = [label for label in range(setup.classes) if label != veiled_class]
    mixed = setup.train.of_classes(others).joined(base.veils.train.of_classes([veiled_class]))
    return _mixture(trained(setup, mixed), setup.test, base.veils.test, veiled_class)


def fine_tuning(setup: Setup) -> Mixture:
    """Teach a trained model a new class from its veiled pictures, in the last layer only (003, Section 5.3).

    The last class of the setup is the reserved one: the pre-trained, local model never saw it. The paper's
    97.22 % for ORL is 35 of 36: eleven persons and one new.

    Raises:
        UsageError: fewer than three classes.
    """
    new = setup.classes - 1
    if new < 2:
        raise UsageError(f"Expected two classes and one new, got {setup.classes} in all.")
    known = setup.train.of_classes(range(new))
    start = seeded(partial(setup.build, new), seed=setup.training.seed)
    local = train_classifier(start, known, setup.training).network
    veils = veiled_with(setup, local)
    wider = with_more_classes(local, classes=new + 1, seed=setup.training.seed)
    data = known.joined(veils.train.of_classes([new]))
    tuned = train_classifier(wider, data, setup.training, only=("fc3",)).network
    return _mixture(tuned, setup.test, veils.test, new)


def _mixture(model: Classifier, originals: Labelled, veiled: Labelled, veiled_class: int) -> Mixture:
    others = originals.of_classes([c for c in np.unique(originals.labels) if c != veiled_class])
    one = veiled.of_classes([veiled_class])
    return Mixture(
        total=accuracy(model, others.joined(one)),
        original=accuracy(model, others),
        veiled=accuracy(model, one),
        unveiled=accuracy(model, originals.of_classes([veiled_class])),
    )


def transfer(setup: Setup, base: Baseline, *, build: Build) -> Usefulness:
    """Train another architecture on the same veiled pictures (003, Table 4, transferability).

    Its own baseline, trained on originals, stands beside it: the paper has none, and without it a loss cannot
    be told from an architecture that is worse anyway.
    """
    measure = partial(on_both, originals=setup.test, veiled=base.veils.test)
    return Usefulness(
        baseline=measure(trained(setup, setup.train, build=build)),
        veiled=measure(trained(setup, base.veils.train, build=build)),
    )


def ablate_starts(
    setup: Setup, base: Baseline, *, ratios: Sequence[float] = (0.3, 0.4, 0.5), noise: bool = True
) -> tuple[Ablation, ...]:
    """Veil from noise and with several flip ratios (003, Table 5, left)."""
    given = setup.veiling.model_dump()
    changes: list[tuple[str, dict[str, object]]] = [("noise", {"start": "noise"})] if noise else []
    changes += [(f"p={ratio:g}", {"flip_ratio": ratio}) for ratio in ratios]
    return tuple(
        _ablation(name, replace(setup, veiling=VeilSettings.model_validate(given | change)), base)
        for name, change in changes
    )


def ablate_layers(setup: Setup, base: Baseline, *, layers: Sequence[Layer] = LAYERS) -> tuple[Ablation, ...]:
    """Veil with several layers of the local model as F (003, Table 5, right)."""
    return tuple(_ablation(layer, replace(setup, layer=layer), base) for layer in layers)


def _ablation(name: str, setup: Setup, base: Baseline) -> Ablation:
    veils = veiled_with(setup, base.model)
    return Ablation(
        name=name,
        ssim=veils.ssim,
        folded_ssim=veils.folded_ssim,
        met=float(veils.cost.stored_met.float().mean()),
        model=on_both(trained(setup, veils.train), originals=setup.test, veiled=veils.test),
    )
