"""Attack 8: flips hide the sign of a value only; the folded view |x'| and what follows from it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter  # type: ignore[import-untyped]

from avih.attack.measure import dealt_to_others
from avih.attack.pairs import Pairs, Pictures
from avih.attack.prior import noise_like
from avih.attack.second import Identifier, fit_descriptor
from avih.lab.attack import AttackFacts, Finding, Guess, Result
from avih.lab.lab import Lab
from avih.lab.verdict import named_level
from avih.veil_privacy.flip import folded

FACTS = AttackFacts(
    name="flips",
    title="Folded view of flipped pictures",
    claim="Veil Privacy, section 4.2: turning the flips back means trying all masks; section 5.2: SSIM near 0.",
    holds="The protected pictures and originals of other persons; where it says so, leaked pairs of theirs. No "
    "secret matters: |x'| is the same under every one.",
    methods=("veil_privacy",),
)
MIDDLE = 127.5
WIDTHS = (0.0, 1.0, 1.5, 2.0)  # pixels: low-pass filters of the folded view that are tried
COMPONENTS = 60  # of the face model
ROUNDS = 20
NEIGHBOURS = 2.0  # pixels: how far a value tells its neighbours' signs
SMOOTHNESS = 0.6  # share of the neighbours in what a value is expected to be; the face model has the rest
LEAST_NOISE = 25.0  # grey levels: how far a face model is from a face
Values = NDArray[np.floating]


@dataclass(frozen=True)
class Reading:
    """How to read a folded view that gradient steps have made noisy: a low-pass filter and a straight line.

    Args:
        width: of the filter, in pixels; 0: none.
        slope, offset: the line.
        noise: what is left, as a standard deviation in folded levels.
    """

    width: float = 0.0
    slope: float = 1.0
    offset: float = 0.0
    noise: float = 0.0

    def of(self, protected: Pictures) -> Values:
        """Return |x|, as far as it can be told; ``(n, H, W, 3)``, 0 to 255."""
        return np.clip(self.slope * blurred(fold(protected), self.width) + self.offset, 0, 255)


@dataclass(frozen=True, eq=False)
class FaceModel:
    """A Gaussian model of faces: mean and principal components.

    Shape:
        - mean: ``(H W 3,)``, about middle grey; axes: ``(k, H W 3)``; variances: ``(k,)``.
    """

    mean: Values
    axes: Values
    variances: Values

    @classmethod
    def of(cls, originals: Pictures) -> "FaceModel":
        """Fit the model."""
        rows = originals.reshape(len(originals), -1).astype(np.float32) - np.float32(MIDDLE)
        mean = rows.mean(axis=0)
        _, spread, axes = np.linalg.svd(rows - mean, full_matrices=False)
        count = max(1, min(COMPONENTS, len(rows) // 2))
        return cls(mean, axes[:count], spread[:count] ** 2 / len(rows))

    def nearest(self, rows: Values, *, noise: float) -> Values:
        """Return the expected faces behind noisy ones; ``(n, H W 3)``."""
        weights = (rows - self.mean) @ self.axes.T * (self.variances / (self.variances + noise**2))
        expected: Values = self.mean + weights @ self.axes
        return expected


def run(lab: Lab) -> Iterator[Result]:
    """Fold and choose signs, train networks on folded views, and match them with folded photos."""
    reading, model = read_with(lab.leaked), FaceModel.of(lab.leaked.originals)
    mean = np.where(lab.leaked.originals.mean(axis=0) < MIDDLE, -1.0, 1.0)
    yield _guess(lab, "folded view, brighter half", lambda seen: unfolded(fold(seen), 1.0))
    yield _guess(lab, "folded view, darker half", lambda seen: unfolded(fold(seen), -1.0))
    yield _guess(lab, "folded view, signs of the mean face", lambda seen: unfolded(fold(seen), mean))
    yield _guess(
        lab,
        "folded view, signs that are smooth and make a face",
        lambda seen: signs_recovered(reading.of(seen), model=model, noise=reading.noise / 2),
    )
    own = lab.leaked.with_inputs(lab.leaked.originals)
    yield _network(lab, "network on folded photos of the attacker's own", own, "own photos")
    yield _network(lab, "network on folded leaked pairs", lab.leaked, "pairs")
    yield _matched(lab, reading)


def fold(pictures: Pictures) -> Values:
    """Return |x| of pictures: 0 is middle grey, 255 black or white; ``(n, H, W, 3)`` float32."""
    return folded(pictures.transpose(0, 3, 1, 2)).transpose(0, 2, 3, 1).astype(np.float32)


def unfolded(magnitudes: Values, signs: float | Values) -> Pictures:
    """Turn folded values and signs back into pictures; ``(n, H, W, 3)`` uint8."""
    return (MIDDLE + signs * magnitudes / 2).round().clip(0, 255).astype(np.uint8)


def blurred(values: Values, width: float) -> Values:
    """Filter each picture and channel by itself."""
    return gaussian_filter(values, (0, width, width, 0)) if width else values


def read_with(leaked: Pairs) -> Reading:
    """Fit from leaked pairs how a folded view is read best."""
    true, seen = fold(leaked.originals), fold(leaked.protected)
    readings = []
    for width in WIDTHS:
        view = blurred(seen, width)
        slope = float(((view - view.mean()) * (true - true.mean())).mean() / max(float(view.var()), 1e-6))
        offset = float(true.mean() - slope * view.mean())
        readings.append(Reading(width, slope, offset, float((slope * view + offset - true).std())))
    return min(readings, key=lambda one: one.noise)


def signs_recovered(magnitudes: Values, *, model: FaceModel, noise: float) -> Pictures:
    """Choose signs so that pictures are smooth and look like faces, by mean-field iterations.

    Smoothness alone would give all values one sign, since neighbours differ least that way; the model of faces
    says which parts are dark. A sign's mean is tanh(h e / noise^2), with h the magnitude and e what the model and
    the neighbours expect.

    Args:
        magnitudes: folded views.
        model: of faces.
        noise: standard deviation of the magnitudes, in grey levels.

    Shape:
        - magnitudes: ``(n, H, W, 3)``, 0 to 255; output: the same, uint8.
    """
    level = max(LEAST_NOISE, noise)
    half = magnitudes.reshape(len(magnitudes), -1) / 2
    expected = np.broadcast_to(model.mean, half.shape)
    signs = np.zeros_like(half)
    for _ in range(ROUNDS):
        signs = np.tanh(half * expected / level**2)
        values = signs * half
        near = blurred(values.reshape(magnitudes.shape), NEIGHBOURS).reshape(half.shape)
        expected = SMOOTHNESS * near + (1 - SMOOTHNESS) * model.nearest(values, noise=level)
    return unfolded(magnitudes, signs.reshape(magnitudes.shape))


def _guess(lab: Lab, label: str, build: Callable[[Pictures], Pictures]) -> Guess:
    """Build pictures from what is stored; the blind guess gets noise of the same values."""
    seen = lab.targets.protected
    return Guess(label, lab.targets, build(seen), (build(noise_like(seen, seed=lab.settings.seed)),))


def _network(lab: Lab, label: str, pairs: Pairs, fact: str) -> Guess:
    """Train a network from folded views to originals."""
    lab.tell(label)

    def view(some: Pairs) -> Pairs:
        return some.with_inputs(fold(some.protected).astype(np.uint8))

    attack = lab.train(view(pairs))
    guess = lab.network_guess(attack, label, view(lab.targets))
    return Guess(label, lab.targets, guess.pictures, guess.blind, {fact: len(pairs), "steps": attack.steps})


def _matched(lab: Lab, reading: Reading) -> Finding:
    """Name persons by folded views, with a classical recogniser that knows folded photos of all persons."""
    persons, originals = lab.parts.references

    def view(values: Values) -> Pictures:
        return values.round().clip(0, 255).astype(np.uint8)

    references = view(blurred(fold(originals), reading.width))
    identifier = Identifier.build(
        embed=fit_descriptor(references, persons), pictures=references, persons=persons
    )
    found, true = identifier.identify(view(reading.of(lab.targets.protected)), lab.targets.persons)
    if not len(true):
        return Finding("matched with folded photos", {}, "No attacked person has a photo for reference.")
    bare, _ = identifier.identify(
        view(blurred(fold(lab.targets.originals), reading.width)), lab.targets.persons
    )
    rate, blind = float((found == true).mean()), dealt_to_others(found, true)
    best, prior, limits = float((bare == true).mean()), max(identifier.chance, blind), lab.settings.limits
    level = named_level(rate, prior, tries=len(true), chance=identifier.chance, limits=limits)
    return Finding(
        "matched with folded photos",
        {"id_rate": rate, "prior_id_rate": prior, "id_rate of originals": best},
        "Persons named by the folded view alone, among folded photos of all persons: without a key, without a "
        "reconstruction and without the gallery's recogniser.",
        # Where not even folded originals are named, that folded views are not proves nothing.
        level=level if level == "fail" or best >= limits.second_minimum else None,
    )
