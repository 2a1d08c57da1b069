"""The owner's own Python: ``python:MODULE:FACTORY`` in a card names a function that returns the network.

Building such a network runs the module. The file ``MODULE.py`` beside the card comes first, then the Python
path. A worker finds it the same way, so card and file lie under the same path on every machine, or the module
is installed there. Code is never kept in a store nor taken from one: whoever may write there must not run code.
"""

import hashlib
import importlib
import importlib.util
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from torch import nn

from avih.errors import UsageError

NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)


def build(name: str, *, folder: Path | None) -> nn.Module:
    """Run the owner's factory.

    Args:
        name: ``MODULE:FACTORY``.
        folder: where the card is.

    Raises:
        UsageError: no such module or function, an error in it, or something else than a network comes back.
    """
    module, function = _names(name)
    try:
        factory: Callable[[], object] = getattr(_load(module, folder), function)
        network = factory()
    except Exception as error:  # whatever the owner's code does wrong is told as such
        raise UsageError(
            f"Expected the function {function}() of {_told(module, folder)} to return the network, got "
            f"{type(error).__name__}: {error}. Correct the module, or architecture in the card."
        ) from error
    if not isinstance(network, nn.Module):
        raise UsageError(
            f"Expected a torch.nn.Module from {function}() of {_told(module, folder)}, got "
            f"{type(network).__name__}: return the network itself."
        )
    return network


def source_digest(name: str, *, folder: Path | None) -> str:
    """Return the SHA-256 of the module's file: what it computes is part of which features a photo gets.

    Raises:
        UsageError: there is no such file.
    """
    module, _ = _names(name)
    path = _beside(module, folder)
    if path is None:
        spec = importlib.util.find_spec(module) if module in sys.modules or _findable(module) else None
        path = Path(spec.origin) if spec and spec.origin else None
    if path is None or not path.is_file():
        raise UsageError(f"Expected {_told(module, folder)}, found no file: check architecture in the card.")
    return hashlib.sha256(path.read_bytes()).hexdigest()


def refuse_in_store(folder: Path, *, store: Path) -> None:
    """Refuse a card whose folder is in the store.

    Raises:
        UsageError: it is.
    """
    if folder.resolve().is_relative_to(store.resolve()):
        raise UsageError(
            f"Expected a card with Python code outside of the store {store}, got one in {folder}: whoever may "
            "write to the store could run code here. Move the card and its module to a folder of your own."
        )


def _names(name: str) -> tuple[str, str]:
    if not NAME.fullmatch(name):
        raise UsageError(f"Expected an architecture python:MODULE:FACTORY, got {'python:' + name!r}.")
    module, _, function = name.partition(":")
    return module, function


def _beside(module: str, folder: Path | None) -> Path | None:
    path = folder / f"{module}.py" if folder else None
    return path if path and path.is_file() else None


def _findable(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def _load(module: str, folder: Path | None) -> ModuleType:
    """Import the file beside the card under a name of its own: two cards may both call theirs ``net``."""
    path = _beside(module, folder)
    if path is None:
        return importlib.import_module(module)
    digest = hashlib.sha256(str(path).encode() + b"\0" + path.read_bytes()).hexdigest()[:16]
    own = f"avih_own_{module}_{digest}"
    if own not in sys.modules:
        spec = importlib.util.spec_from_file_location(own, path)
        if spec is None or spec.loader is None:
            raise ImportError(f"{path} is no Python module")
        sys.modules[own] = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(sys.modules[own])
        except BaseException:
            del sys.modules[own]
            raise
    return sys.modules[own]


def _told(module: str, folder: Path | None) -> str:
    return f"{module}.py beside the card in {folder} (or on the Python path)" if folder else module
