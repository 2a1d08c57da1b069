"""Attack 7: veils come off by what photos share, by one known pair, or by the veil's own limits."""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avih.attack.pairs import Pairs, Pictures
from avih.attack.prior import noise_like
from avih.lab.attack import AttackFacts, Finding, Guess, Result
from avih.lab.lab import Lab
from avih.lab.tools.statistics import alpha_from_limits, alpha_from_spread, link_scores
from avih.methods.person_veil import VeilOptions
from avih.veils.apply import VeilPixels, take_off
from avih.veils.exposure import veil_from_many, veil_from_pair

FACTS = AttackFacts(
    name="veils",
    title="Taking veils off without the key",
    claim="Person-specific veils, section 3.5: who has the veil recovers the photos; nobody else is spoken of.",
    holds="All protected pictures and originals of other persons; for one variant a known pair of the person. "
    "Alpha is public, and is estimated as well.",
    methods=("person_veil", "v_uap"),
)
TOP = 255.0
COUNTS = (2, 5)  # photos of a person; all of them come last
WINDOW = 3  # pixels: a value that was taken for saturated by mistake is outvoted by its neighbours
Groups = Mapping[str, Pairs]
Build = Callable[
    [Pictures], Pictures
]  # photos of one person, the attacked one first, to that one without veil


def run(lab: Lab) -> Iterator[Result]:
    """Take veils off with one photo; where persons have several, in all other ways too."""
    options = {name: value for name, value in lab.subject.protect.options.items() if name == "alpha"}
    alpha, face = VeilOptions.model_validate(options).alpha, lab.leaked.originals.mean(axis=0) / TOP
    persons = photos_of(lab.subject.pairs)
    yield _from_one_photo(lab, alpha, face)
    estimate, told = _estimated(lab, alpha, persons)
    yield told
    owners = zip(lab.targets.images, lab.targets.persons, strict=True)
    several = [image for image, person in owners if len(persons.get(person, ())) > 1]
    if not several:
        yield Finding(
            "several photos under one veil",
            {"photos per person": 1.0},
            "Every attacked person has one protected photo: no mean, difference, known pair or link to try.",
        )
        return
    targets = lab.targets.named(several)
    yield from _means_removed(targets, persons, alpha, estimate, face)
    yield from _known_pairs(lab, targets, persons, alpha)
    yield _linked(persons)


def photos_of(pairs: Pairs) -> dict[str, Pairs]:
    """Group stored photos by person; photos of nobody in particular carry no veil."""
    names: dict[str, list[str]] = {}
    for image, person in zip(pairs.images, pairs.persons, strict=True):
        if person:
            names.setdefault(person, []).append(image)
    return {person: pairs.named(images) for person, images in names.items()}


def bounded_veil(stored: Pictures, *, alpha: float, prior: NDArray[Any]) -> VeilPixels:
    """Estimate the veil of some photos by their mean, kept to what is possible.

    With photo and veil in [0, 1], x' = alpha x + (1 - alpha) d leaves d between the largest
    (x' - alpha) / (1 - alpha) and the smallest x' / (1 - alpha).

    Shape:
        - stored: ``(n, H, W, 3)`` uint8; prior: ``(H, W, 3)`` in [0, 1]; output: ``(H, W, 3)`` float32.
    """
    low = np.maximum(0, (stored.max(axis=0) / TOP - alpha) / (1 - alpha))
    high = np.minimum(1, stored.min(axis=0) / TOP / (1 - alpha))
    veil = veil_from_many(stored, alpha=alpha, prior=prior)
    return np.clip(veil, low, np.maximum(low, high)).astype(np.float32)


