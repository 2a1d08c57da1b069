"""What a method implements so that galleries run through it; shards, keys, manifests and flows are the same.

A method's module holds ``FACTS`` and ``PIPELINE``. The protect stage opens the key, asks the pipeline for a
:class:`Hider`, gives it the pictures of a shard and stores what comes back; which pictures are taken over from an
earlier version, counted against the leak budget or failed is not the method's business.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import nn

from avih.batched import groups
from avih.errors import UsageError
from avih.evaluation.summary import Limits
from avih.images import to_tensor
from avih.loop import Fixed, Hidden, Job, Loop, Source
from avih.mixing import make_nonce
from avih.recognisers import Recogniser
from avih.settings import Frozen, KeySettings, ProtectSettings, Recovery
from avih.veils.veil import Veil, Veils

Picture = NDArray[np.uint8]
Build = Callable[[Source], Loop]

WITHOUT_GENERATOR: Final = KeySettings(architecture="none")
USUAL_LIMITS: Final = Limits()
AT_ONCE: Final = 16  # pictures that the recogniser sees at once


@dataclass(frozen=True, eq=False)
class Portrait:
    """One aligned face of a gallery.

    Shape:
        - pixels: ``(H, W, 3)`` uint8.
    """

    image: str
    person: str
    pixels: Picture = field(repr=False)


@dataclass(frozen=True)
class Entry:
    """What is known of a picture before it is opened: its row."""

    image: str
    person: str
    content_mac: str


@dataclass(frozen=True)
class Protected:
    """One picture as it will be stored, with what its row needs.

    Shape:
        - pixels: ``(H, W, 3)`` uint8.
        - cosine: of the features of ``pixels`` and of the original, -1 to 1.
        - sealed: the sealed copy that is stored beside ``pixels``; ``sealed`` recovery only.
    """

    pixels: Picture
    nonce: str
    cosine: float
    steps: int
    sealed: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, eq=False)
class Finished:
    """One picture that is done, the original it was made from, and its share of the seconds."""

    portrait: Portrait
    protected: Protected
    seconds: float


class Optimise(Protocol):
    """Runs jobs through a loop; the protect stage shares one loop among shards."""

    def __call__(self, build: Build, jobs: Iterator[Job], *, ahead: int) -> Iterator[Hidden]:
        """Yield each job as it is done; at most ``ahead`` of them are under way."""


def alone(build: Build, jobs: Iterator[Job], *, ahead: int) -> Iterator[Hidden]:
    """Run jobs through a loop of their own."""
    loop = build(Fixed(jobs))
    while finished := loop.take(1, wait=True):
        yield from finished


@dataclass(frozen=True, repr=False)
class Work:
    """What a method is given to hide the pictures of one gallery version under one key.

    Args:
        secret: the key's 32 bytes.
        generator: the key's network, frozen; one without weights where the recovery needs none.
        recogniser: the service model, frozen.
        settings: how to hide.
        version: gallery version; part of every nonce.
        veils: what belongs to the persons, where the method has it.
        optimise: runs a loop.
    """

    secret: bytes
    generator: nn.Module
    recogniser: Recogniser
    settings: ProtectSettings
    version: str
    veils: Veils | None = None
    optimise: Optimise = alone

    def nonce(self, portrait: Portrait) -> str:
        """Make the nonce of a picture."""
        return make_nonce(
            secret=self.secret, version=self.version, image=portrait.image, pixels=portrait.pixels
        )


class Hider(ABC):
    """A method at work."""

    def refused(self, entries: Sequence[Entry]) -> Mapping[str, str]:
        """Return which pictures must not be hidden, by image id, and why: a short name, then words."""
        return {}

    @abstractmethod
    def hide(self, portraits: Iterator[Portrait]) -> Iterator[Finished]:
        """Hide pictures and yield them as they are done, in any order."""


class BatchHider(Hider):
    """A method that hides a handful of pictures at a time, each without regard to the others."""

    def __init__(self, work: Work) -> None:
        self.work = work

    def hide(self, portraits: Iterator[Portrait]) -> Iterator[Finished]:
        """Hide group by group."""
        for group in groups(portraits, AT_ONCE):
            began = time.perf_counter()
            done = self.hide_some(group)
            seconds = (time.perf_counter() - began) / len(group)
            found = cosines(
                [one.pixels for one in group], [one.pixels for one in done], recogniser=self.work.recogniser
            )
            for portrait, one, cosine in zip(group, done, found, strict=True):
                protected = Protected(one.pixels, self.work.nonce(portrait), cosine, one.steps, one.sealed)
                yield Finished(portrait, protected, seconds)

    @abstractmethod
    def hide_some(self, portraits: Sequence[Portrait]) -> "Sequence[Made]":
        """Hide a few pictures, in their order."""


@dataclass(frozen=True, eq=False)
class Made:
    """What a method makes of one picture: pixels, gradient steps taken, and a sealed copy if it has one."""

    pixels: Picture
    steps: int = 0
    sealed: bytes | None = field(default=None, repr=False)


def cosines(first: Sequence[Picture], second: Sequence[Picture], *, recogniser: Recogniser) -> list[float]:
    """Return the cosine of the features of picture i of one list and picture i of the other.

    The recogniser always sees as many pictures, so that a cosine does not depend on the neighbours.
    """
    found: list[float] = []
    for pairs in groups(zip(first, second, strict=True), AT_ONCE):
        full = [*pairs, *[pairs[-1]] * (AT_ONCE - len(pairs))]
        with torch.no_grad():
            ours, theirs = (recogniser(to_tensor([pair[side] for pair in full])) for side in (0, 1))
        found += (ours * theirs).sum(dim=1)[: len(pairs)].tolist()
    return found


Craft = Callable[..., Veil]


@dataclass(frozen=True)
class Pipeline:
    """How galleries run through a method.

    Args:
        hider: puts the method to work.
        recoveries: how pictures come back, the usual one first.
        options: what the method lets choose, in settings of its own.
        key: of a new key.
        protect: fields of :class:`avih.settings.ProtectSettings` in the method's preset.
        limits: of the preset, where the usual ones are none of the method's.
        craft: makes the veil of one person (:func:`avih.methods.person_veil.craft_veil`), where persons have one.
        warning: what must be said before the method is used.
    """

    hider: Callable[[Work], Hider]
    recoveries: tuple[Recovery, ...]
    options: type[Frozen] = Frozen
    key: KeySettings = WITHOUT_GENERATOR
    protect: Mapping[str, Any] = field(default_factory=dict)
    limits: Limits = USUAL_LIMITS
    craft: Craft | None = None
    warning: str = ""

    def whole_options(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Check options and fill in those that were not given.

        Raises:
            UsageError: the method has no such option, or not with this value.
        """
        try:
            return self.options.model_validate(dict(given)).model_dump(mode="json")
        except ValidationError as error:
            first = error.errors()[0]
            known = ", ".join(self.options.model_fields) or "none"
            name = ".".join(map(str, first["loc"]))
            raise UsageError(
                f"Expected options of the method ({known}), got {name}: {first['msg']}."
            ) from None

    def check_recovery(self, recovery: Recovery) -> None:
        """Refuse a recovery that the method does not have.

        Raises:
            UsageError: it has others.
        """
        if recovery not in self.recoveries:
            raise UsageError(f"Expected the recovery {' or '.join(self.recoveries)}, got {recovery!r}.")


def personal(entries: Iterable[Entry]) -> dict[str, list[Entry]]:
    """Group rows by the person they show, each person's in the order of their image ids; nobody is left out."""
    found: dict[str, list[Entry]] = {}
    for entry in sorted(entries, key=lambda entry: (entry.person, entry.image)):
        found.setdefault(entry.person, []).append(entry)
    return found
