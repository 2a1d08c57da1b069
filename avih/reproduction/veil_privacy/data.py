"""Pictures for the tables of Veil Privacy (003): ORL in groups of persons, all of ORL, digits, or drawn "
"faces.

The paper takes 11 persons of ORL and does not say which. Each repetition here takes eleven others and a twelfth
as the new class of fine-tuning, so that the first three share no person: their test photos are all different.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from avih.classifiers.lenet import Classifier, lenet5, small_alexnet
from avih.classifiers.train import Labelled, TrainSettings, split_per_class
from avih.datasets import PhotoSource, open_source
from avih.datasets.folders import SyntheticSource
from avih.images import decode_photo
from avih.methods.veil_privacy import VeilSettings
from avih.reproduction.context import Context
from avih.reproduction.outcome import Mark, NotRun
from avih.veil_privacy.training import Setup

ORL, DRAWN = "ORL", "drawn faces (built in)"
KNOWN = 11
DRAWN_SIZE = 64  # the small AlexNet takes nothing smaller
# Learning rates, searched on a few training pictures each: mean loss of the best picture within 300 steps. All 40
# persons: 361 at first; 18 at 0.01, 7.5 at 0.03, 15 at 0.1. Digits: 58; 2.3 at 0.01, 0.7 at 0.03, 1.1 at 0.1.
RATE_OF_MANY = 0.03


@dataclass(frozen=True)
class Pool:
    """All photos there are; label i is ``persons[i]``."""

    name: str
    photos: Labelled
    persons: tuple[str, ...]

    def of(self, labels: list[int]) -> Labelled:
        """Return the photos of some persons, labelled 0, 1, ... in the order given."""
        chosen = [self.photos.of_classes([label]) for label in labels]
        count = [len(one.labels) for one in chosen]
        return Labelled(
            np.concatenate([one.pictures for one in chosen]),
            np.repeat(np.arange(len(labels), dtype=np.int64), count),
            tuple(image for one in chosen for image in one.images),
        )


@dataclass(frozen=True)
class Group:
    """One repetition: its persons, its split of their photos, its weights.

    Attributes:
        name: unique, for what is remembered.
        data: name of the data.
        setup: persons who are known, labelled from 0.
        newcomer: one person more, labelled with the next number; None where nobody is left.
        persons: names by label, the newcomer's last.
        others: photos of persons outside the group, or None.
    """

    name: str
    data: str
    setup: Setup
    newcomer: Setup | None
    persons: tuple[str, ...]
    others: NDArray[np.uint8] | None = None

    def whole(self) -> Labelled:
        """Return training, then test photos, in the order in which veils are made."""
        return self.setup.train.joined(self.setup.test)

    def names(self) -> list[str]:
        """Return the person of each row of :meth:`whole`."""
        return [self.persons[label] for label in self.whole().labels]

    def facts(self, **more: Any) -> dict[str, Any]:
        """Return all that a figure of this group depends on: pictures, split, training, veiling."""
        shown = hashlib.sha256()
        for part in (self.setup, self.newcomer):
            for data in () if part is None else (part.train, part.test):
                shown.update(repr(data.images).encode() + data.pictures.tobytes() + data.labels.tobytes())
        return {
            "pictures": shown.hexdigest()[:32],
            "training": self.setup.training.model_dump(),
            "veiling": self.setup.veiling.model_dump(),
            "layer": self.setup.layer,
            "secret": hashlib.sha256(self.setup.secret).hexdigest(),
            **more,
        }


def pool(context: Context) -> Pool:
    """Return ORL if it was given, else drawn faces; the ``smoke`` profile always takes drawn ones.

    Raises:
        NotRun: the folder has fewer persons than a group needs.
    """
    if context.profile == "smoke" or context.data.orl is None:
        return _drawn(context.size(smoke=6, cpu=40, full=40), context.size(smoke=5, cpu=10, full=10))
    found = _orl(str(context.need(context.data.orl, "The folder of ORL")))
    if len(found.persons) <= KNOWN:
        raise NotRun(f"ORL with {KNOWN + 1} persons or more is missing: the folder has {len(found.persons)}.")
    return found


@lru_cache(maxsize=1)
def _orl(folder: str) -> Pool:
    source = open_source(source=folder, layout="orl")
    persons = tuple(sorted({photo.person for photo in source.photos()}, key=lambda name: (len(name), name)))
    return _read(ORL, source, persons)


@lru_cache(maxsize=2)
def _drawn(persons: int, photos: int) -> Pool:
    source = SyntheticSource(persons=persons, photos_per_person=photos, size=DRAWN_SIZE)
    return _read(DRAWN, source, tuple(sorted({photo.person for photo in source.photos()})))


def _read(name: str, source: PhotoSource, persons: tuple[str, ...]) -> Pool:
    photos = sorted(source.photos(), key=lambda photo: persons.index(photo.person))
    pictures = [_grey(decode_photo(source.read(photo), name=photo.path).pixels) for photo in photos]
    labels = np.array([persons.index(photo.person) for photo in photos], dtype=np.int64)
    return Pool(
        name, Labelled(np.stack(pictures)[:, None], labels, tuple(photo.path for photo in photos)), persons
    )


def _grey(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(pixels).convert("L"))


def mark(context: Context) -> Mark:
    """Tell how a table with ORL and LeNet-5 may be compared."""
    return "reproduced" if pool(context).name == ORL else "substitute"


def known(context: Context) -> int:
    """Return how many persons a group has; the paper's 11 wherever there are enough."""
    return context.size(smoke=3, cpu=KNOWN, full=KNOWN)


