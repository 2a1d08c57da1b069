"""Weights files: where they are, that they are the right ones, and how their tensors get into a network."""

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import unquote, urlparse

import pooch
import torch
from torch import Tensor, nn

from avih.errors import DownloadFailed, IntegrityError, UsageError
from avih.recognisers.card import RecogniserCard
from avih.weights_files import parse_weights, weights_bytes

NAMED_AT_MOST = 4  # tensors named in one error text


def find_weights(*, card: RecogniserCard, weights: Path | None, cache: Path | None) -> Path:
    """Return the weights file: the one given, else the card's own, else the one at the card's address.

    Raises:
        UsageError: the file is missing, or neither a file nor an address is known.
        DownloadFailed: nothing, or only a part, came from the address.
        IntegrityError: what came from the address has another SHA-256.
    """
    path = weights if weights is not None else card.weights
    if path is not None and path.is_file():
        return path
    if path is not None and (weights is not None or card.address is None):
        raise UsageError(f"Expected the weights of {card.name} at {path}, found no file: check the path.")
    if card.address is None:
        raise UsageError(
            f"The weights of {card.name} do not come with this software and its card names no address: "
            f"get them from their publisher ({card.source}) and give them with --weights."
        )
    return _fetch(name=card.name, address=card.address, sha256=card.sha256 or "", cache=cache)


def _fetch(*, name: str, address: str, sha256: str, cache: Path | None) -> Path:
    folder = cache if cache is not None else Path(pooch.os_cache("avih")) / "recognisers"
    file_name = f"{name}{Path(urlparse(address).path).suffix}"
    downloader = _copy_file if address.startswith("file://") else pooch.HTTPDownloader(timeout=30)
    try:
        found = pooch.retrieve(
            url=address, known_hash=f"sha256:{sha256}", fname=file_name, path=folder, downloader=downloader
        )
    except ValueError as error:  # how pooch reports another hash; its text names both
        raise IntegrityError(
            f"The weights of {name} at {address} are not those of the card: {error}"
        ) from error
    except OSError as error:  # requests' errors are OSErrors too
        raise DownloadFailed(
            f"The weights of {name} could not be fetched whole from {address} ({error}): check the network, "
            "or fetch the file elsewhere and give it with --weights."
        ) from error
    return Path(found)


def _copy_file(url: str, output_file: str, _pooch: object) -> None:
    shutil.copyfile(unquote(urlparse(url).path), output_file)


def read_state(*, card: RecogniserCard, path: Path) -> dict[str, Tensor]:
    """Read a weights file, check its SHA-256 against the card's, and return its tensors as published.

    Nothing in the file is ever run (:mod:`avih.weights_files`).

    Raises:
        IntegrityError: another SHA-256, a damaged file, or a checkpoint that would run code.
        UsageError: another kind of file, or no tensors where the card says they are.
    """
    content = weights_bytes(path)
    check_digest(content, card=card, name=path.name)
    loaded = parse_weights(content, name=path.name)
    state = _select(loaded=loaded, card=card)
    if not state:
        raise UsageError(
            f"Expected tensors in {path.name}, found none: check state_key and ignored in the card."
        )
    return state


def check_digest(content: bytes, *, card: RecogniserCard, name: str) -> str:
    """Return the SHA-256 of a weights file.

    Raises:
        IntegrityError: the card names another.
    """
    got = hashlib.sha256(content).hexdigest()
    if card.sha256 is not None and got != card.sha256:
        raise IntegrityError(
            f"The weights file {name} is not the one that the card of {card.name} describes: expected "
            f"SHA-256 {card.sha256}, got {got}. Fetch it again, or write a card for your own weights."
        )
    return got


def _select(*, loaded: object, card: RecogniserCard) -> dict[str, Tensor]:
    """Unwrap a training checkpoint and drop what the card ignores; a plain file of tensors stays as it is."""
    if card.state_key is not None and isinstance(loaded, Mapping) and card.state_key in loaded:
        loaded = loaded[card.state_key]
    if not isinstance(loaded, Mapping):
        raise UsageError(f"Expected a dictionary of tensors for {card.name}, got {type(loaded).__name__}.")
    named = {str(name): value for name, value in loaded.items() if not str(name).startswith(card.ignored)}
    if card.state_prefix and any(name.startswith(card.state_prefix) for name in named):
        named = {
            name.removeprefix(card.state_prefix): value
            for name, value in named.items()
            if name.startswith(card.state_prefix)
        }
    others = [name for name, value in named.items() if not isinstance(value, Tensor)]
    if others:
        raise UsageError(
            f"Expected only tensors for {card.name}, found others: {_some(others)}. "
            "Name where the tensors are in state_key of the card."
        )
    return named


def fit_state(*, network: nn.Module, state: Mapping[str, Tensor], card: RecogniserCard) -> None:
    """Copy the tensors into the network, as float32, after checking that all of them fit.

    Raises:
        UsageError: tensors are missing, unexpected, of another shape or of another kind of number; the first few
            are named.
    """
    rename: Callable[[str], str] = getattr(network, "own_name", str)
    published = {rename(name): tensor for name, tensor in state.items()}
    own = network.state_dict()
    # Batch norm's step counters play no part in inference, and old checkpoints have none.
    wanted = {name for name in own if not name.endswith("num_batches_tracked")}
    given = {name for name in published if not name.endswith("num_batches_tracked")}
    shapes = [
        f"{name} {tuple(published[name].shape)} instead of {tuple(own[name].shape)}"
        for name in sorted(wanted & given)
        if published[name].shape != own[name].shape
    ]
    kinds = [
        f"{name} {published[name].dtype}"
        for name in sorted(wanted & given)
        if published[name].is_floating_point() != own[name].is_floating_point()
    ]
    faults = {
        "missing": sorted(wanted - given),
        "unexpected": sorted(given - wanted),
        "of another shape": shapes,
        "of another kind of number": kinds,
    }
    if any(faults.values()):
        told = "; ".join(f"{len(names)} {fault}: {_some(names)}" for fault, names in faults.items() if names)
        raise UsageError(
            f"The weights do not fit the architecture {card.architecture} of {card.name} ({told}): "
            "use the weights that the card describes, or correct the card."
        )
    # Copied into the network's own float32 tensors, whatever type the file holds.
    network.load_state_dict({name: published[name] for name in wanted}, strict=False)


def _some(names: list[str]) -> str:
    rest = len(names) - NAMED_AT_MOST
    return ", ".join(names[:NAMED_AT_MOST]) + (f" and {rest} more" if rest > 0 else "")


def fingerprint_of(*, card: RecogniserCard, network: nn.Module, program: str = "") -> str:
    """Return 16 hex digits of the SHA-256 over the weights and the card's facts that change a feature.

    The weights enter as float32 in name order, so the same tensors saved in another container, or under a
    card with another name or description, have the same fingerprint.

    Args:
        card: the facts.
        network: with its weights.
        program: SHA-256 of code that came with the card: the owner's module, or the TorchScript archive.
    """
    facts = card.model_dump(
        mode="json",
        include={
            *("architecture", "input_height", "input_width", "colour_order"),
            *("mean", "std", "feature_size", "template"),
        },
    )
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode() + program.encode())
    for name, tensor in sorted(network.state_dict().items()):
        if name.endswith("num_batches_tracked"):
            continue
        values = tensor.detach().to(device="cpu", dtype=torch.float32).contiguous().numpy()
        digest.update(f"\0{name}\0{values.shape}\0".encode())
        digest.update(values.astype("<f4", copy=False).tobytes())
    return digest.hexdigest()[:16]
