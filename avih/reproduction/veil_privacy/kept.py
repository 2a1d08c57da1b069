"""Networks and veiled pictures of Veil Privacy, kept in the work folder: the costly parts of its tables.

Veils are kept in pieces of a few pictures, so that a run that was killed goes on where it was. A piece does not
depend on how pictures are cut into pieces: each picture is iterated as if it were alone.
"""

import hashlib
from dataclasses import fields
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load, save

from avih.atomic import write_bytes
from avih.classifiers.lenet import Classifier, Layer, LayerOutput, seeded
from avih.classifiers.train import Labelled, train_classifier
from avih.methods.veil_privacy import Veiled, VeilSettings, veil
from avih.reproduction.context import Context
from avih.reproduction.veil_privacy.data import Group
from avih.settings import Frozen
from avih.veil_privacy.training import Build

PIECE = 32  # pictures, whole batches of the iteration


def network(
    context: Context, group: Group, data: Labelled, *, made: str, build: Build | None = None
) -> Classifier:
    """Return the group's network trained on pictures: kept from before, or trained now.

    Args:
        context: where it is kept.
        group: gives weights, classes and training settings.
        data: training pictures.
        made: what it is, for its file's name.
        build: another architecture than the group's.
    """
    setup = group.setup
    chosen = build or setup.build
    blank = seeded(lambda: chosen(setup.classes), seed=setup.training.seed)
    shape = "-".join(str(tuple(value.shape)) for value in blank.state_dict().values())
    content = (
        data.pictures.tobytes() + data.labels.tobytes() + repr((setup.training.digest(), shape)).encode()
    )
    path = context.folder("networks") / f"{made}-{hashlib.sha256(content).hexdigest()[:16]}.safetensors"
    if path.is_file():
        blank.load_state_dict(load(path.read_bytes()))
        return blank.requires_grad_(False).eval()
    context.tell(f"training {made} of group {group.name} on {len(data.labels)} pictures")
    trained = train_classifier(blank, data, setup.training).network
    write_bytes(path, save(trained.state_dict()))
    return trained


def baseline(context: Context, group: Group) -> Classifier:
    """Return the network trained on originals, which is also the local model."""
    return network(context, group, group.setup.train, made="veil-privacy-baseline")


class _Facts(Frozen):
    pictures: str
    weights: str
    layer: str
    secret: str
    veiling: VeilSettings


def veiled(
    context: Context,
    group: Group,
    *,
    model: Classifier,
    data: Labelled | None = None,
    veiling: VeilSettings | None = None,
    layer: Layer | None = None,
) -> Veiled:
    """Veil the group's photos, training photos first, or other photos of it.

    Args:
        context: where they are kept.
        group: gives photos and secret, and what is not given.
        model: the local model.
        data: other photos.
        veiling: other settings.
        layer: another layer as F.
    """
    photos = group.whole() if data is None else data
    chosen, depth = veiling or group.setup.veiling, layer or group.setup.layer
    weights = hashlib.sha256(b"".join(v.numpy().tobytes() for v in model.state_dict().values())).hexdigest()
    parts = []
    for start in range(0, len(photos.labels), PIECE):
        piece = photos.select(np.arange(start, min(start + PIECE, len(photos.labels))))
        facts = _Facts(
            pictures=hashlib.sha256(repr(piece.images).encode() + piece.pictures.tobytes()).hexdigest(),
            weights=weights,
            layer=depth,
            secret=hashlib.sha256(group.setup.secret).hexdigest(),
            veiling=chosen,
        )
        path = context.folder("veil_privacy") / f"{facts.digest()[:24]}.npz"
        if not path.is_file():
            context.tell(f"veiling {len(piece.labels)} pictures of group {group.name}, from {start} on")
            made = veil(
                pictures=piece.pictures,
                images=piece.images,
                secret=group.setup.secret,
                model=LayerOutput(model, depth),
                settings=chosen,
            )
            _keep(made, path)
        parts.append(_kept(path))
    return _joined(parts)


def _keep(made: Veiled, path: Path) -> None:
    target = BytesIO()
    values: dict[str, Any] = {f.name: np.asarray(getattr(made, f.name)) for f in fields(Veiled)}
    np.savez_compressed(target, **values)
    write_bytes(path, target.getvalue(), mode=0o600)


def _kept(path: Path) -> Veiled:
    with np.load(path, allow_pickle=False) as kept:
        return Veiled(
            pictures=kept["pictures"],
            **{f.name: torch.from_numpy(kept[f.name]) for f in fields(Veiled) if f.name != "pictures"},
        )


def _joined(parts: list[Veiled]) -> Veiled:
    return Veiled(
        pictures=np.concatenate([part.pictures for part in parts]),
        **{
            f.name: torch.cat([getattr(part, f.name) for part in parts])
            for f in fields(Veiled)
            if f.name != "pictures"
        },
    )


def two_parts(group: Group, made: Veiled) -> tuple[Labelled, Labelled]:
    """Return the group's veiled training and test pictures with their classes."""
    count = len(group.setup.train.labels)
    return group.setup.train.showing(made.pictures[:count]), group.setup.test.showing(made.pictures[count:])
