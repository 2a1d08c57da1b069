"""The activation gate: a key is put to use only if it brings pictures back and no other key does.

The pictures are drawn faces, so the gate needs no gallery and no original. Each key protects them; then the
new key recovers its own (SSIM_d), and in every ordered pair with a live key the one recovers what the other
protects, as if it were its own.

What another key recovers is compared with a guess that has not seen the picture. A grey picture is no good
guess to compare with: it scores 0.38 to 0.68 against drawn faces, so that even the *right* unmixed key of a
small generator beats it by only 0.1, and a grainy but visible face would pass. The guess is therefore the
recovered picture itself, held against the faces it was *not* made from: texture and brightness that any face
shares score there too, and the rest is what the key tells of this one picture::

    advantage = (own - others) / (1 - others)

Measured with small unmixed keys (4 faces): the right key 0.45 to 0.63, another key -0.03 to 0.03. The limit
of 0.15 lies between. It does refuse keys: of two of the papers' 9-block generators, trained for 1000 and 2000
steps, each recovers 0.16 to 0.20 of the other's pictures, which is the outline of the head.

Between two keyed keys the rest is uniform noise, which scores about 0.01 outright, so more than 0.15 is
refused there too, however little of it belongs to the picture. (An unmixed generator turns the same noise
into even grey, which scores 0.2 and tells nothing: there the advantage alone counts.)

A key without a generator is tried alone: it must give its own pictures back, sealed and encrypted ones exactly,
those under a veil up to rounding (the veil is plain noise here: crafting it changes nothing of that). Between it
and any other key there is nothing to measure: a sealed copy or a veil opens whole under its own key and not at
all under another.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from PIL import Image
from pydantic import Field
from torch import nn

from avih.align import TEMPLATES
from avih.datasets.synthetic import SyntheticFaces
from avih.evaluation.metrics import ssim
from avih.methods.pipeline import Portrait, Protected, Work
from avih.methods.registry import pipeline_of
from avih.recognisers import Recogniser
from avih.recovery import Picture, Stored, recover
from avih.settings import AVIH, Count, Fraction, Frozen, ProtectSettings, Recovery
from avih.veils.veil import NoiseVeils

GATE_VERSION = "gate"  # in place of a gallery version in the nonces: no gallery picture has one of these
VEIL_SSIM_D = 0.95  # taking a veil off loses the rounding of the stored picture: 0.98 and more was measured
METHODS = {"veil": "person_veil", "inverse": "lie"}  # that the other recoveries are tried with
FACE_SHARE = 0.85  # of a drawn photo's height that the cut takes


class GateSettings(Frozen):
    """How the activation gate tries a key, and what it asks of it."""

    images: int = Field(4, ge=2, description="Drawn faces that each key protects.")
    steps: Count = Field(100, description="Most gradient steps per face.")
    keyed_ssim_d: Fraction = Field(0.88, description="Keyed: least mean SSIM of what the key recovers.")
    unmixed_ssim_d: Fraction = Field(0.5, description="Unmixed: least mean SSIM of what the key recovers.")
    foreign_advantage: Fraction = Field(
        0.15, description="Most that another key may recover beyond what fits any face."
    )
    foreign_keyed_ssim: Fraction = Field(
        0.15, description="Two keyed keys: most mean SSIM of what the other one recovers."
    )

    def least_ssim_d(self, recovery: Recovery) -> float:
        """Return the recovery quality that a key must reach."""
        limits: dict[Recovery, float] = {
            "keyed": self.keyed_ssim_d,
            "unmixed": self.unmixed_ssim_d,
            "sealed": 1.0,
            "veil": VEIL_SSIM_D,
            "inverse": 1.0,
        }
        return limits[recovery]

    def loosened(self) -> str:
        """Name the limits that are looser than the defaults, for the key's log; empty if none is."""
        usual = GateSettings()
        lower = [n for n in ("keyed_ssim_d", "unmixed_ssim_d") if getattr(self, n) < getattr(usual, n)]
        higher = [
            n for n in ("foreign_advantage", "foreign_keyed_ssim") if getattr(self, n) > getattr(usual, n)
        ]
        return ", ".join(f"{n} {getattr(self, n)} instead of {getattr(usual, n)}" for n in lower + higher)


@dataclass(frozen=True, repr=False)
class GateKey:
    """A key as the gate tries it: name, secret, generator and what it serves."""

    key_id: str
    secret: bytes
    generator: nn.Module
    recovery: Recovery


@dataclass(frozen=True)
class PairFigure:
    """What ``recovering`` makes of the pictures that ``protecting`` protected.

    Attributes:
        ssim: mean SSIM against the pictures they were made from.
        advantage: how far that is above the same against other faces, relative to 1.
    """

    protecting: str
    recovering: str
    ssim: float
    advantage: float


@dataclass(frozen=True)
class GateFigures:
    """What was measured of one new key."""

    ssim_d: float
    pairs: tuple[PairFigure, ...]

    @cached_property
    def worst(self) -> PairFigure | None:
        """The pair in which most is recovered; None if no other key is live."""
        return max(self.pairs, key=lambda pair: pair.advantage, default=None)


