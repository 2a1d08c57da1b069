"""``avih server``: Prefect, MLflow and workers on this machine; ``avih alerts``: what failed."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.complete import complete_galleries
from flows.cli.dry import nothing_changed
from flows.cli.main import app, prepare_flows
from flows.cli.options import DebugOption, DryRunOption, JsonOption, StoreOption
from flows.cli.output import err, explained, print_json

if TYPE_CHECKING:
    from avih.naming import Store
    from flows.server.run import LocalServer


class Pool(StrEnum):
    """Work pools that this machine can serve."""

    cpu = "cpu"
    gpu = "gpu"


@app.command()
def server(
    gallery: Annotated[
        str | None,
        typer.Option(
            help="Gallery of the nightly runs.", show_default="the only one in the store",
            autocompletion=complete_galleries,
        ),
    ] = None,
    pool: Annotated[
        list[Pool] | None, typer.Option(help="Work pool to serve besides cpu; may be repeated.")
    ] = None,
    prefect_port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 4200,
    mlflow_port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 5000,
    host: Annotated[
        str, typer.Option(help="Address to listen on. The servers ask nobody for a password.")
    ] = "127.0.0.1",
    at_once: Annotated[int, typer.Option(min=1, help="Flow runs at the same time per worker.")] = 1,
    dry_run: DryRunOption = False,
    store: StoreOption = None,
    debug: DebugOption = False,
) -> None:  # fmt: skip
    """Start Prefect, MLflow and a worker here, deploy prefect.yaml, and stay until Ctrl-C.

    Example: AVIH_KEY_FILE=~/avih-passphrase avih server --store /srv/avih
    """
    from avih.naming import Store

    with explained(debug):
        place = Store.open(store)
        chosen = _gallery(place, gallery)
        prepare_flows(place)
        pools = tuple(dict.fromkeys(["cpu", *(p.value for p in pool or [])]))
        if dry_run:
            ports = {"prefect": prefect_port, "mlflow": mlflow_port}
            _would_serve(place, chosen, host, ports, pools)
            return
        from flows.server.run import ServerSettings, run

        run(
            ServerSettings(
                store=place, gallery=chosen, host=host, prefect_port=prefect_port, mlflow_port=mlflow_port,
                pools=pools, runs_at_once=at_once,
            ),
            say=lambda line: err.print(line, markup=False, soft_wrap=True),
            ready=_ready,
        )  # fmt: skip


def _would_serve(
    store: "Store", gallery: str, host: str, ports: dict[str, int], pools: tuple[str, ...]
) -> None:
    from avih.errors import UsageError
    from flows.server.lock import server_of
    from flows.server.processes import free_port
    from tasks.dry_checks import check_passphrase

    check_passphrase(store)
    if (other := server_of(store)) is not None:
        raise UsageError(
            f"Expected no server for this store yet, got one: {other}. Use that one, or stop it."
        )
    facts: dict[str, object] = {"gallery": gallery, "pools": list(pools)}
    for name, port in ports.items():
        free_port(host, port, option=f"--{name}-port")
        facts[name] = f"http://{host}:{port}" if port else f"http://{host}, any free port"
    nothing_changed("servers would be started", facts, as_json=False)


def _gallery(store: "Store", given: str | None) -> str:
    """Return the gallery that the nightly deployments work on."""
    from avih.errors import UsageError
    from avih.naming import gallery_name

    if given:
        return gallery_name(given)
    galleries = store.galleries()
    if len(galleries) != 1:
        raise UsageError(
            f"Expected one gallery in {store.address}, got {', '.join(galleries) or 'none'}. "
            + (
                "Choose with --gallery."
                if galleries
                else "Make one with avih run, or name one with --gallery."
            )
        )
    return galleries[0]


def _ready(server: "LocalServer") -> None:
    gallery, store = server.settings.gallery, server.settings.store
    print(f"""
Prefect  {server.prefect}   what ran, when, and what comes next
MLflow   {server.mlflow}   the figures of every run
{len(server.deployments)} deployments for gallery {gallery}; logs in {store.prefect}

In another terminal:
  export PREFECT_API_URL={server.prefect}/api MLFLOW_TRACKING_URI={server.mlflow}
  prefect deployment ls
  prefect deployment run nightly-reprotect/nightly-reprotect --watch
  avih alerts --store {store.address}

Ctrl-C stops everything.""", flush=True)  # fmt: skip


@app.command()
def alerts(store: StoreOption = None, as_json: JsonOption = False, debug: DebugOption = False) -> None:
    """List the flow runs that failed, with what to do; one file each in the store's folder alerts.

    Example: avih alerts --store /srv/avih
    """
    from avih.naming import Store

    with explained(debug):
        place = Store.open(store)
        from flows.alerts import read_alerts

        found = read_alerts(place)
        if as_json:
            print_json({"alerts": [alert.model_dump(mode="json") for alert in found]})
        elif not found:
            print(f"No alerts in {place.address}.")
        for alert in () if as_json else found:
            print(
                f"{alert.time}  {alert.state}  {alert.flow} {alert.flow_run_name}  gallery {alert.gallery or '-'}"
            )
            print(f"    {alert.error}\n    -> {alert.what_to_do}")
