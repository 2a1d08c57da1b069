"""``avih keys``: make, list and look at keys, change their states. No command shows or takes a secret."""

from pathlib import Path
from typing import Annotated, Any, cast

import typer

from flows.cli import key_changes, key_passphrase
from flows.cli.complete import complete_keys
from flows.cli.dry import nothing_changed
from flows.cli.main import app, prepare_flows
from flows.cli.options import DebugOption, DryRunOption, JsonOption, StoreOption
from flows.cli.output import clean_stdout, explained, print_json, progress_bars, table

keys_app = typer.Typer(no_args_is_help=True, help="Make, list and look at keys, change their states.")
app.add_typer(keys_app, name="keys")


@keys_app.command()
def create(
    store: StoreOption = None,
    recovery: Annotated[
        str,
        typer.Option(
            help="keyed (default) or unmixed (the papers'); made in a second: sealed, veil (person_veil, v_uap), "
            "inverse (lie)."
        ),
    ] = "keyed",
    template: Annotated[str, typer.Option(help="Face size that the generator is trained on.")] = "112x96",
    steps: Annotated[
        int | None, typer.Option(min=1, help="Training steps.", show_default="by recovery")
    ] = None,
    pictures: Annotated[Path | None, typer.Option(help="Folder of training pictures.")] = None,
    reason: Annotated[str, typer.Option(help="Why, for the key's log.")] = "created on the command line",
    activate: Annotated[bool, typer.Option(help="Put the key to use if it passes the gate.")] = True,
    gate_limit: key_changes.GateLimitOption = 0.15,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Train a generator (none for sealed), draw a secret, seal both under the passphrase, try the key, use it.

    With --no-activate the key waits in pre_activation, ready for a rotation.

    Example: AVIH_KEY_FILE=~/avih.pass avih keys create --store /srv/avih
    """
    from avih.naming import Store

    with explained(debug):
        place = Store.open(store)
        prepare_flows(place)
        from avih.align import TEMPLATES
        from avih.errors import UsageError
        from avih.key_gate import GateSettings
        from avih.settings import ARCHITECTURE_OF, Recovery, preset

        if recovery not in ARCHITECTURE_OF or template not in TEMPLATES:
            raise UsageError(
                f"Expected --recovery {', '.join(ARCHITECTURE_OF)} and --template of {', '.join(TEMPLATES)} or "
                f"another size of 32 to 512 that divides by 4, got {recovery!r} and {template!r}."
            )
        wanted = cast(Recovery, recovery)
        settings = preset(
            "paper" if recovery == "unmixed" else "fast", recovery=recovery, key_steps=steps
        ).key
        training = str(pictures.absolute()) if pictures else None
        if dry_run:
            from tasks.would_keys import would_create

            would = would_create(
                store=place, settings=settings, recovery=wanted, template=template, pictures=training,
                activate=activate, reason=reason,
            )  # fmt: skip
            nothing_changed("a key would be made", would, as_json)
            return
        from flows.create_key import create_key_flow

        with clean_stdout(), progress_bars():
            made = create_key_flow(
                store=place.address, settings=settings, recovery=wanted, template=template,
                pictures=training, reason=reason, activate=activate,
                gate=GateSettings(foreign_advantage=gate_limit),
            )  # fmt: skip
        facts = made.model_dump(mode="json")
        if as_json:
            print_json(facts)
        else:
            shown = {name: value for name, value in facts.items() if name != "gate"}
            table("new key", shown | (key_changes.gate_facts(made.gate) if made.gate else {}))


def _public(record: Any) -> dict[str, Any]:
    return {**record.public(), "state": str(record.state)}


@keys_app.command(name="list")
def list_keys(store: StoreOption = None, as_json: JsonOption = False, debug: DebugOption = False) -> None:
    """List the keys of a store with their states; needs no passphrase.

    Example: avih keys list --store /srv/avih
    """
    from avih.keys import KeyStore
    from avih.naming import Store

    with explained(debug):
        records = [_public(record) for record in KeyStore(Store.open(store).keys).list()]
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
    key_id: key_changes.KeyArgument,
    store: StoreOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Show the public facts of one key; needs no passphrase.

    Example: avih keys show 4f2a
    """
    from avih.keys import KeyStore
    from avih.naming import Store

    with explained(debug):
        facts = _public(KeyStore(Store.open(store).keys).show(key_id))
        print_json(facts) if as_json else table(f"key {facts['key_id']}", facts)


@keys_app.command()
def status(
    key_id: Annotated[
        str | None,
        typer.Argument(
            help="Key id, or the beginning of it.", show_default="all keys", autocompletion=complete_keys
        ),
    ] = None,
    maximum_age_days: Annotated[int, typer.Option(min=1, help="Age at which rotation is due.")] = 90,
    budget_share: Annotated[
        float, typer.Option(min=0, max=1, help="Used share of the leak budget at which it is due.")
    ] = 0.9,
    store: StoreOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Say how worn keys are: age, images against the leak budget, who uses them, whether rotation is due.

    Example: avih keys status --json
    """
    from avih.keys import KeyStore, verify_log
    from avih.naming import Store

    with explained(debug):
        from avih.key_use import key_status

        place = Store.open(store)
        keys = KeyStore(place.keys)
        chosen = [keys.show(key_id)] if key_id else keys.list()
        entries, now = verify_log(keys.log.path), keys.log.clock()
        found = [
            key_status(
                place, record, entries=entries, now=now, maximum_age_days=maximum_age_days,
                budget_share=budget_share,
            ).public()
            for record in chosen
        ]  # fmt: skip
        if as_json:
            print_json({"keys": found})
        for facts in [] if as_json else found:
            table(f"key {facts['key_id']}", _worn(facts))


def _worn(facts: dict[str, Any]) -> dict[str, object]:
    uses = [f"{u['gallery']} {u['version']} ({u['images']}{', current' if u['current'] else ''})"
            for u in facts["used_by"]]  # fmt: skip
    return {
        "state": facts["state"],
        "age": f"{facts['age_days']} days",
        "images / budget": f"{facts['images']} / {facts['budget']}",
        "used by": ", ".join(uses) or "nothing",
        "rotation due": "; ".join(facts["due"]) or "no",
    }


@keys_app.command(name="rebuild-record")
def rebuild_record(
    key_id: key_changes.KeyArgument,
    dry_run: DryRunOption = False,
    store: StoreOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Write a lost or altered public record anew from the copy that is sealed with the key.

    Example: avih keys rebuild-record 4f2a
    """
    from avih.keys import KeyStore
    from avih.naming import Store

    with explained(debug):
        place = Store.open(store)
        if dry_run:
            from tasks.would_keys import would_rebuild

            nothing_changed("a key's record", would_rebuild(store=place, key_id=key_id), as_json)
            return
        facts = _public(KeyStore(place.keys).rebuild_record(key_id))
        print_json(facts) if as_json else table(f"key {facts['key_id']}, record written anew", facts)


for change in (key_changes.activate, key_changes.suspend, key_changes.deactivate, key_changes.compromise,
               key_changes.destroy, key_passphrase.passphrase):  # fmt: skip
    keys_app.command()(change)
