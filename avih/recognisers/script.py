"""TorchScript archives: a network with its weights in one file, as ``torch.jit.save`` writes it.

An archive is a program. It runs in PyTorch's own interpreter, which knows tensors and no Python; nothing in it is
unpickled by Python. Still, take one only from whom you would take a program, and write its SHA-256 into the card.
"""

import io
import warnings
import zipfile
from pathlib import Path
from typing import Final

import torch
from torch import nn

from avih.errors import IntegrityError, UsageError
from avih.recognisers.card import RecogniserCard
from avih.recognisers.state import check_digest
from avih.weights_files import is_torchscript, weights_bytes

NAME: Final = "torchscript"
MOST_UNPACKED: Final = 64 * 2**20  # the code alone is compressed


def read_script(*, card: RecogniserCard, path: Path) -> tuple[nn.Module, str]:
    """Read an archive after checking its SHA-256 against the card's; return the network and the SHA-256.

    Raises:
        IntegrityError: another SHA-256, a damaged file, or one that unpacks to far more than it is.
        UsageError: another kind of file.
    """
    content = weights_bytes(path)
    digest = check_digest(content, card=card, name=path.name)
    if not is_torchscript(content):
        raise UsageError(
            f"Expected a TorchScript archive (torch.jit.save) in {path.name}, got another file: give its "
            "architecture in the card, or export the network."
        )
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if sum(member.file_size for member in archive.infolist()) > len(content) + MOST_UNPACKED:
                raise ValueError("compressed")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that TorchScript is old is no news to who has an archive
            network: nn.Module = torch.jit.load(io.BytesIO(content), map_location="cpu")
        return network.float(), digest
    except Exception as error:  # the archive may be cut or altered at any of the reader's steps
        raise IntegrityError(
            f"The TorchScript archive {path.name} cannot be read ({type(error).__name__}): it is damaged or made "
            "by a newer PyTorch; fetch or export it again."
        ) from error
