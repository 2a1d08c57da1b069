"""``avih keys``: make, list and look at keys. No command shows or takes a secret."""

from pathlib import Path
from typing import Annotated, Any, cast

import typer

from flows.cli.main import app, prepare_flows
from flows.cli.options import DebugOption, JsonOption, StoreOption
from flows.cli.output import clean_stdout, explained, print_json, progress_bars, table

keys_app = typer.Typer(no_args_is_help=True, help="Make, list and look at keys.")
app.add_typer(keys_app, name="keys")


@keys_app.command()
def create(
    store: StoreOption = None,
    recovery: Annotated[str, typer.Option(help="keyed (default) or unmixed (the papers').")] = "keyed",
    template: Annotated[str, typer.Option(help="Face size that the generator is trained on.")] = "112x96",
    steps: Annotated[
        int | None, typer.Option(min=1, help="Training steps.", show_default="by recovery")
    ] = None,
    pictures: Annotated[Path | None, typer.Option(help="Folder of training pictures.")] = None,
    reason: Annotated[str, typer.Option(help="Why, for the key's log.")] = "created on the command line",
    activate: Annotated[bool, typer.Option(help="Put the key to use at once.")] = True,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Train a generator, draw a secret, seal both under the passphrase.

    Example: AVIH_KEY_FILE=~/avih.pass avih keys create --store /srv/avih
    """
    from avih.naming import Store

    place = Store.find(store)
    with explained(debug):
        prepare_flows(place.root)
        from avih.align import TEMPLATES
        from avih.errors import UsageError
        from avih.settings import Recovery, preset
        from flows.create_key import create_key_flow

        if recovery not in ("keyed", "unmixed") or template not in TEMPLATES:
            raise UsageError(
                f"Expected --recovery keyed or unmixed and --template of {', '.join(TEMPLATES)}, got "
                f"{recovery!r} and {template!r}."
            )
        wanted = cast(Recovery, recovery)
        settings = preset("fast" if recovery == "keyed" else "paper", key_steps=steps).key
        with clean_stdout(), progress_bars():
            made = create_key_flow(
                store=str(place.root), settings=settings, recovery=wanted, template=template,
                pictures=str(pictures.absolute()) if pictures else None, reason=reason, activate=activate,
            )  # fmt: skip
        facts = made.model_dump(mode="json")
        print_json(facts) if as_json else table("new key", facts)


def _public(record: Any) -> dict[str, Any]:
    return {**record.public(), "state": str(record.state)}


@keys_app.command(name="list")
def list_keys(store: StoreOption = None, as_json: JsonOption = False, debug: DebugOption = False) -> None:
    """List the keys of a store with their states; needs no passphrase."""
    from avih.keys import KeyStore
    from avih.naming import Store

    with explained(debug):
        records = [_public(record) for record in KeyStore(Store.find(store).keys).list()]
        if as_json:
            print_json({"keys": records})
        else:
            table(
                f"{len(records)} keys",
                {
                    r["key_id"]: f"{r['state']}  {r['recovery']}  {r['architecture']}  {r['created']}"
                    for r in records
                },
            )


@keys_app.command()
def show(
    key_id: Annotated[str, typer.Argument(help="Key id, or the beginning of it.")],
    store: StoreOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Show the public facts of one key; needs no passphrase."""
    from avih.keys import KeyStore
    from avih.naming import Store

    with explained(debug):
        facts = _public(KeyStore(Store.find(store).keys).show(key_id))
        print_json(facts) if as_json else table(f"key {facts['key_id']}", facts)
