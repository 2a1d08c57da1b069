"""Values that belong to a batch, row by row: pick some rows, put batches together, move them to a device.

Everything per image in an optimisation (targets, momenta, step sizes, the best so far) is a tensor with the
batch as its first dimension, held in frozen dataclasses, tuples and dictionaries. These functions work on any
such tree, so no loss term or step rule has to say how its rows are picked.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from itertools import islice
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

T = TypeVar("T")

logger = logging.getLogger(__name__)


class Portions:
    """How many rows a device is given at a time: a batch that does not fit into its memory is halved, for good.

    Args:
        rows: of a whole batch.
    """

    def __init__(self, rows: int) -> None:
        self.rows = rows

    def whole(self, rows: Tensor) -> Tensor:
        """Repeat the last of some rows (long indices) until portions of one size are full.

        Kernels for another number of images add up in another order. With one number, an image's bits are the
        same whoever its neighbours are.
        """
        missing = -len(rows) % self.rows
        return torch.cat([rows, rows[-1:].expand(missing)]) if missing else rows

    def compute(self, function: Callable[[Tensor], T], count: int, *, device: torch.device) -> T:
        """Return ``function`` of the rows 0 to ``count`` - 1, portion by portion, put together again.

        Args:
            function: takes rows (long indices) and returns a tree of tensors with one row for each.
            count: rows that there are; what comes back may have repeated ones behind them.
            device: where the indices shall be.

        Raises:
            torch.OutOfMemoryError: a single row does not fit.
        """
        while True:
            rows = self.whole(torch.arange(count, device=device))
            try:
                return join([function(part) for part in rows.split(self.rows)])
            except torch.OutOfMemoryError:
                if self.rows == 1:
                    raise
            # Outside the except block: the error holds what the failed try computed.
            self.rows = -(-self.rows // 2)
            if torch.cuda.is_initialized():
                torch.cuda.empty_cache()
            logger.warning("The device's memory is too small for the batch: going on with %d.", self.rows)


def groups(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Group items into lists of at most ``size``."""
    left = iter(items)
    while group := list(islice(left, size)):
        yield group


def select(value: T, rows: Tensor) -> T:
    """Pick rows (long indices) of every tensor in a tree; what is no tensor is shared and stays as it is."""
    return _mapped(value, lambda tensor: tensor[rows])


def move(value: T, device: torch.device) -> T:
    """Bring every tensor of a tree to a device."""
    return _mapped(value, lambda tensor: tensor.to(device, non_blocking=True))


def join(values: Sequence[T]) -> T:
    """Put the rows of trees of one shape behind each other; what is no tensor is taken from the first."""
    first: Any = values[0]
    if len(values) == 1:
        return cast(T, first)
    if isinstance(first, Tensor):
        return cast(T, torch.cat(cast(list[Tensor], list(values))))
    if is_dataclass(first) and not isinstance(first, type):
        names = _tensor_fields(first)
        parts = {name: join([getattr(value, name) for value in values]) for name in names}
        return cast(T, replace(first, **parts) if parts else first)
    if isinstance(first, Mapping):
        return cast(T, {name: join([cast(Any, value)[name] for value in values]) for name in first})
    if isinstance(first, tuple):
        return cast(T, tuple(join(list(parts)) for parts in zip(*cast(Any, values), strict=True)))
    return cast(T, first)


def _mapped(value: T, function: Callable[[Tensor], Tensor]) -> T:
    tree: Any = value
    if isinstance(tree, Tensor):
        return cast(T, function(tree))
    if is_dataclass(tree) and not isinstance(tree, type):
        parts = {name: _mapped(getattr(tree, name), function) for name in _tensor_fields(tree)}
        return cast(T, replace(tree, **parts) if parts else tree)
    if isinstance(tree, Mapping):
        return cast(T, {name: _mapped(part, function) for name, part in tree.items()})
    if isinstance(tree, tuple):
        return cast(T, tuple(_mapped(part, function) for part in tree))
    return value


def _tensor_fields(tree: Any) -> list[str]:
    """Name the fields of a dataclass that hold tensors, somewhere inside."""
    return [entry.name for entry in fields(tree) if entry.init and _holds(getattr(tree, entry.name))]


def _holds(value: Any) -> bool:
    if isinstance(value, Tensor):
        return True
    if is_dataclass(value) and not isinstance(value, type):
        return bool(_tensor_fields(value))
    if isinstance(value, Mapping):
        return any(_holds(part) for part in value.values())
    return isinstance(value, tuple) and any(_holds(part) for part in value)