def from_saturated_veil(stored: Pictures, *, alpha: float, prior: NDArray[Any]) -> Pictures:
    """Take off a veil that is black or white in many places, from each photo alone.

    A veil that was pushed away from the photo as far as possible ends at the limits of its range. There x' lies
    in the lowest or highest part alpha of the grey levels and gives the photo away: x = x' / alpha where the veil
    is black, and mirrored where it is white. The median over a small window drops what was no such place.

    Shape:
        - stored: ``(n, H, W, 3)`` uint8, the same comes back; prior: ``(H, W, 3)`` in [0, 1], for places without.
    """
    values = stored.astype(np.float32)
    dark, bright = values <= TOP * alpha, values >= TOP * (1 - alpha)
    guesses = np.where(dark, values / alpha, (values - TOP * (1 - alpha)) / alpha)
    guesses[~(dark | bright)] = np.nan
    reach, (height, width) = WINDOW // 2, stored.shape[1:3]
    padded = np.pad(guesses, ((0, 0), (reach, reach), (reach, reach), (0, 0)), constant_values=np.nan)
    views = [
        padded[:, down : down + height, right : right + width]
        for down in range(WINDOW)
        for right in range(WINDOW)
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # windows without any guess
        voted = np.nanmedian(np.stack(views), axis=0)
    filled = np.where(np.isnan(voted), prior * TOP, voted)
    return filled.round().clip(0, TOP).astype(np.uint8)


def _from_one_photo(lab: Lab, alpha: float, face: NDArray[Any]) -> Guess:
    """Take each veil for saturated, photo by photo; the blind guess does so with noise of the same values."""
    seen = lab.targets.protected
    noise = noise_like(seen, seed=lab.settings.seed)
    got, blind = (from_saturated_veil(one, alpha=alpha, prior=face) for one in (seen, noise))
    return Guess("one photo, saturated veil", lab.targets, got, (blind,), {"photos": 1})


def _estimated(lab: Lab, alpha: float, persons: Groups) -> tuple[float | None, Finding]:
    """Estimate alpha without being told."""
    natural = [pairs.originals for pairs in photos_of(lab.leaked).values()]
    spread = alpha_from_spread([pairs.protected for pairs in persons.values()], natural)
    limits = alpha_from_limits(lab.leaked)
    text = (
        "Alpha need not be told: photos of one person spread alpha times as much under a veil as without."
        if spread is not None
        else "One photo per person: the spread of a person's photos tells nothing; leaked pairs tell alpha where "
        "veils are black or white."
    )
    values = {"true": alpha, "from the spread": spread, "from the limits of leaked pairs": limits}
    estimate = spread if spread is not None and 0 < spread < 1 else limits
    return estimate, Finding("alpha", values, text)


def _means_removed(
    targets: Pairs, persons: Groups, alpha: float, estimate: float | None, face: NDArray[Any]
) -> Iterator[Guess]:
    """Subtract what several photos of a person have in common, or one from another."""

    def mean_removed(share: float) -> Build:
        return lambda stored: take_off(
            stored[:1], veil=bounded_veil(stored, alpha=share, prior=face), alpha=share
        )[0]

    def difference(stored: Pictures) -> Pictures:
        apart = (stored[0].astype(np.float64) - stored[1]) / alpha + TOP * face
        return apart.round().clip(0, TOP).astype(np.uint8)

    most = max(len(persons[person]) for person in targets.persons)
    for count in [count for count in COUNTS if count < most]:
        yield _guess(f"mean of {count} photos removed", targets, persons, count, mean_removed(alpha), face)
    yield _guess("mean of all photos removed", targets, persons, most, mean_removed(alpha), face, least=2)
    if estimate is not None:
        label = "mean of all photos removed, alpha estimated"
        yield _guess(label, targets, persons, most, mean_removed(estimate), face, least=2)
    yield _guess("difference of two photos", targets, persons, 2, difference, face)


def _guess(
    label: str, targets: Pairs, persons: Groups, count: int, build: Build, face: NDArray[Any], least: int = 0
) -> Guess:
    """Build each target from it and ``count`` - 1 other photos of its person, or fewer down to ``least``."""
    owners = zip(targets.images, targets.persons, strict=True)
    chosen = targets.named([image for image, person in owners if len(persons[person]) >= (least or count)])
    built = [
        build(persons[person].named(_first(image, persons[person].images)[:count]).protected)
        for image, person in zip(chosen.images, chosen.persons, strict=True)
    ]
    blind = np.broadcast_to((face * TOP).round().astype(np.uint8), chosen.originals.shape)
    return Guess(label, chosen, np.stack(built), (blind,), {"photos": count})


def _first(image: str, images: Sequence[str]) -> list[str]:
    return [image, *(other for other in images if other != image)]


def _known_pairs(lab: Lab, targets: Pairs, persons: Groups, alpha: float) -> Iterator[Result]:
    """Compute the veil of each person from one known pair that is not attacked itself.

    Whoever knows a photo of the person can show that one whatever is asked: this is the blind guess.
    """
    attacked = set(lab.targets.images)
    known = {
        person: pairs.named(spare[:1])
        for person, pairs in persons.items()
        if (spare := [image for image in pairs.images if image not in attacked])
    }
    owners = zip(targets.images, targets.persons, strict=True)
    chosen = targets.named([image for image, person in owners if person in known])
    if not len(chosen):
        yield Finding(
            "one known pair", {}, "All photos of the attacked persons are attacked: no pair to know."
        )
        return
    pictures, blind = [], []
    for stored, person in zip(chosen.protected, chosen.persons, strict=True):
        pair = known[person]
        veil = veil_from_pair(pair.protected[0], pair.originals[0], alpha=alpha)
        pictures.append(take_off(stored[None], veil=veil, alpha=alpha)[0])
        blind.append(pair.originals[0])
    facts = {"known pairs": 1}
    yield Guess("one known pair of the person", chosen, np.stack(pictures), (np.stack(blind),), facts)


def _linked(persons: Groups) -> Finding:
    """Link photos by their pixels alone; the recogniser links them in any case, by design."""
    several = [pairs for pairs in persons.values() if len(pairs) > 1]
    if len(several) < 2:
        return Finding(
            "linking by correlation", {}, "Fewer than two persons with two photos: nobody to link."
        )
    names = [person for pairs in several for person in pairs.persons]
    veiled, bare = (
        link_scores(np.concatenate([getattr(pairs, which) for pairs in several]), names)
        for which in ("protected", "originals")
    )
    return Finding(
        "linking by correlation",
        {**veiled, **{f"{name} of originals": bare[name] for name in ("auc", "rank-1")}},
        "How well two photos of one person are found by their pixels; the recogniser links them by design.",
    )
