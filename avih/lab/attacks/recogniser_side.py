"""Attack 10: what the recogniser tells whatever the key is, and whether pixels of protected pictures tell more.

f(x') = f(x) is the function: features of a protected picture can be turned into a face, linked across keys and
replayed. None of it needs a key, and no rotation changes it. Two findings are of another kind and judged: whether
*pixels* name a person who has labelled protected photos, and whether they link a picture across keys.
"""

from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from avih.attack.pairs import Pictures
from avih.errors import TooFew
from avih.evaluation.metrics import Floats, unit_rows
from avih.lab.attack import AttackFacts, Finding, Guess, Result
from avih.lab.attacks.cross_key_network import few_targets, hidden_under
from avih.lab.lab import Lab
from avih.lab.tools.inversion import (
    Canvas,
    feature_loss,
    features_of,
    fit,
    total_variation,
    train_decoder,
    weighted,
)
from avih.lab.tools.labelled import named_by_labels
from avih.lab.verdict import named_level

FACTS = AttackFacts(
    name="recogniser_side",
    title="What the recogniser tells without any key",
    claim="AVIH, section 4.3: other models do not recognise protected pictures; Veil Privacy, section 5.5: model "
    "inversion brings nothing back. Linking and replay are measured in no paper.",
    holds="The protected pictures and the recogniser; photos of other persons; for naming by pixels up to 20 "
    "protected photos of each person with the person's name.",
    kind="by design",
)
TV_WEIGHT: Final = 1.0
Describe = Callable[[Pictures], NDArray[Any]]


def run(lab: Lab) -> Iterator[Result]:
    """Invert templates, link, replay, and learn from labelled protected photos."""
    yield _decoded(lab)
    if len(lab.targets) > 1:
        yield _fitted(lab)
    yield from _linked(lab)
    if set(lab.targets.persons) & set(lab.parts.references[0]):
        yield _replayed(lab)
    yield from named_by_labels(lab)


def _decoded(lab: Lab) -> Guess:
    """Decode f(x'); blind: the mean feature, and the features of other targets."""
    lab.tell("a decoder from features to pictures")
    recogniser, targets = lab.subject.recogniser, lab.targets
    decoder = train_decoder(lab.leaked.originals, recogniser=recogniser, settings=lab.settings.network)
    seen = features_of(recogniser, targets.protected)
    mean = features_of(recogniser, lab.leaked.originals).mean(dim=0, keepdim=True)
    blind = [decoder.guess(mean / mean.norm()).repeat(len(targets), axis=0)]
    blind.append(decoder.guess(seen.roll(1, dims=0)))
    facts = {"photos": len(lab.leaked), "steps": lab.settings.network.steps}
    return Guess("decoder from features", targets, decoder.guess(seen), tuple(blind), facts)


def _fitted(lab: Lab) -> Guess:
    """Fit pictures until f(y) = f(x'); blind: the same towards the features of another target."""
    targets = lab.first(lab.targets, max(2, lab.settings.fit_pictures))
    lab.tell(f"{len(targets)} pictures fitted to features")
    recogniser, steps = lab.subject.recogniser, lab.settings.fit_steps
    seen = features_of(recogniser, targets.protected)
    made = []
    for wanted in (seen, seen.roll(1, dims=0)):
        alike = feature_loss(recogniser, wanted, seed=lab.settings.seed)
        loss = weighted([(1.0, alike), (TV_WEIGHT, total_variation)])
        made.append(fit(Canvas(lab.blank, count=len(targets)), loss=loss, steps=steps))
    return Guess("pictures fitted to features", targets, made[0], (made[1],), {"steps": steps})


