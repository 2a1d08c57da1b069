"""Changes of a key's state on the command line; ``flows.cli.keys`` makes them commands of ``avih keys``."""

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.cli.complete import complete_keys
from flows.cli.dry import nothing_changed
from flows.cli.main import prepare_flows
from flows.cli.options import DebugOption, DryRunOption, JsonOption, StoreOption
from flows.cli.output import clean_stdout, err, explained, print_json, progress_bars, table

if TYPE_CHECKING:
    from avih.key_destruction import Destruction

KeyArgument = Annotated[
    str, typer.Argument(help="Key id, or the beginning of it.", autocompletion=complete_keys)
]
NeededReason = Annotated[str, typer.Option("--reason", help="Why, for the key's log.")]
GateLimitOption = Annotated[
    float,
    typer.Option(
        "--gate-limit", min=0, max=1, help="Most that another key may recover; above 0.15 is logged."
    ),
]
WAITING_DAYS = 30  # as avih.key_destruction, which would load the tables' library to show a help text


def activate(
    key_id: KeyArgument,
    reason: NeededReason = "activated on the command line",
    gate_limit: GateLimitOption = 0.15,
    dry_run: DryRunOption = False,
    store: StoreOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Put a new or suspended key to use, if it passes the activation gate.

    Example: avih keys activate 4f2a --reason "for the autumn rotation"
    """
    from avih.naming import Store

    with explained(debug):
        place = Store.open(store)
        prepare_flows(place)
        if dry_run:
            from tasks.would_keys import would_activate

            would = would_activate(store=place, key_id=key_id, reason=reason)
            nothing_changed(f"key {would['key_id']} would be tried, then active", would, as_json)
            return
        from avih.key_gate import GateSettings
        from tasks.create_key import default_actor
        from tasks.key_gate import activate_key

        with clean_stdout(), progress_bars():
            gate = activate_key(
                store=place.address, key_id=key_id, actor=default_actor(), reason=reason,
                settings=GateSettings(foreign_advantage=gate_limit),
            )  # fmt: skip
        facts = {"key_id": gate.key_id, "state": "active", "gate": gate.model_dump(mode="json")}
        print_json(facts) if as_json else table(f"key {gate.key_id} is active", gate_facts(gate))


def gate_facts(gate: Any) -> dict[str, object]:
    """Return the gate's figures as rows of a table."""
    worst = gate.worst_pair
    pair = (
        f"{worst.recovering} on {worst.protecting}: {worst.advantage:.3f}" if worst else "no other live key"
    )
    return {
        "gate: SSIM_d": f"{gate.ssim_d:.3f} (at least {gate.ssim_d_limit})",
        "gate: worst pair": f"{pair} (advantage at most {gate.advantage_limit})",
    }


def suspend(
    key_id: KeyArgument,
    reason: NeededReason,
    dry_run: DryRunOption = False,
    store: StoreOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Stop protecting under an active key for a while; it still recovers.

    Example: avih keys suspend 4f2a --reason "laptop not found yet"
    """
    _change(store, key_id, "suspended", reason, dry_run, as_json, debug)


def deactivate(
    key_id: KeyArgument,
    reason: NeededReason,
    dry_run: DryRunOption = False,
    store: StoreOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """End the use of a key; it still recovers, and never protects again.

    Example: avih keys deactivate 4f2a --reason "no gallery of ours any more"
    """
    _change(store, key_id, "deactivated", reason, dry_run, as_json, debug)


def compromise(
    key_id: KeyArgument,
    reason: NeededReason,
    dry_run: DryRunOption = False,
    store: StoreOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Mark a key that others have, or have enough pairs of; it still recovers, so that you can move away.

    Example: avih keys compromise 4f2a --reason "backup found outside"
    """
    _change(store, key_id, "compromised", reason, dry_run, as_json, debug)


def _change(
    store: str | None, key_id: str, state: str, reason: str, dry_run: bool, as_json: bool, debug: bool
) -> None:
    from avih.keys import KeyStore
    from avih.naming import Store

    with explained(debug):
        from avih.key_use import versions_of_key
        from tasks.create_key import default_actor

        place = Store.open(store)
        if dry_run:
            from tasks.would_keys import would_transition

            would = would_transition(store=place, key_id=key_id, to=state, reason=reason)
            nothing_changed(f"key {would['key_id']}: {would['from']} -> {would['to']}", would, as_json)
            return
        record = KeyStore(place.keys).transition(key_id, state, actor=default_actor(), reason=reason)
        serving = sorted({use.gallery for use in versions_of_key(place, record.key_id) if use.current})
        facts = {"key_id": record.key_id, "state": str(record.state), "reason": reason, "serving": serving}
        print_json(facts) if as_json else table(f"key {record.key_id} is {record.state}", facts)
        for gallery in serving:
            err.print(
                f"note: {gallery} is current under this key; give it another: avih rotate --gallery {gallery}"
            )


def destroy(
    key_id: KeyArgument,
    reason: NeededReason,
    waiting_days: Annotated[
        int, typer.Option(min=0, help="Days since the key's last change of state.")
    ] = WAITING_DAYS,
    confirm: Annotated[
        str | None, typer.Option(help="The whole key id, for scripts.", show_default="asked for")
    ] = None,
    dry_run: DryRunOption = False,
    store: StoreOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Destroy a key that is out of use: what it protected is never recovered from the pictures again.

    Example: avih keys destroy 4f2a --reason "retention time is over"
    """
    from avih.keys import KeyStore
    from avih.naming import Store

    with explained(debug):
        from avih.key_destruction import destroy_key, plan_destruction
        from tasks.create_key import default_actor

        place = Store.open(store)
        keys = KeyStore(place.keys)
        planned = plan_destruction(place, keys, key_id, waiting_days=waiting_days)
        facts = _lost(planned) | {"destroyed": not dry_run}
        if not as_json:
            _show_lost(planned)
        if not dry_run:
            typed = confirm if confirm is not None else _ask(planned.key_id)
            destroy_key(keys, planned, confirmed=typed, actor=default_actor(), reason=reason)
        if as_json:
            print_json(facts)
        else:
            print(f"Nothing was changed (--dry-run): {planned.key_id} is {planned.state}." if dry_run
                  else f"Key {planned.key_id} is destroyed.")  # fmt: skip


def _lost(planned: "Destruction") -> dict[str, Any]:
    return {
        "key_id": planned.key_id,
        "state_before": str(planned.state),
        "since": planned.since.isoformat(),
        "unrecoverable_images": planned.images,
        "unrecoverable": [asdict(use) for use in planned.lost],
    }


def _show_lost(planned: "Destruction") -> None:
    title = f"destroying key {planned.key_id} makes {planned.images} images unrecoverable"
    rows: dict[str, object] = {
        f"{use.gallery} {use.version}{' (current)' if use.current else ''}": f"{use.images} images"
        for use in planned.lost
    }
    table(title, rows or {"protected under it": "nothing in this store"})
    err.print("Sealed originals stay as they are; copies of the key file in backups do, too.")


def in_terminal() -> bool:
    """Tell whether somebody is there to answer."""
    return sys.stdin.isatty()


def _ask(key_id: str) -> str:
    from avih.errors import UsageError

    if not in_terminal():
        raise UsageError(
            f"Expected somebody to type the key id, got no terminal. In a script, add: --confirm {key_id}"
        )
    return str(typer.prompt("Type the whole key id to destroy it", err=True))
