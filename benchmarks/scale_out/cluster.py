"""A real scheduler and real workers for a benchmark: on this machine, or in network namespaces of their own."""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import avih
from avih.errors import AvihError, UsageError
from avih.naming import Store
from avih.settings import RunnerSettings
from flows.preflight import import_dask
from flows.server.dask import DaskWorkers, scheduler_command, scheduler_environment, worker_command
from flows.server.processes import Child, ProcessId, family, free_port

CODE = Path(avih.__file__).parents[1]
READY_SECONDS = 120.0
RESOURCES = {"SHARD": 1.0}  # every shard takes one, as a card would be taken


@dataclass(frozen=True)
class Machine:
    """An address to listen on, and the network namespace that has it (none: this machine's own)."""

    address: str = "127.0.0.1"
    namespace: str | None = None

    @classmethod
    def parse(cls, text: str) -> "Machine":
        """Read ``ADDRESS`` or ``ADDRESS=NAMESPACE``.

        Raises:
            UsageError: there is no address in it.
        """
        address, _, namespace = text.partition("=")
        if not address:
            raise UsageError(f"Expected ADDRESS=NAMESPACE, got {text!r}.")
        return cls(address, namespace or None)

    def command(self, command: Sequence[str]) -> list[str]:
        """Return the command that runs there."""
        return [*(["ip", "netns", "exec", self.namespace] if self.namespace else []), *command]


@dataclass
class Cluster:
    """A scheduler and as many workers as were asked for, handed out to machines in turn."""

    folder: Path
    scheduler_machine: Machine
    machines: Sequence[Machine]
    address: str = ""
    scheduler: Child | None = None
    workers: list[Child] = field(default_factory=list)

    def start(self) -> None:
        """Start the scheduler."""
        where = self.scheduler_machine
        port = 8786 if where.namespace else free_port(where.address, 0, option="--scheduler")
        command = where.command(scheduler_command(host=where.address, port=port))
        self.scheduler = self._child("scheduler", command, scheduler_environment())
        self.address = f"tcp://{where.address}:{port}"

    def grow(self, count: int) -> None:
        """Start workers until there are so many, and wait until all have come.

        Raises:
            AvihError: they did not come in time.
        """
        for number in range(len(self.workers), count):
            machine = self.machines[number % len(self.machines)]
            asked = DaskWorkers(
                self.address, Store(self.folder), machine.address, resources=RESOURCES, scratch=self.folder
            )
            command = [*worker_command(asked, name=f"worker-{number}"), "--no-nanny"]
            self.workers.append(self._child(f"worker-{number}", machine.command(command), dict(os.environ)))
        distributed = import_dask("distributed")
        with distributed.Client(
            self.address, timeout=f"{READY_SECONDS:.0f}s", set_as_default=False
        ) as client:
            try:
                client.wait_for_workers(count, timeout=READY_SECONDS)
            except TimeoutError:
                raise AvihError(
                    f"Expected {count} workers within {READY_SECONDS:.0f} s, got fewer. See {self.folder}."
                ) from None

    def runner(self) -> RunnerSettings:
        """Return the settings of a run on this cluster."""
        return RunnerSettings(kind="dask", address=self.address, resources=RESOURCES)

    def processor_seconds(self) -> dict[str, float]:
        """Return the processor time used so far by this process, the scheduler, the workers, Prefect's server.

        The server is the temporary one of this process; another cannot be seen from here.
        """
        ours = [*self.workers, *([self.scheduler] if self.scheduler else [])]
        theirs = {member for child in ours for member in family(child.process.pid)}
        others = {one for one in family(os.getpid()) - theirs if one.number != os.getpid()}
        return {
            "flow": time.process_time(),
            "scheduler": _used(family(ours[-1].process.pid)),
            "workers": _used(theirs - family(ours[-1].process.pid)),
            "server": _used(others),
        }

    def stop(self) -> None:
        """End everything."""
        for one in [*self.workers, *([self.scheduler] if self.scheduler else [])]:
            one.stop(seconds=1.0)

    def _child(self, name: str, command: list[str], environment: dict[str, str]) -> Child:
        path = os.pathsep.join(filter(None, [str(CODE), environment.get("PYTHONPATH")]))
        return Child(
            name, command, environment=environment | {"PYTHONPATH": path}, log=self.folder / f"{name}.log"
        )


def _used(processes: set[ProcessId]) -> float:
    """Return the processor seconds of processes, from the kernel's account."""
    ticks = 0
    for member in processes:
        with suppress(OSError):  # it ended just now
            fields = Path(f"/proc/{member.number}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])  # in user mode, and in the kernel for it
    return ticks / os.sysconf("SC_CLK_TCK")


@contextmanager
def cluster(folder: Path, *, scheduler: Machine, machines: Sequence[Machine]) -> Iterator[Cluster]:
    """Start a scheduler; whatever is started in the block ends with it."""
    folder.mkdir(parents=True, exist_ok=True)
    made = Cluster(folder, scheduler, machines)
    try:
        made.start()
        yield made
    finally:
        made.stop()
