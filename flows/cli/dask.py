"""``avih dask``: a scheduler and workers, for every command with ``--runner dask``."""

import os
from typing import Annotated

import typer

from flows.cli.main import app, prepare_flows
from flows.cli.options import DebugOption, StoreOption
from flows.cli.output import err, explained
from flows.cli.runner import Runner, runner_settings

dask_app = typer.Typer(
    no_args_is_help=True,
    help="Scheduler and workers that make shards on other machines. Dask asks nobody for a password: whoever "
    "reaches one of them can run anything there. Private addresses only, or TLS (docs/scale.md).",
)
app.add_typer(dask_app, name="dask")

HostOption = Annotated[
    str, typer.Option("--host", help="Address of this machine to listen on, as the others reach it.")
]


@dask_app.command()
def scheduler(
    host: HostOption = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8786,
    debug: DebugOption = False,
) -> None:
    """Run a Dask scheduler here until Ctrl-C; it needs no passphrase and no store.

    Example: avih dask scheduler --host 10.0.0.1
    """
    with explained(debug):
        from flows.preflight import import_dask

        import_dask("distributed")
        from flows.server.dask import scheduler_command, scheduler_environment

        command = scheduler_command(host=host, port=port)
        os.execve(command[0], command, scheduler_environment())


@dask_app.command()
def worker(
    address: Annotated[str, typer.Argument(help="Address of the scheduler, as tcp://HOST:8786.")],
    host: HostOption = "127.0.0.1",
    resource: Annotated[
        list[str] | None,
        typer.Option("--resource", metavar="NAME=AMOUNT", help="What each process offers; may be repeated."),
    ] = None,
    gpu: Annotated[
        list[int] | None,
        typer.Option("--gpu", min=0, help="Graphics card; a process for each. May be repeated."),
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="Shards at a time per process.")] = 1,
    store: StoreOption = None,
    debug: DebugOption = False,
) -> None:
    """Run a worker here, or one for each graphics card, until Ctrl-C. The passphrase comes from its environment.

    Example: AVIH_KEY_FILE=~/avih-passphrase avih dask worker tcp://10.0.0.1:8786 --host 10.0.0.2 --gpu 0 --gpu 1
    --resource GPU=1 --store /srv/avih
    """
    from avih.naming import Store

    place = Store.find(store)
    with explained(debug):
        from flows.preflight import import_dask, require_passphrase

        chosen = runner_settings(Runner.dask, address, resource, None)
        import_dask("distributed")
        require_passphrase("a Dask worker")
        prepare_flows(place)
        import flows.environment  # noqa: F401  # for the workers: they inherit it

        from flows.server.dask import DaskWorkers, run_workers

        run_workers(
            DaskWorkers(
                scheduler=address, store=place, host=host, resources=chosen.resources if chosen else {},
                gpus=tuple(gpu or ()), threads=threads,
            ),
            say=lambda line: err.print(line, markup=False, soft_wrap=True),
        )  # fmt: skip
