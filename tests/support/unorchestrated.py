"""Run the bodies of flows without Prefect, in this process: for tests that kill the process many times."""

import importlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

from prefect import Flow

MODULES = ("align_gallery", "artifacts", "attack_check", "audit_gallery", "create_key", "evaluate_gallery",
           "index_gallery", "make_version", "nightly", "protect_gallery", "rotate", "run_gallery",
           "shard_runs")  # fmt: skip


def _plain_task(function: Any, **_: Any) -> Any:
    return function


def _shard_after_shard(
    function: Any, *, stage: str, numbers: list[int], place: Any, runner: Any = None, **more: Any
) -> list[Any]:
    return [function(place=place, number=number, **more) for number in numbers]


def _alone(function: Any, *, name: str, stage: str, unit: str, **more: Any) -> Any:
    return function(**more)


def _nothing(*_: Any, **__: Any) -> None:
    return None


@contextmanager
def without_prefect() -> Iterator[None]:
    """Replace flows by their functions, tasks by plain calls and artifacts by nothing."""
    with ExitStack() as stack:
        for module in [importlib.import_module(f"flows.{name}") for name in MODULES]:
            for name, value in list(vars(module).items()):
                if (plain := _plain(name, value)) is not None:
                    stack.enter_context(mock.patch.object(module, name, plain))
        yield


def _plain(name: str, value: Any) -> Any:
    if isinstance(value, Flow):
        return value.fn
    if name.startswith("create_") and name.endswith("_artifact"):
        return _nothing
    plain = {"as_task": _plain_task, "run_shards": _shard_after_shard, "run_watched": _alone}
    return plain.get(name)
