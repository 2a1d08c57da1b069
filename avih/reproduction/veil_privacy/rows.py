"""What the tables of Veil Privacy share: counts of right answers, their rows, and the data sets not at "
"hand.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from avih.classifiers.lenet import Classifier
from avih.classifiers.train import Labelled, accuracy
from avih.errors import UsageError
from avih.reproduction.outcome import Row, rate_row

Count = Sequence[int]  # right answers, and pictures shown
MISSING: Final = "not at hand"
NETWORKS: Final[Mapping[str, str]] = {
    "BioID": "VGG16", "LFW": "VGG16", "CelebA": "VGG16", "MNIST": "AlexNet", "CIFAR10": "AlexNet",
    "CIFAR100": "VIT", "RSS": "ResNet18",
}  # fmt: skip


def count(model: Classifier, data: Labelled) -> list[int]:
    """Return how many pictures a model tells, and how many it was shown."""
    found = accuracy(model, data)
    return [found.right, found.shown]


def pooled(counts: Sequence[Count]) -> tuple[int, int]:
    """Add up counts of repetitions."""
    return sum(right for right, _ in counts), sum(shown for _, shown in counts)


def accuracy_row(
    *,
    label: str,
    metric: str,
    counts: Sequence[Count],
    different: int | None = None,
    paper: float | None = None,
    data: str = "",
    model: str = "",
) -> Row:
    """Make a row of an accuracy over repetitions, in percent, with Wilson's interval.

    Args:
        label: what was measured.
        metric: its name.
        counts: right answers and pictures shown, of each repetition.
        different: how many different pictures were shown, where one was shown more than once: the interval is
            that of so many trials, since an answer to the same picture is no new trial.
        paper: the paper's figure.
        data: data used, where it differs from the table's.
        model: model used, where it differs from the table's.

    Raises:
        UsageError: more different pictures than were shown.
    """
    right, shown = pooled(counts)
    trials = shown if different is None else different
    if not 0 < trials <= shown:
        raise UsageError(f"Expected from 1 to {shown} different pictures, got {trials}.")
    row = rate_row(
        label=label,
        metric=metric,
        hits=right * trials // shown,
        tries=trials,
        paper=paper,
        data=data,
        model=model,
    )
    return row.model_copy(update={"ours": 100 * right / shown})


def not_at_hand(name: str, *, label: str, metric: str, paper: float) -> Row:
    """Make a row of a data set that is not here: the paper's figure alone."""
    return Row(
        label=f"{name}: {label}",
        metric=metric,
        paper=paper,
        data=f"{name} {MISSING}",
        model=NETWORKS.get(name, ""),
    )


def agrees(row: Row, *, claim: str) -> str:
    """Say in a sentence whether the paper's figure lies in the interval of ours."""
    if row.ours is None or row.paper is None or row.low is None or row.high is None:
        return f"{claim}: not compared."
    inside = row.low <= row.paper <= row.high
    return (
        f"{claim}: {row.paper:.2f} % in the paper, {row.ours:.2f} % here (95 % interval {row.low:.1f} to "
        f"{row.high:.1f}, {row.n} photos); the paper's figure lies {'inside' if inside else 'outside'} it."
    )
