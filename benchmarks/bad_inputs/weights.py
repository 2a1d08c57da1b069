"""Bad files of weights, loaded as a run loads a recogniser's and LPIPS's."""

import hashlib
import io
import json
import pickle
import struct
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Final

import safetensors.torch
import torch
from torch import Tensor

from avih.evaluation.lpips_metric import Lpips
from avih.recognisers import load_recogniser
from avih.recognisers.card import CARDS_FOLDER
from benchmarks.bad_inputs.kind import BadInput, Said

CARD: Final = (CARDS_FOLDER / "synthetic.toml").read_text(encoding="utf-8")
NEST: Final = 100_000


@cache
def _state() -> dict[str, Tensor]:
    """Tensors of the recogniser that comes with the package."""
    return safetensors.torch.load_file(CARDS_FOLDER.parent / "weights" / "synthetic.safetensors")


class _RunsCode:
    """A pickled object of this class makes a file wherever it is unpickled without restrictions."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Callable[..., None], tuple[Path]]:
        return Path.touch, (self.target,)


def checkpoint(state: object, *, zipped: bool = True) -> bytes:
    target = io.BytesIO()
    torch.save(state, target, _use_new_zipfile_serialization=zipped)
    return target.getvalue()


def _with_code(folder: Path, *, zipped: bool) -> bytes:
    return checkpoint({**_state(), "extra": _RunsCode(folder.parent / "ran")}, zipped=zipped)


def _header(text: bytes, *, length: int | None = None) -> bytes:
    return struct.pack("<Q", len(text) if length is None else length) + text


def _changed(change: Callable[[Tensor], Tensor]) -> bytes:
    """Return the recogniser's weights with every tensor changed."""
    return safetensors.torch.save({name: change(value).contiguous() for name, value in _state().items()})


def _unfit() -> bytes:
    return safetensors.torch.save({"layer.weight": torch.zeros(3, 3), "layer.bias": torch.zeros(3)})


def _packed_checkpoint() -> bytes:
    """A checkpoint whose tensors are zeros, squeezed: 400 MiB in half a MiB."""
    whole = checkpoint({"weight": torch.zeros(100 * 2**20)})
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(whole)) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    return target.getvalue()


def _claims() -> bytes:
    """A safetensors header of a tensor of a terabyte."""
    entry = {"dtype": "F32", "shape": [2**38], "data_offsets": [0, 2**40]}
    return _header(json.dumps({"weight": entry}).encode())


def _hole(folder: Path) -> Path:
    path = folder / "weights.safetensors"
    with path.open("wb") as file:
        file.truncate(2**40)
    return path


# Name -> the file's ending, and what makes its bytes from the folder it will lie in.
WEIGHTS: Final[dict[str, tuple[str, Callable[[Path], bytes], str]]] = {
    "pickle that runs code": (".pth", lambda folder: _with_code(folder, zipped=True), "IntegrityError"),
    "old pickle that runs code": (".pt", lambda folder: _with_code(folder, zipped=False), "IntegrityError"),
    "bare pickle that runs code": (
        ".pth",
        lambda folder: pickle.dumps({"weight": _RunsCode(folder.parent / "ran")}, protocol=2),
        "IntegrityError",
    ),
    "pickle named safetensors": (
        ".safetensors",
        lambda folder: pickle.dumps(_RunsCode(folder.parent / "ran"), protocol=2),
        "IntegrityError",
    ),
    "pickle named pkl": (
        ".pkl",
        lambda folder: pickle.dumps(_RunsCode(folder.parent / "ran"), protocol=2),
        "UsageError",
    ),
    "safetensors, header of 8 exabytes": (
        ".safetensors", lambda _: _header(b"{}", length=2**63), "IntegrityError",
    ),
    "safetensors, tensor of a terabyte": (".safetensors", lambda _: _claims(), "IntegrityError"),
    "safetensors, nested header": (".safetensors", lambda _: _header(b"[" * NEST), "IntegrityError"),
    "safetensors, cut": (".safetensors", lambda _: safetensors.torch.save(_state())[:5000], "IntegrityError"),
    "safetensors, empty": (".safetensors", lambda _: b"", "IntegrityError"),
    "safetensors, no tensor": (".safetensors", lambda _: safetensors.torch.save({}), "UsageError"),
    "checkpoint, cut": (".pth", lambda _: checkpoint(_state())[:5000], "IntegrityError"),
    "checkpoint, text": (".pth", lambda _: b"these are no weights", "IntegrityError"),
    "checkpoint, a list": (".pth", lambda _: checkpoint([torch.zeros(3)]), "UsageError"),
    "checkpoint, 400 MiB of zeros": (".pth", lambda _: _packed_checkpoint(), "IntegrityError|UsageError"),
    "weights of another network": (".safetensors", lambda _: _unfit(), "UsageError"),
    "weights of other shapes": (".safetensors", lambda _: _changed(lambda t: t[None]), "UsageError"),
    "weights of whole numbers": (".safetensors", lambda _: _changed(lambda t: t.to(torch.int8)), "UsageError"),
    "weights of complex numbers": (
        ".pth",
        lambda _: checkpoint({name: value.to(torch.complex64) for name, value in _state().items()}),
        "UsageError",
    ),
    "weights that are NaN": (".safetensors", lambda _: _changed(lambda t: t * torch.nan), "IntegrityError"),
    "weights that are infinite": (".safetensors", lambda _: _changed(lambda t: t / 0), "IntegrityError"),
    "weights of another training": (".safetensors", lambda _: _changed(lambda t: -t), "IntegrityError"),
}  # fmt: skip
BOMBS: Final = ("exabytes", "terabyte", "400 MiB")


def kinds() -> list[BadInput]:
    """Return every kind of bad weights."""
    found = [
        BadInput(name, "weights", expected, _weights(ending, make), _load_weights,
                 bomb=any(word in name for word in BOMBS))
        for name, (ending, make, expected) in WEIGHTS.items()
    ]  # fmt: skip
    found.append(BadInput("a file of a terabyte", "weights", "UsageError", _hole, _load_weights, bomb=True))
    found += [
        BadInput(f"LPIPS: {name}", "weights", expected, _weights(ending, make), _load_lpips)
        for name, (ending, make, expected) in WEIGHTS.items()
        if name in ("pickle that runs code", "checkpoint, cut", "pickle named safetensors")
    ]
    return found


def _weights(ending: str, make: Callable[[Path], bytes]) -> Callable[[Path], Path]:
    def made(folder: Path) -> Path:
        path = folder / f"weights{ending}"
        path.write_bytes(make(folder))
        return path

    return made


def _load_weights(folder: Path, path: Path) -> Said:
    """Load them under a card with the right SHA-256, so that nothing but the reader stands before them."""
    small = path.stat().st_size < 2**30
    digest = hashlib.sha256(path.read_bytes()).hexdigest() if small else "0" * 64
    lines = [line for line in CARD.splitlines() if not line.startswith(("weights", "sha256"))]
    lines.insert(0, f'sha256 = "{digest}"\nignored = ["extra"]')
    (folder / "card.toml").write_text("\n".join(lines))
    load_recogniser(card=folder / "card.toml", weights=path)
    return "read", ""


def _load_lpips(_: Path, path: Path) -> Said:
    Lpips.load(path)
    return "read", ""
