"""Run one task per shard: submit, follow, report progress, and let no failure hide."""

import time
from collections.abc import Callable, Sequence
from typing import Any

from prefect import task
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

import flows.environment  # noqa: F401  # before prefect
from avih.errors import AvihError
from avih.index_file import shard_sizes
from tasks.progress import begin, listening
from tasks.records import Place, ShardRecord

# One shard at a time: torch already uses all cores, and two shards would only share them.
ONE_AT_A_TIME: TaskRunner[Any] = ThreadPoolTaskRunner(max_workers=1)
# Two shards share one batch (tasks/shared_batch.py): while one is read, measured or written, the other's images
# keep the optimisation busy, and the batch stays full over the ends of shards.
TWO_AT_A_TIME: TaskRunner[Any] = ThreadPoolTaskRunner(max_workers=2)
LOOK_SECONDS = 5.0  # how often the progress artifact is brought up to date


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
    # Prefect's stubs know only literal calls of its decorator.
    decorate: Any = task
    return decorate(
        function,
        name=name,
        retries=retries,
        retry_delay_seconds=[2.0, 10.0][:retries],
        retry_condition_fn=worth_retrying,
        cache_policy=NO_CACHE,
        persist_result=False,
        log_prints=False,
    )


class Counter:
    """Counts what the tasks of one stage report, for the progress artifact."""

    def __init__(self, *, stage: str, total: int, unit: str = "images") -> None:
        self.stage, self.total, self.done, self.began = stage, total, 0, time.monotonic()
        self.unit = unit

    def begin(self, stage: str, total: int) -> None:
        """Take over a total that was not known before."""
        if stage == self.stage and not self.total:
            self.total = total

    def advance(self, stage: str, done: int) -> None:
        """Count."""
        self.done += done if stage == self.stage else 0

    def described(self) -> tuple[float, str]:
        """Return percent done, and the line for people: images, speed, time left."""
        speed = self.done / max(time.monotonic() - self.began, 1e-9)
        left = f"{(self.total - self.done) / speed / 60:.1f} min left" if speed > 0 else "time left unknown"
        text = f"{self.stage}: {self.done} of {self.total} {self.unit}, {speed:.2f} {self.unit}/s, {left}"
        return min(100.0, 100.0 * self.done / max(self.total, 1)), text


def run_shards(
    function: Callable[..., ShardRecord],
    *,
    stage: str,
    numbers: Sequence[int],
    place: Place,
    **parameters: Any,
) -> list[ShardRecord]:
    """Run ``function(place=..., number=..., **parameters)`` for every shard as tasks of the current flow.

    All shards are tried; then the first failure, if any, is raised.

    Returns:
        One record per shard, in the order of ``numbers``.
    """
    sizes = shard_sizes(store=place.folder, gallery=place.gallery, version=place.version)
    total = sum(sizes.get(number, 0) for number in numbers)
    work = as_task(function, name=f"{stage} shard")
    begin(stage, total)
    return _followed(
        lambda: [work.submit(place=place, number=number, **parameters) for number in numbers],
        Counter(stage=stage, total=total),
    )


def run_watched(function: Callable[..., Any], *, name: str, stage: str, unit: str, **parameters: Any) -> Any:
    """Run ``function(**parameters)`` as one task of the current flow; it says itself how much there is to do."""
    work = as_task(function, name=name)
    (result,) = _followed(lambda: [work.submit(**parameters)], Counter(stage=stage, total=0, unit=unit))
    return result


def _followed(submit: Callable[[], list[PrefectFuture[Any]]], counter: Counter) -> list[Any]:
    """Submit tasks, keep a progress artifact up to date until all are done, and return their results."""
    percent, text = counter.described()
    shown: Any = create_progress_artifact(progress=percent, key=f"{counter.stage}-progress", description=text)
    done: set[PrefectFuture[Any]] = set()
    with listening(counter):
        futures = submit()
        for future in futures:
            future.add_done_callback(done.add)
        looked = time.monotonic()
        for future in futures:
            while future not in done:
                # One future at a time: Prefect's wait() for many ends itself by an alarm signal, which at times
                # goes off a moment too late and then ends the flow.
                future.wait(timeout=LOOK_SECONDS)
                if time.monotonic() - looked >= LOOK_SECONDS:
                    looked = time.monotonic()
                    _show(shown, counter)
    _show(shown, counter)
    return [future.result() for future in futures]


def _show(artifact: Any, counter: Counter) -> None:
    """Bring a progress artifact up to date."""
    percent, text = counter.described()
    update_progress_artifact(artifact_id=artifact, progress=percent, description=text)
