"""Run one task per shard: submit, follow, report progress, and let no failure hide."""

from collections.abc import Callable, Sequence
from typing import Any

from prefect import task
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture, as_completed

import flows.environment  # noqa: F401  # before prefect
from avih.errors import AvihError
from tasks.records import ShardRecord


def worth_retrying(_task: Any, _run: Any, state: Any) -> bool:
    """Retry what may pass by itself; a wrong key, setting or file will not."""
    try:
        state.result()
    except AvihError:
        return False
    except Exception:
        return True
    return False


def as_task(function: Callable[..., Any], *, name: str, retries: int = 2) -> Any:
    """Make a plain function a Prefect task.

    No result is stored or reused by Prefect: the shard's own done file says what is finished.
    """
    return task(
        function,
        name=name,
        retries=retries,
        retry_delay_seconds=[2.0, 10.0][:retries],
        retry_condition_fn=worth_retrying,
        cache_policy=NO_CACHE,
        persist_result=False,
        log_prints=False,
    )


def run_shards(
    function: Callable[..., ShardRecord], *, stage: str, numbers: Sequence[int], **parameters: Any
) -> list[ShardRecord]:
    """Run ``function(number=..., **parameters)`` for every shard as tasks of the current flow.

    All shards are tried; then the first failure, if any, is raised.

    Returns:
        One record per shard, in the order of ``numbers``.
    """
    work = as_task(function, name=f"{stage} shard")
    shown = create_progress_artifact(
        progress=0.0, key=f"{stage}-progress", description=f"{stage}: shards done"
    )
    futures: list[PrefectFuture[ShardRecord]] = [
        work.submit(number=number, **parameters) for number in numbers
    ]
    for finished, _ in enumerate(as_completed(futures), start=1):
        update_progress_artifact(artifact_id=shown, progress=100.0 * finished / len(futures))
    return [future.result() for future in futures]
