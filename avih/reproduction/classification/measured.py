"""What Tables 5 and 8 of 000 are made of: LIE, ITP and AVIH on the same pictures, each measured once and kept.

The figures are lists with one value per picture; nothing of a picture is kept but one row of ten protected
pictures per method, for the figure.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property, partial
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from avih.atomic import write_bytes
from avih.datasets.pictures import public_pictures
from avih.images import encode_png
from avih.methods.avih_classifier import ClassifierSettings, protect_for_classifier, recover_pictures
from avih.methods.itp import TransformSettings, train_transformation, transform_pictures
from avih.methods.lie import BlockCipher
from avih.reproduction.classification.data import CLASSES, SIDE, Labels, Pictures, Pixels, in_rounds
from avih.reproduction.classification.looks import RIDGE, looks, similarities, undo_linearly
from avih.reproduction.classification.services import Service, answers, trained_service
from avih.reproduction.context import Context
from avih.reproduction.networks import PUBLIC_SEED, SECRET, WRONG_SECRET, Network, trained_network
from avih.settings import FAST_UNMIXED_KEY, PAPER_KEY, KeySettings

Figures = dict[str, Any]

MOST_PAIRS: Final = 2000  # leaked pairs for the linear guess


@dataclass(frozen=True, eq=False)
class Bench:
    """One service model, the pictures, and the measurements of all methods on it."""

    context: Context
    pictures: Pictures
    service: Service

    @cached_property
    def network(self) -> nn.Module:
        """The service model, trained on the originals."""
        return trained_service(self.context, self.pictures, self.service)

    @cached_property
    def chosen(self) -> NDArray[np.int64]:
        """Rows of the test pictures whose looks are measured, and that AVIH protects; each class as often."""
        each = self.context.size(smoke=1, cpu=10, full=1000)
        return in_rounds(self.pictures.test_labels, each=each)

    @property
    def originals(self) -> Pixels:
        """The chosen pictures."""
        return self.pictures.test[self.chosen]

    @property
    def labels(self) -> Labels:
        """Their classes."""
        return self.pictures.test_labels[self.chosen]

    def right(self, network: nn.Module, pixels: Pixels) -> list[bool]:
        """Tell which test pictures a classifier names correctly."""
        found = answers(network, pixels, device=self.context.device)
        return (found == self.pictures.test_labels).tolist()

    def measure(self, name: str, settings: Figures, compute: Callable[[], Figures]) -> Figures:
        """Remember figures of this service model."""
        facts = self.pictures.facts() | {
            "service": self.service.name,
            "training": self.service.training.model_dump(mode="json"),
            "chosen": len(self.chosen),
        }
        return self.context.remember(f"classification/{self.service.paper}/{name}", facts | settings, compute)

    def lie(self) -> Figures:
        """Measure LIE: a classifier trained anew on its output, the old one, and the looks.

        Returns:
            ``original`` and ``protected``: what the new classifier names correctly; ``old``: what the old one
            does; ``ssim_e``, ``ssim_d``, ``wrong``, ``edges``, ``edges_other``: of the chosen pictures;
            ``exact``: recovered pictures without any difference.
        """
        return self.measure("lie", {}, self._lie)

    def _lie(self) -> Figures:
        cipher, other = BlockCipher.draw(secret=SECRET), BlockCipher.draw(secret=WRONG_SECRET)
        anew = trained_service(
            self.context, self.pictures, self.service, encode=cipher.encrypt, encoded="LIE"
        )
        hidden, originals = cipher.encrypt(self.pictures.test), self.originals
        shown = hidden[self.chosen]
        recovered = cipher.decrypt(shown)
        self._keep("lie", shown)
        return looks(originals, shown) | {
            "original": self.right(anew, self.pictures.test),
            "protected": self.right(anew, hidden),
            "old": self.right(self.network, hidden),
            "ssim_d": similarities(recovered, originals),
            "wrong": similarities(other.decrypt(shown), originals),
            "exact": int(sum(np.array_equal(a, b) for a, b in zip(recovered, originals, strict=True))),
        }

    def itp(self) -> Figures:
        """Measure ITP: the frozen classifier on its output, the looks, and what leaked pairs give away.

        Returns:
            ``original``, ``protected``: what the classifier names correctly; ``undone``: SSIM of the originals
            and a linear guess at them; ``blank``: SSIM of the originals and the mean training picture.
        """
        context = self.context
        settings = TransformSettings(
            width=context.size(smoke=8, cpu=16, full=32),
            steps=context.size(smoke=20, cpu=300, full=5000),
            batch_size=context.size(smoke=8, cpu=32, full=64),
        )
        given = {"itp": settings.model_dump(mode="json"), "pairs": MOST_PAIRS, "ridge": RIDGE}
        return self.measure("itp", given, lambda: self._itp(settings))

    def _itp(self, settings: TransformSettings) -> Figures:
        pictures = self.pictures
        self.context.tell(f"training ITP for {self.service.name}, {settings.steps} steps")
        # The transformation network is trained and run on the CPU, so the classifier is wanted there too.
        transformation = train_transformation(
            pictures=pictures.train,
            labels=pictures.train_labels,
            classifier=trained_service(self.context, pictures, self.service).cpu(),
            seed=PUBLIC_SEED,
            settings=settings,
        )
        hidden, originals = transform_pictures(pictures=pictures.test, network=transformation), self.originals
        leaked = pictures.train[:MOST_PAIRS]
        guessed = undo_linearly(
            protected=transform_pictures(pictures=leaked, network=transformation),
            originals=leaked,
            unseen=hidden[self.chosen],
        )
        blank = np.broadcast_to(np.rint(leaked.mean(axis=0)).astype(np.uint8), originals.shape)
        self._keep("itp", hidden[self.chosen])
        return looks(originals, hidden[self.chosen]) | {
            "original": self.right(self.network, pictures.test),
            "protected": self.right(self.network, hidden),
            "undone": similarities(guessed, originals),
            "blank": similarities(blank, originals),
        }

    def avih(self) -> Figures:
        """Measure AVIH, ten pictures at a time (one of each class), with the key and with another one.

        Returns:
            lists as of :meth:`_avih`, over all chosen pictures.
        """
        steps = self.context.size(smoke=24, cpu=600, full=600)
        settings, key = ClassifierSettings(steps=steps), key_settings(self.context)
        given = {"avih": settings.model_dump(mode="json"), "key": key.digest()}
        joined: Figures = {}
        for start in range(0, len(self.chosen), CLASSES):
            part = self.chosen[start : start + CLASSES]
            piece = self.measure(
                f"avih-{start // CLASSES}",
                given | {"rows": part.tolist()},
                partial(self._avih, part, settings, first=start == 0),
            )
            for name, values in piece.items():
                joined.setdefault(name, []).extend(values)
        return joined

    def _avih(self, rows: NDArray[np.int64], settings: ClassifierSettings, *, first: bool) -> Figures:
        """Protect and recover some pictures.

        Returns:
            ``before``, ``after``: is the classifier right? ``kept``: is its answer the same? ``rise``,
            ``rise_other``: how far the logit of its first answer rose, and the highest of the others.
        """
        originals, device = self.pictures.test[rows], torch.device(self.context.device)
        mine, theirs = keys(self.context)
        self.context.tell(f"protecting {len(rows)} pictures for {self.service.name}")
        found = protect_for_classifier(
            pictures=originals,
            classifier=self.network,
            generator=mine.generator,
            settings=settings,
            device=device,
        )
        recovered, wrong = (
            recover_pictures(stored=found.pixels, generator=key.generator, device=device)
            for key in (mine, theirs)
        )
        if first:
            for name, shown in (("avih", found.pixels), ("recovered", recovered), ("wrong", wrong)):
                self._keep(name, shown)
        truth, each = self.pictures.test_labels[rows], np.arange(len(rows))
        own, before, after = found.classes, found.logits_before.copy(), found.logits.copy()
        rise = after[each, own] - before[each, own]
        before[each, own] = after[each, own] = -np.inf
        return looks(originals, found.pixels) | {
            "before": (own == truth).tolist(),
            "after": (found.logits.argmax(axis=1) == truth).tolist(),
            "kept": found.kept.tolist(),
            "rise": rise.tolist(),
            "rise_other": (after.max(axis=1) - before.max(axis=1)).tolist(),
            "ssim_d": similarities(recovered, originals),
            "wrong": similarities(wrong, originals),
        }

    def _keep(self, name: str, pixels: Pixels) -> None:
        """Keep one picture of each class in a row, for the figure."""
        path = self.context.folder("classification", self.service.paper) / f"{name}.png"
        write_bytes(path, encode_png(np.concatenate(list(pixels[:CLASSES]), axis=1)))


def key_settings(context: Context) -> KeySettings:
    """The key model: the papers' in ``full``, else a narrow one of the same layout, trained as ``fast`` does."""
    narrow = FAST_UNMIXED_KEY.model_copy(update={"width": 16, "blocks": 4, "crop": None})
    return context.size(
        smoke=narrow.model_copy(update={"width": 8, "blocks": 1, "steps": 24}), cpu=narrow, full=PAPER_KEY
    )


def keys(context: Context) -> tuple[Network, Network]:
    """Return the key's network and that of another key: the same recipe, another seed."""
    settings, pictures = key_settings(context), cache(public_pictures)  # they take a second to make
    mine, theirs = (
        trained_network(context, settings, size=(SIDE, SIDE), seed=seed, pictures=pictures)
        for seed in (PUBLIC_SEED, PUBLIC_SEED + 1)
    )
    return mine, theirs
