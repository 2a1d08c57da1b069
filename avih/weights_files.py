"""Read a file of weights from anywhere: nothing in it is ever run, and it takes no more memory than its size.

Safetensors holds no code; checkpoints are read by PyTorch's restricted reader, which refuses whatever is neither
a tensor nor a plain container.
"""

import contextlib
import io
import zipfile
from pathlib import Path
from pickle import UnpicklingError
from typing import Final

import safetensors.torch
import torch

from avih.errors import IntegrityError, UsageError

SUFFIXES: Final = (".safetensors", ".pth", ".pt")
MOST_BYTES: Final = 4 * 2**30


def weights_bytes(path: Path) -> bytes:
    """Return the bytes of a weights file, read once: what is hashed is what is read.

    Raises:
        UsageError: another kind of file, or one larger than any network that is used here.
    """
    if path.suffix not in SUFFIXES:
        raise UsageError(
            f"Expected weights in {', '.join(SUFFIXES)}, got {path.name}: save the tensors as .safetensors."
        )
    if (size := path.stat().st_size) > MOST_BYTES:
        raise UsageError(f"Expected weights of at most {MOST_BYTES:,} bytes, got {size:,} in {path.name}.")
    return path.read_bytes()


def parse_weights(content: bytes, *, name: str) -> object:
    """Read what a weights file holds; ``name`` ends like the file.

    Raises:
        IntegrityError: it is damaged, would run code, or unpacks to more than it is.
        UsageError: it is a TorchScript archive, a program and no file of tensors.
    """
    if not name.endswith(".safetensors") and is_torchscript(content):
        raise UsageError(
            f"Expected a file of tensors, got the TorchScript archive {name}: write architecture = "
            '"torchscript" into the card.'
        )
    try:
        if name.endswith(".safetensors"):
            return safetensors.torch.load(content)
        _check_stored(content)
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except UnpicklingError:
        raise IntegrityError(
            f"The weights file {name} was refused: it holds objects other than tensors, which would run code "
            "while they are loaded, or it is damaged. Nothing in it was run. Get the weights as .safetensors, or "
            "as a plain dictionary of tensors."
        ) from None
    except Exception as error:  # the file may be cut or altered at any of the readers' steps
        raise IntegrityError(
            f"The weights file {name} cannot be read ({type(error).__name__}): it is damaged or cut short; "
            "fetch it again."
        ) from error


def is_torchscript(content: bytes) -> bool:
    """Say whether a file's bytes are those of a TorchScript archive, without reading more than its list."""
    with contextlib.suppress(zipfile.BadZipFile, ValueError), zipfile.ZipFile(io.BytesIO(content)) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())
    return False


def _check_stored(content: bytes) -> None:
    """Refuse a checkpoint that unpacks to more than it is; PyTorch compresses nothing."""
    with contextlib.suppress(zipfile.BadZipFile), zipfile.ZipFile(io.BytesIO(content)) as archive:
        if sum(member.file_size for member in archive.infolist()) > len(content):
            raise ValueError("compressed")