def drawn_faces(*, images: int, template: str) -> list[Picture]:
    """Draw one face each of so many persons, cut to a template's size; always the same ones.

    Shape:
        - output: ``(height, width, 3)`` uint8 each.
    """
    size = TEMPLATES[template]
    faces = SyntheticFaces()
    height = round(faces.size * FACE_SHARE)
    width = round(height * size.width / size.height)
    top, left = (faces.size - height) // 2, (faces.size - width) // 2
    cuts = (faces.photo(p, 0)[top : top + height, left : left + width] for p in range(images))
    return [
        np.asarray(Image.fromarray(cut).resize((size.width, size.height), Image.Resampling.BOX))
        for cut in cuts
    ]


def measure(
    *,
    new: GateKey,
    live: Sequence[GateKey],
    recogniser: Recogniser,
    settings: GateSettings,
    progress: Callable[[int], None] | None = None,
) -> GateFigures:
    """Let each key protect the drawn faces, and recover them with the new key, and crosswise.

    Pairs of two live keys are left out: they were measured when the later of the two was activated.

    Args:
        new: the key to activate.
        live: the keys with a generator that are active or suspended; none for a key without one.
        recogniser: whose features the protected faces keep.
        settings: how many faces, how many steps.
        progress: called with the number of faces that were protected.
    """
    pictures = drawn_faces(images=settings.images, template=recogniser.card.template)
    protected = {key.key_id: _protect(key, pictures, recogniser, settings, progress) for key in (new, *live)}
    ordered = [pair for other in live for pair in ((new, other), (other, new))]
    own = recovered_scores(pictures, protected[new.key_id], new)
    return GateFigures(
        ssim_d=float(own.diagonal().mean()),
        pairs=tuple(
            _pair(first, second, recovered_scores(pictures, protected[first.key_id], second))
            for first, second in ordered
        ),
    )


def judge(figures: GateFigures, *, key: GateKey, keyed: frozenset[str], settings: GateSettings) -> list[str]:
    """Return why a key may not be activated, figure by figure; nothing if it may.

    Args:
        figures: what was measured.
        key: the new key.
        keyed: ids of the keys, new and live, that serve keyed recovery.
        settings: the limits.
    """
    reasons = []
    least = settings.least_ssim_d(key.recovery)
    if not figures.ssim_d >= least:
        reasons.append(f"it recovers drawn faces with SSIM_d {figures.ssim_d:.3f}, below {least}")
    for pair in figures.pairs:
        what = f"key {pair.recovering} recovers what key {pair.protecting} protects:"
        if not pair.advantage <= settings.foreign_advantage:
            reasons.append(f"{what} advantage {pair.advantage:.3f}, above {settings.foreign_advantage}")
        elif keyed >= {pair.protecting, pair.recovering} and not pair.ssim <= settings.foreign_keyed_ssim:
            reasons.append(f"{what} SSIM {pair.ssim:.3f}, above {settings.foreign_keyed_ssim}")
    return reasons


def recovered_scores(
    pictures: Sequence[Picture], protected: Sequence[Protected], key: GateKey
) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Return the SSIM of every recovered picture (row) against every original (column).

    Shape:
        - output: ``(n, n)`` float64; own pictures are on the diagonal.
    """
    stored = [
        Stored(name, one.pixels, one.nonce, one.sealed, person=name)
        for name, one in zip(_names(len(protected)), protected, strict=True)
    ]
    recovered = recover(
        stored,
        secret=key.secret,
        generator=key.generator,
        recovery=key.recovery,
        veils=NoiseVeils(key.secret),
    )
    return np.array([[ssim(original, back) for original in pictures] for back in recovered])


def _protect(
    key: GateKey,
    pictures: Sequence[Picture],
    recogniser: Recogniser,
    settings: GateSettings,
    progress: Callable[[int], None] | None,
) -> list[Protected]:
    method = METHODS.get(key.recovery, AVIH)
    chosen = {"rule": "closing", "steps": settings.steps} if method == AVIH else {}
    asked = {"method": method, "recovery": key.recovery} | chosen
    choices = ProtectSettings.model_validate(asked).for_few(len(pictures))
    work = Work(key.secret, key.generator, recogniser, choices, GATE_VERSION, veils=NoiseVeils(key.secret))
    names = _names(len(pictures))
    portraits = (Portrait(name, name, picture) for name, picture in zip(names, pictures, strict=True))
    done: dict[str, Protected] = {}
    for one in pipeline_of(method).hider(work).hide(portraits):
        done[one.portrait.image] = one.protected
        if progress:
            progress(1)
    return [done[name] for name in names]


def _names(count: int) -> list[str]:
    return [f"drawn-{number}" for number in range(count)]


def _pair(
    protecting: GateKey, recovering: GateKey, scores: np.ndarray[tuple[int, int], np.dtype[np.float64]]
) -> PairFigure:
    count = len(scores)
    own = float(scores.diagonal().mean())
    others = float((scores.sum() - scores.trace()) / (count * (count - 1)))
    return PairFigure(protecting.key_id, recovering.key_id, own, (own - others) / (1 - others))
