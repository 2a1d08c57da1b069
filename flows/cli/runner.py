"""The options that say where shards are made; every command that makes a version has them."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from avih.settings import RunnerSettings


class Runner(StrEnum):
    """Where shards are made."""

    local = "local"
    process = "process"
    dask = "dask"


RunnerOption = Annotated[
    Runner | None,
    typer.Option(
        "--runner",
        help="Where shards are made: in this process, in several processes here, or on a Dask cluster.",
        show_default="local; nightly, rotate, protect and evaluate: as the gallery's last version",
    ),
]
AddressOption = Annotated[
    str | None,
    typer.Option("--dask-address", metavar="tcp://HOST:PORT", help="Scheduler of the Dask cluster."),
]
ResourceOption = Annotated[
    list[str] | None,
    typer.Option(
        "--resource",
        metavar="NAME=AMOUNT",
        help="dask: what a shard takes of a worker that offers it, for instance GPU=1; may be repeated.",
    ),
]
ProcessesOption = Annotated[
    int | None,
    typer.Option(
        "--processes",
        min=1,
        help="process: shards at a time. Each process computes on all cores unless OMP_NUM_THREADS says less.",
        show_default="2",
    ),
]


def runner_settings(
    runner: Runner | None, address: str | None, resources: list[str] | None, processes: int | None
) -> "RunnerSettings | None":
    """Return the settings that the options say; None where none of them was given.

    Raises:
        UsageError: they do not go together, or one of them cannot be read.
    """
    from pydantic import ValidationError

    from avih.errors import UsageError
    from avih.settings import RunnerSettings

    if runner is None and not (address or resources or processes):
        return None
    chosen = runner or (Runner.dask if address else Runner.local)
    try:
        return RunnerSettings(
            kind=chosen.value, address=address, resources=amounts(resources), processes=processes
        )
    except ValidationError as error:
        fault = error.errors()[0]
        told = str(fault["msg"]).removeprefix("Value error, ")
        raise UsageError(
            "Expected --runner dask with --dask-address and --resource, or --runner process with --processes, "
            f"got: {told}. See avih run --help."
        ) from None


def amounts(resources: list[str] | None) -> dict[str, float]:
    """Read ``NAME=AMOUNT`` of every resource.

    Raises:
        UsageError: one is not written like that.
    """
    from avih.errors import UsageError

    found = {}
    for text in resources or []:
        name, equals, amount = text.partition("=")
        try:
            found[name.strip()] = float(amount if equals else "none")
        except ValueError:
            raise UsageError(f"Expected --resource NAME=AMOUNT, for instance GPU=1, got {text!r}.") from None
    return found
