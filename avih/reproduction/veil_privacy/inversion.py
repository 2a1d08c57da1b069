"""Veil Privacy (003), Table 6: attempts to get originals back from a veiled classifier.

The paper's attacks (Ginver, Secret) need networks and weights that are not at hand. The stand-in is plain, an
inversion of the classifier by its gradient. What it fails to do proves nothing of stronger ones, so it has
controls: the same attack on a model trained on originals, and a picture that attacks nothing.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avih.classifiers.lenet import Classifier
from avih.classifiers.train import Labelled
from avih.errors import UsageError
from avih.reproduction.context import Context
from avih.reproduction.outcome import Outcome, Row, mean_row
from avih.reproduction.veil_privacy.data import Group, groups, how
from avih.reproduction.veil_privacy.kept import baseline, network, two_parts, veiled
from avih.reproduction.veil_privacy.rows import not_at_hand
from avih.veil_privacy.flip import Pictures, similarity, to_bytes, to_signed

TABLE_6: Final[Mapping[str, tuple[tuple[float, ...], ...]]] = {
    "BioID": ((0.02870, 0.08073, 0.05563), (0.08195, 0.09552, 0.00128), (0.02068, 0.05144, 0.06491)),
    "ORL": ((0.03130, 0.04346, 0.03576), (0.09019, 0.04801, 0.07975), (0.02905, 0.01224, 0.01070)),
    "LFW": ((0.06522, 0.05702, 0.05428), (0.05163, 0.05223, 0.05996), (0.07567, 0.00331, 0.00566)),
}
COLUMNS_6: Final = ("veiled", "Ginver", "Secret")
INVERSION: Final = "inversion by gradient (for Ginver)"
LOW: Final = 0.1  # "almost below 0.1", 003, Section 5.5
RATE, SMOOTHNESS = 0.05, 0.05


def figure_4(context: Context) -> Outcome:
    """Make Table 6: pictures that a veiled classifier gives away, for a plain inversion of it."""
    found = [kept_of(context, group, "inversion", _invert_all) for group in groups(context)]
    persons = [person for one in found for person in one["persons"]]
    labels = (
        ("veiled", "ORL: veiled, mean", mean_of(TABLE_6["ORL"][0])),
        ("inverted", f"ORL: {INVERSION}, mean", mean_of(TABLE_6["ORL"][1])),
        ("control", "ORL: the same against a model trained on originals", None),
        ("stranger", "ORL: mean of other persons' photos, no attack at all", None),
    )
    means = {
        key: mean_row(
            label=label,
            metric="ssim_e",
            values=[v for one in found for v in one[key]],
            persons=persons,
            paper=paper,
        )
        for key, label, paper in labels
    }
    rows = [
        *means.values(),
        not_at_hand("Secret", label="ORL, mean", metric="ssim_e", paper=mean_of(TABLE_6["ORL"][2])),
    ]
    return Outcome(
        mark="substitute",
        rows=(*rows, *absent_rows(TABLE_6, COLUMNS_6)),
        data=groups(context)[0].data,
        model=f"LeNet-5; {INVERSION}",
        setting=(
            f"Test photos, {photos_each(context)} per repetition, {len(found)} repetition(s). The "
            "attacker knows the veiled classifier with its weights and its scores for the original, and "
            f"looks from middle grey for a smooth picture with those scores ({_steps(context)} steps of "
            "Adam). Ginver and Secret themselves, their networks and weights, are not at hand. The "
            f"paper's three pictures of ORL as their mean. {how(groups(context)[0])}"
        ),
        findings=_findings_6({key: row.ours or 0.0 for key, row in means.items()}),
    )


def _findings_6(means: Mapping[str, float]) -> tuple[str, ...]:
    inverted, control, stranger = means["inverted"], means["control"], means["stranger"]
    return (
        f"'SSIM of inverted pictures almost below {LOW:g}' "
        f"{'holds' if inverted < LOW else 'does not hold'} for this stand-in: {inverted:.3f}.",
        f"The same inversion of a model trained on originals gives {control:.3f}: "
        + (
            "veils are not what makes it fail, this attack fails on any such model."
            if control < LOW
            else f"the veils take {control - inverted:.3f} away."
        ),
        f"The mean of other persons' photos, which attacks nothing, has SSIM {stranger:.3f} with a photo: "
        f"SSIM {'does not rank' if stranger > inverted else 'ranks'} the attack above knowing nothing.",
    )


def _invert_all(context: Context, group: Group) -> dict[str, Any]:
    made = veiled(context, group, model=baseline(context, group))
    train, test = two_parts(group, made)
    model = network(context, group, train, made="veil-privacy-veiled")
    rows = one_each(group.setup.test, photos_each(context))
    chosen, hidden = group.setup.test.select(rows), test.select(rows)
    look = partial(invert, originals=chosen.pictures, steps=_steps(context))
    if group.others is None:
        raise UsageError(
            f"Expected a group that leaves persons out, got group {group.name}: take one of groups()."
        )
    mean = np.broadcast_to(group.others.mean(axis=0).round().astype(np.uint8), chosen.pictures.shape)
    context.tell(f"inverting the classifiers of group {group.name}")
    return {
        "persons": [group.persons[label] for label in chosen.labels],
        "veiled": similarity(hidden.pictures, chosen.pictures).tolist(),
        "inverted": similarity(look(model), chosen.pictures).tolist(),
        "control": similarity(look(baseline(context, group)), chosen.pictures).tolist(),
        "stranger": similarity(np.ascontiguousarray(mean), chosen.pictures).tolist(),
    }


def invert(model: Classifier, *, originals: Pictures, steps: int) -> Pictures:
    """Look for pictures to which a classifier gives the scores that it gives the originals.

    Minimises the squared distance of scores, as a share of their squared length, plus the total variation, from
    middle grey, by Adam; the originals serve for their scores alone.

    Args:
        model: the classifier attacked, with its weights.
        originals: uint8 ``(n, channels, H, W)``.
        steps: of Adam.
    """
    with torch.no_grad():
        wanted = model(to_signed(originals))
    length = wanted.square().sum(dim=1)
    guess = torch.zeros(originals.shape, requires_grad=True)
    optimiser = torch.optim.Adam([guess], lr=RATE)
    for _ in range(steps):
        distance = (model(guess) - wanted).square().sum(dim=1) / length
        loss = (distance + SMOOTHNESS * _variation(guess)).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        with torch.no_grad():
            guess.clamp_(-1, 1)
    return to_bytes(guess)


def _variation(images: Tensor) -> Tensor:
    down, across = images.diff(dim=2).abs(), images.diff(dim=3).abs()
    return down.mean(dim=(1, 2, 3)) + across.mean(dim=(1, 2, 3))


def _steps(context: Context) -> int:
    return context.size(smoke=5, cpu=200, full=1000)


def photos_each(context: Context) -> int:
    """Return how many test photos of a repetition are attacked, each of another person while there are "
    "any.
    """
    return context.size(smoke=2, cpu=11, full=33)


def one_each(data: Labelled, most: int) -> NDArray[np.int64]:
    """Return rows of the first photo of each class, then of the second of each, and so on, at most "
    "``most``.
    """
    place = np.array([int((data.labels[:row] == label).sum()) for row, label in enumerate(data.labels)])
    return np.lexsort((data.labels, place))[:most]


def kept_of(
    context: Context, group: Group, name: str, measure: Callable[[Context, Group], dict[str, Any]]
) -> dict[str, Any]:
    """Return an attack's figures for a repetition, from before or measured now."""
    facts = group.facts(photos=photos_each(context), steps=_steps(context))
    found: dict[str, Any] = context.remember(
        f"veil_privacy/{name}/{group.name}", facts, partial(measure, context, group)
    )
    return found


def mean_of(values: tuple[float, ...]) -> float:
    """Return the mean of the paper's three pictures."""
    return sum(values) / len(values)


def absent_rows(table: Mapping[str, tuple[tuple[float, ...], ...]], columns: tuple[str, ...]) -> list[Row]:
    """Make rows of the data sets that are not at hand: the mean of the paper's three pictures."""
    return [
        not_at_hand(name, label=f"{column}, mean", metric="ssim_e", paper=mean_of(figures))
        for name, of_columns in table.items()
        if name != "ORL"
        for column, figures in zip(columns, of_columns, strict=True)
    ]