def _linked(lab: Lab) -> Iterator[Finding]:
    """Hide a few targets under a key of the lab's own, and look for them among all stored pictures."""
    stored = lab.subject.pairs
    again = hidden_under(lab, 1, few_targets(lab))
    rows = [stored.images.index(image) for image in again.images]
    persons = np.array(stored.persons)
    recogniser = lab.subject.recogniser
    by_features = _both(lambda pictures: features_of(recogniser, pictures).numpy(), again, stored)
    by_pixels = _both(_centred, again, stored)
    rates = {name: _found(one, rows, persons) for name, one in (("f", by_features), ("p", by_pixels))}
    chances = _chances(rows, persons)
    yield Finding(
        "linking across keys by features",
        {**rates["f"], **chances},
        "How often the recogniser finds the picture, or another one of the person, among the stored ones after a "
        "change of key: rotation does not break such links.",
    )
    hits, chance = round(rates["p"]["same_picture"] * len(rows)), chances["chance_picture"]
    yield Finding(
        "linking across keys by pixels",
        {**rates["p"], **chances},
        "Whether the pixels alone link two protections of one picture; without the recogniser they should not.",
        named_level(hits / len(rows), chance, tries=len(rows), limits=lab.settings.limits),
    )


def _both(describe: Describe, again: Any, stored: Any) -> Floats:
    return unit_rows(describe(again.protected)) @ unit_rows(describe(stored.protected)).T


def _centred(pictures: Pictures) -> NDArray[Any]:
    flat = pictures.reshape(len(pictures), -1).astype(np.float32)
    centred: NDArray[Any] = flat - flat.mean(axis=1, keepdims=True)
    return centred


def _found(similar: Floats, rows: list[int], persons: NDArray[np.str_]) -> dict[str, Any]:
    """Return how often the same picture is first, and the same person where that picture is taken out."""
    picture = float((similar.argmax(axis=1) == rows).mean())
    others = similar.copy()
    others[np.arange(len(rows)), rows] = -np.inf
    several = [row for row, at in enumerate(rows) if (persons == persons[at]).sum() > 1]
    found = persons[others.argmax(axis=1)] == persons[rows]
    return {"same_picture": picture, "same_person": float(found[several].mean()) if several else None}


def _chances(rows: list[int], persons: NDArray[np.str_]) -> dict[str, float]:
    others = [(persons == persons[row]).sum() - 1 for row in rows]
    several = [count for count in others if count]
    chance = float(np.mean(several)) / (len(persons) - 1) if several else 0.0
    return {"chance_picture": 1 / len(persons), "chance_person": chance}


def service_threshold(lab: Lab) -> float:
    """Return the cosine above which the service recogniser takes two originals for one person.

    At the limits' false match rate, over all pairs of the references that show different persons.
    """
    persons, originals = lab.parts.references
    features = features_of(lab.subject.recogniser, originals).numpy()
    names = np.array(persons)
    strangers = np.triu(names[:, None] != names[None, :])
    if not strangers.any():
        raise TooFew(f"Expected references of 2 persons or more, got {len(set(persons))}.")
    return float(np.quantile((features @ features.T)[strangers], 1 - lab.settings.limits.false_match_rate))


def _replayed(lab: Lab) -> Finding:
    """Show protected pictures to the service as probes; its gallery: other originals of the same persons."""
    persons, originals = lab.parts.references
    names, recogniser, targets = np.array(persons), lab.subject.recogniser, lab.targets
    gallery, threshold = features_of(recogniser, originals).numpy(), service_threshold(lab)
    true = np.array(targets.persons)
    known = np.isin(true, names)
    accepted, first = {}, {}
    own = true[known][:, None] == names[None, :]
    for name, pictures in (("protected", targets.protected), ("originals", targets.originals)):
        similar = features_of(recogniser, pictures[known]).numpy() @ gallery.T
        accepted[name] = float(((similar > threshold) & own).any(axis=1).mean())
        first[name] = float((names[similar.argmax(axis=1)] == true[known]).mean())
    return Finding(
        "replay of protected pictures as probes",
        {
            "accepted": accepted["protected"], "accepted_originals": accepted["originals"],
            "rank_1": first["protected"], "rank_1_originals": first["originals"], "threshold": threshold,
        },
        "How often a protected picture is taken for its person where this recogniser takes files as probes: as "
        "far as it is, it is a login credential.",
    )  # fmt: skip