def groups(context: Context, *, most: int | None = None) -> list[Group]:
    """Return the repetitions: other persons each, as long as there are any; then other splits of the same.

    Args:
        context: gives data, sizes, and how many.
        most: of these, the first ones.
    """
    repeats = context.size(smoke=1, cpu=3, full=9)
    return [_group(context, number) for number in range(repeats)][:most]


def _group(context: Context, number: int) -> Group:
    there, many = pool(context), known(context) + 1
    first = number % (len(there.persons) // many) * many
    labels = list(range(first, first + many))
    outside = there.photos.select(~np.isin(there.photos.labels, labels)).pictures
    return _split(context, f"{number}", there.of(labels), labels, number, outside)


def everybody(context: Context) -> list[Group]:
    """Return all persons as one group with nobody new, once for each split."""
    labels = list(range(len(pool(context).persons)))
    whole = pool(context).of(labels)
    repeats = context.size(smoke=1, cpu=1, full=3)
    return [_split(context, f"all-{number}", whole, labels, number, None) for number in range(repeats)]


def _split(
    context: Context,
    name: str,
    data: Labelled,
    labels: list[int],
    number: int,
    outside: NDArray[np.uint8] | None,
) -> Group:
    there, few = pool(context), outside is not None
    train, test = split_per_class(data, test_per_class=context.size(smoke=2, cpu=3, full=3), seed=number)
    height, width = data.pictures.shape[2:]
    make = partial(
        Setup,
        build=partial(lenet, height, width),
        secret=public_secret(number),
        training=TrainSettings(seed=number, epochs=context.size(smoke=12, cpu=80, full=80)),
        veiling=VeilSettings(steps=context.size(smoke=4, cpu=300, full=300)) if few else of_many(context),
    )
    persons = tuple(there.persons[label] for label in labels)
    if outside is None:
        return Group(name, there.name, make(train=train, test=test), None, persons)
    old, new = range(len(labels) - 1), [len(labels) - 1]
    return Group(
        name,
        there.name,
        make(train=train.of_classes(old), test=test.of_classes(old)),
        make(train=train.of_classes(new), test=test.of_classes(new)),
        persons,
        outside,
    )


def different(found: Sequence[Group]) -> int:
    """Count the different test photos of some repetitions."""
    return len({image for group in found for image in group.setup.test.images})


def how(group: Group) -> str:
    """Say how networks were trained and pictures veiled."""
    training, veiling = group.setup.training, group.setup.veiling
    return (
        f"Adam, at most {training.epochs} epochs (the paper: SGD, no rate given). Flip ratio "
        f"{veiling.flip_ratio:g}, {veiling.steps} steps of {veiling.learning_rate:g} (searched; the paper "
        "gives no rate), xi 0.3, alpha 0.999, beta 0.001. Models see stored 8-bit pictures."
    )


def of_many(context: Context) -> VeilSettings:
    """Return the veil settings of all persons, and of digits: a smaller step."""
    return VeilSettings(steps=context.size(smoke=4, cpu=300, full=300), learning_rate=RATE_OF_MANY)


def public_secret(number: int) -> bytes:
    """Return the secret of a repetition. It protects nothing: anybody can repeat the figures with it."""
    return hashlib.sha256(f"avih reproduction of Veil Privacy, no secret, {number}".encode()).digest()


def lenet(height: int, width: int, classes: int) -> Classifier:
    """Build LeNet-5 for pictures of a size; a function with a name, so that ``partial`` can hold it."""
    return lenet5(classes=classes, height=height, width=width)


def alexnet(group: Group, classes: int) -> Classifier:
    """Build the network to which veils are transferred: AlexNet of a quarter of the width."""
    height, width = group.setup.train.pictures.shape[2:]
    return small_alexnet(classes=classes, height=height, width=width)
