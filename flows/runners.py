"""Where shards run: in this process, in processes of this machine, or on a Dask cluster.

Prefect's own task runners do it; this module chooses one, sees that its workers find Prefect's API, and hands
tasks to it. The passphrase is not handed on: workers have their own environment.
"""

from collections.abc import Iterator, Mapping
from concurrent.futures import CancelledError
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import Any

import flows.environment  # noqa: F401  # before prefect

from prefect import Task
from prefect.client.orchestration import get_client
from prefect.futures import PrefectFuture
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.task_runners import ProcessPoolTaskRunner, TaskRunner

from avih.errors import AvihError
from avih.settings import RunnerSettings
from flows.preflight import CONNECT, import_dask, preflight, require_passphrase
from tasks.worker_probe import Needs

PROCESSES = 2  # as many shards at a time as this process makes by itself
GO_ON = "Run the same command again: finished shards stay."


class Here:
    """Hands tasks to the task runner of the current flow: threads of this process."""

    elsewhere = False

    def submit(self, work: Task[..., Any], parameters: Mapping[str, Any]) -> PrefectFuture[Any]:
        """Submit a task."""
        return work.submit(**parameters)

    def wait(self, future: PrefectFuture[Any], *, seconds: float) -> None:
        """Wait for a task, no longer than some seconds; how it ended is told by :meth:`result`."""
        future.wait(timeout=seconds)

    def collected(self, future: PrefectFuture[Any], *, seconds: float) -> bool:
        """Tell whether a finished task's result is in this process, or fetch it now."""
        return True

    def workers(self, futures: Mapping[str, PrefectFuture[Any]]) -> dict[str, str]:
        """Name the worker of each task that is at work somewhere."""
        return {}

    def result(self, future: PrefectFuture[Any]) -> Any:
        """Return a task's result or raise its error; say it in words if the worker was lost.

        Raises:
            AvihError: nobody is left to finish the task.
        """
        return future.result()


class Elsewhere(Here):
    """Hands tasks to a task runner of other processes."""

    elsewhere = True

    def __init__(self, runner: RunnerSettings, task_runner: TaskRunner[Any]) -> None:
        self.runner, self.task_runner = runner, task_runner

    def submit(self, work: Task[..., Any], parameters: Mapping[str, Any]) -> PrefectFuture[Any]:
        """Submit a task."""
        return self.task_runner.submit(work, dict(parameters))

    def wait(self, future: PrefectFuture[Any], *, seconds: float) -> None:
        """As :meth:`Here.wait`."""
        with suppress(BrokenProcessPool):
            future.wait(timeout=seconds)

    def collected(self, future: PrefectFuture[Any], *, seconds: float) -> bool:
        """Fetch a finished task's result, then let go of it on its worker.

        A result that only its worker holds is lost with that worker, and Dask would run the task again.
        """
        try:
            future.result(timeout=seconds, raise_on_failure=False)
        except TimeoutError:
            return False  # its worker has just died or does not answer
        except Exception:
            return True  # told at the end, when every other shard has been tried
        if self.runner.kind == "dask":
            _wrapped(future).release()
        return True

    def workers(self, futures: Mapping[str, PrefectFuture[Any]]) -> dict[str, str]:
        """Name the worker of each task that is at work somewhere; Dask knows."""
        if self.runner.kind != "dask":
            return {}
        runner: Any = self.task_runner
        try:
            at_work = {key: worker for worker, keys in runner.client.processing().items() for key in keys}
        except Exception:  # the scheduler has gone, which the tasks' results will tell
            return {}
        keys = {name: _wrapped(future).key for name, future in futures.items()}
        return {name: at_work[key] for name, key in keys.items() if key in at_work}

    def result(self, future: PrefectFuture[Any]) -> Any:
        """As :meth:`Here.result`."""
        try:
            return future.result()
        except BrokenProcessPool:
            raise AvihError(
                "Expected the processes that make shards to go on, got one that was killed or ended, and all "
                f"end with it (too little memory? give fewer with --processes). {GO_ON}"
            ) from None
        except CancelledError as error:
            raise AvihError(
                f"Expected the Dask scheduler at {self.runner.address} to go on, got: {_first_line(error)} See "
                f"that it runs. {GO_ON}"
            ) from None
        except Exception as error:
            if type(error).__name__ != "KilledWorker":
                raise
            raise AvihError(
                "Expected a Dask worker to finish a shard, got one that ended each worker it was given to "
                f"(too little memory?): {_first_line(error)} {GO_ON}"
            ) from None


@contextmanager
def submitting(runner: RunnerSettings, *, needs: Needs) -> Iterator[Here]:
    """Yield what hands tasks to where the settings say; workers are asked first whether they can do the work.

    Raises:
        WorkersUnfit: there is no worker that could, or one that could not would get some of it.
        UsageError: the packages for Dask are missing.
        KeyRefused: the passphrase was typed, which other processes do not see.
    """
    if not runner.elsewhere:
        yield Here()
        return
    api = api_url()
    check(runner, needs=needs.model_copy(update={"api": api}))
    # Without an address each worker would start a temporary server of its own.
    with temporary_settings({PREFECT_API_URL: api}), _taking(runner), _task_runner(runner) as task_runner:
        yield Elsewhere(runner, task_runner)


def check(runner: RunnerSettings, *, needs: Needs) -> None:
    """Check that shards can run where the settings say; before anything long begins.

    Raises:
        WorkersUnfit, UsageError, KeyRefused: as for :func:`submitting`.
    """
    if runner.kind == "dask":
        preflight(runner, needs=needs)
    elif runner.kind == "process":
        require_passphrase("processes that make shards")


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _wrapped(future: Any) -> Any:
    """Return Dask's own future."""
    return future.wrapped_future


def api_url() -> str:
    """Return the address of the Prefect API that this process uses, its own temporary server's included."""
    return str(get_client(sync_client=True).api_url).rstrip("/")


def _task_runner(runner: RunnerSettings) -> TaskRunner[Any]:
    if runner.kind == "process":
        return ProcessPoolTaskRunner(max_workers=runner.processes or PROCESSES)
    runners = import_dask("prefect_dask")
    made: TaskRunner[Any] = runners.DaskTaskRunner(address=runner.address, client_kwargs={"timeout": CONNECT})
    return made


def _taking(runner: RunnerSettings) -> AbstractContextManager[Any]:
    """Let every task that is submitted take the settings' resources of its worker."""
    if runner.kind != "dask" or not runner.resources:
        return nullcontext()
    annotated: AbstractContextManager[Any] = import_dask("dask").annotate(resources=dict(runner.resources))
    return annotated
