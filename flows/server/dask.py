"""A Dask scheduler or workers on this machine that listen no more widely than asked.

Dask asks nobody for a password, and whoever reaches a worker can run anything there, with its passphrase. Left
alone, its worker listens on all addresses of its machine.
"""

import os
import socket
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from avih.device import DEVICE_VARIABLE
from avih.keys.passphrase import SECRET_VARIABLES
from avih.naming import Store
from flows.server.processes import Child, until_stopped

STOP_SECONDS = 20.0
LOOK_SECONDS = 1.0
PATIENCE = "60"  # seconds that a worker waits for its scheduler before it ends
PROGRAM = (sys.executable, "-m")


@dataclass(frozen=True)
class DaskWorkers:
    """What to start: one process, or one for each graphics card.

    Attributes:
        scheduler: its address.
        store: where the shards go; logs too.
        host: address of this machine that the scheduler and the run reach.
        resources: what each process offers.
        gpus: numbers of the graphics cards.
        threads: shards at a time in each process; they share one batch.
        scratch: folder for what Dask keeps on disk; none: one in the system's, which others may look into.
    """

    scheduler: str
    store: Store
    host: str
    resources: Mapping[str, float] = field(default_factory=dict)
    gpus: tuple[int, ...] = ()
    threads: int = 1
    scratch: Path | None = None

    def processes(self) -> dict[str, dict[str, str]]:
        """Return what to start, by name, with what its environment has beyond ours."""
        name = socket.gethostname()
        cards = {
            f"{name}-gpu{gpu}": {"CUDA_VISIBLE_DEVICES": str(gpu), DEVICE_VARIABLE: "cuda"}
            for gpu in self.gpus
        }
        return cards or {f"{name}-{os.getpid()}": {}}


def scheduler_command(*, host: str, port: int) -> list[str]:
    """Return the command that runs a scheduler on one address of this machine."""
    return [
        *PROGRAM, "distributed.cli.dask_scheduler", "--host", host, "--port", str(port), "--no-dashboard",
        "--dashboard-address", f"{host}:0",
    ]  # fmt: skip


def scheduler_environment() -> dict[str, str]:
    """Return our environment without the passphrase, which a scheduler needs for nothing."""
    return {name: value for name, value in os.environ.items() if name not in SECRET_VARIABLES}


def worker_command(settings: DaskWorkers, *, name: str) -> list[str]:
    """Return the command that runs one worker process."""
    share = 1 / max(
        1, len(settings.gpus)
    )  # Dask's own guess is a core's share, too little for a card's process
    command = [
        *PROGRAM, "distributed.cli.dask_worker", settings.scheduler, "--host", settings.host, "--name", name,
        "--nworkers", "1", "--nthreads", str(settings.threads), "--memory-limit", f"{share:.3f}",
        "--no-dashboard", "--dashboard-address", f"{settings.host}:0", "--death-timeout", PATIENCE,
    ]  # fmt: skip
    if settings.scratch:
        command += ["--local-directory", str(settings.scratch)]
    offered = " ".join(f"{kind}={amount:g}" for kind, amount in sorted(settings.resources.items()))
    return [*command, "--resources", offered] if offered else command


def run_workers(settings: DaskWorkers, *, say: Callable[[str], None]) -> None:
    """Run workers until Ctrl-C or SIGTERM.

    Raises:
        AvihError: one of them ended by itself; the message holds the end of its log. The others are stopped.
    """
    children: list[Child] = []

    def stop() -> None:
        for child in children:
            say(f"stopping {child.name}")
            child.stop(seconds=STOP_SECONDS)

    try:
        with TemporaryDirectory(prefix="avih-dask-") as scratch, until_stopped(stop):
            private = replace(settings, scratch=Path(scratch))
            for name, more in settings.processes().items():
                log = settings.store.prefect / f"dask-{name}.log"
                command = worker_command(private, name=name)
                children.append(Child(f"Dask worker {name}", command, environment=os.environ | more, log=log))
                say(f"started Dask worker {name} for {settings.scheduler}; its log: {log}")
            while True:
                for child in children:
                    child.require_running()
                time.sleep(LOOK_SECONDS)
    except KeyboardInterrupt:
        say("stopped")
