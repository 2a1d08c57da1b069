"""Run one task per shard: submit, follow, report progress, and let no failure hide."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flows.environment  # noqa: F401  # before prefect

from prefect import task
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from avih.datasets.registry import files_of
from avih.disk_errors import may_pass
from avih.errors import AvihError, NetworkFailed
from avih.index_file import shard_sizes
from avih.settings import LOCAL, RunnerSettings
from flows.runners import Here, submitting
from tasks.freshness import freshened
from tasks.progress import advance, begin, listening
from tasks.records import Place, ShardRecord
from tasks.worker_probe import Needs

# One shard at a time: torch already uses all cores, and two shards would only share them.
ONE_AT_A_TIME: TaskRunner[Any] = ThreadPoolTaskRunner(max_workers=1)
# Two shards share one batch (tasks/shared_batch.py): while one is read, measured or written, the other's images
# keep the optimisation busy, and the batch stays full over the ends of shards.
TWO_AT_A_TIME: TaskRunner[Any] = ThreadPoolTaskRunner(max_workers=2)
LOOK_SECONDS = 5.0  # how often the progress artifact is brought up to date
MOST_NAMED = 4  # outstanding shards that the progress line names
FILES = ("source", "lpips_backbone")  # parameters of tasks that are paths, as far as they are


def worth_retrying(_task: Any, _run: Any, state: Any) -> bool:
    """Retry what may pass by itself; a wrong key, setting or file and a full disk will not."""
    try:
        state.result()
    except NetworkFailed:
        return True
    except AvihError:
        return False
    except Exception as error:
        return may_pass(error)
    return False


def as_task(function: Callable[..., Any], *, name: str, retries: int = 2) -> Any:
    """Make a plain function a Prefect task.

    No result is stored or reused by Prefect: the shard's own done file says what is finished.
    """
    # Prefect's stubs know only literal calls of its decorator.
    decorate: Any = task
    return decorate(
        freshened(function),
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
        self.outstanding: dict[str, str] = {}  # shards that are not finished, with their workers elsewhere

    def begin(self, stage: str, total: int) -> None:
        """Take over a total that was not known before."""
        if stage == self.stage and not self.total:
            self.total = total

    def advance(self, stage: str, done: int) -> None:
        """Count."""
        self.done += done if stage == self.stage else 0

    def described(self) -> tuple[float, str]:
        """Return percent done, and the line for people: images, speed, time left, and what is outstanding."""
        speed = self.done / max(time.monotonic() - self.began, 1e-9)
        left = f"{(self.total - self.done) / speed / 60:.1f} min left" if speed > 0 else "time left unknown"
        text = f"{self.stage}: {self.done} of {self.total} {self.unit}, {speed:.2f} {self.unit}/s, {left}"
        named = [f"{name} ({at})" if at else name for name, at in list(self.outstanding.items())[:MOST_NAMED]]
        if more := len(self.outstanding) - len(named):
            named.append(f"{more} more")
        text += f", outstanding shards: {', '.join(named)}" if named else ""
        return min(100.0, 100.0 * self.done / max(self.total, 1)), text


def run_shards(
    function: Callable[..., ShardRecord],
    *,
    stage: str,
    numbers: Sequence[int],
    place: Place,
    runner: RunnerSettings = LOCAL,
    **parameters: Any,
) -> list[ShardRecord]:
    """Run ``function(place=..., number=..., **parameters)`` for every shard as tasks of the current flow.

    All shards are tried; then the first failure, if any, is raised.

    Args:
        function: the task.
        stage: what it is called for people.
        numbers: shards.
        place: gallery version.
        runner: where shards run; local: on the current flow's own threads.
        parameters: of the task, equal for all shards.

    Returns:
        One record per shard, in the order of ``numbers``.
    """
    sizes = shard_sizes(store=place.folder, gallery=place.gallery, version=place.version)
    total = sum(sizes.get(number, 0) for number in numbers)
    work = as_task(function, name=f"{stage} shard")
    begin(stage, total)
    counter = Counter(stage=stage, total=total)
    with submitting(runner, needs=_needs(place, parameters)) as there:

        def submit() -> dict[str, PrefectFuture[Any]]:
            given = {"place": place, **parameters}
            return {f"{number:05d}": there.submit(work, {**given, "number": number}) for number in numbers}

        return _followed(submit, counter, there=there, sizes={f"{n:05d}": sizes.get(n, 0) for n in numbers})


def run_watched(function: Callable[..., Any], *, name: str, stage: str, unit: str, **parameters: Any) -> Any:
    """Run ``function(**parameters)`` as one task of the current flow; it says itself how much there is to do."""
    work = as_task(function, name=name)
    counter = Counter(stage=stage, total=0, unit=unit)
    (result,) = _followed(lambda: {name: work.submit(**parameters)}, counter, there=Here())
    return result


def _needs(place: Place, parameters: Mapping[str, Any]) -> Needs:
    """Return what a worker elsewhere must have for a task with these parameters."""
    given = [place.recogniser.weights, *(parameters.get(name) for name in FILES)]
    return Needs(
        store=place.store, key_id=parameters.get("key_id") or parameters.get("old_key"),
        files=tuple(file for name in given if name for file in files_of(name)),
    )  # fmt: skip


def _followed(
    submit: Callable[[], dict[str, PrefectFuture[Any]]],
    counter: Counter,
    *,
    there: Here,
    sizes: Mapping[str, int] | None = None,
) -> list[Any]:
    """Submit tasks, keep a progress artifact up to date until all are done, and return their results."""
    percent, text = counter.described()
    shown: Any = create_progress_artifact(progress=percent, key=f"{counter.stage}-progress", description=text)
    done: set[PrefectFuture[Any]] = set()
    with listening(counter):
        futures = submit()
        for future in futures.values():
            future.add_done_callback(done.add)
        waiting, looked = dict(futures), time.monotonic()
        while waiting:
            # One future at a time: Prefect's wait() for many ends itself by an alarm signal, which at times
            # goes off a moment too late and then ends the flow.
            there.wait(next(iter(waiting.values())), seconds=LOOK_SECONDS)
            for name in [name for name, future in waiting.items() if future in done]:
                if there.collected(waiting[name], seconds=LOOK_SECONDS):
                    del waiting[name]
                    # Progress that a task tells in another process does not come here.
                    advance(counter.stage, (sizes or {}).get(name, 0) if there.elsewhere else 0)
            if time.monotonic() - looked >= LOOK_SECONDS:
                looked = time.monotonic()
                workers = there.workers(waiting)
                counter.outstanding = {name: workers.get(name, "") for name in waiting} if sizes else {}
                _show(shown, counter)
    counter.outstanding = {}
    _show(shown, counter)
    return [there.result(future) for future in futures.values()]


def _show(artifact: Any, counter: Counter) -> None:
    """Bring a progress artifact up to date."""
    percent, text = counter.described()
    update_progress_artifact(artifact_id=artifact, progress=percent, description=text)
