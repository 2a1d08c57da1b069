"""``avih nightly`` and ``avih rotate``: the two jobs that a gallery lives on, by hand."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from flows.cli.complete import complete_cards, complete_words
from flows.cli.dry import leave_like_gates, nothing_changed
from flows.cli.key_changes import GateLimitOption
from flows.cli.main import app, leave_if_failed, prepare_flows
from flows.cli.options import DebugOption, DryRunOption, GalleryOption, JsonOption, StoreOption
from flows.cli.output import clean_stdout, err, explained, print_json, progress_bars, table
from flows.cli.runner import (
    AddressOption,
    ProcessesOption,
    ResourceOption,
    RunnerOption,
    runner_settings,
)

if TYPE_CHECKING:
    from avih.settings import RunnerSettings
    from flows.rotate import Rotation
    from tasks.rotation_plan import Approve, Origin

SETS = ("prior", "control", "old_key", "same_key_other_images", "new_key")


@app.command()
def nightly(
    gallery: GalleryOption,
    runner: RunnerOption = None,
    dask_address: AddressOption = None,
    resource: ResourceOption = None,
    processes: ProcessesOption = None,
    dry_run: DryRunOption = False,
    store: StoreOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Protect what changed in the source since the current version, and put it live if it passes the gates.

    Example: avih nightly --gallery staff
    """
    from avih.naming import Store

    with explained(debug):
        place = Store.open(store)
        chosen = runner_settings(runner, dask_address, resource, processes)
        prepare_flows(place)
        if dry_run:
            _would_change(place, gallery, chosen, as_json)
            return
        from flows.nightly import nightly_reprotect

        with clean_stdout(), progress_bars():
            done = nightly_reprotect(store=place.address, gallery=gallery, runner=chosen)
        facts: dict[str, Any] = done.model_dump(mode="json", exclude={"made"})
        if done.made:
            facts |= {"images": done.made.summary.counts, "metrics": done.made.summary.metrics,
                      "mlflow_run_id": done.made.run.run_id}  # fmt: skip
        if as_json:
            print_json(facts)
        elif done.changed_anything:
            table(f"{gallery} {done.version} is live", {k: v for k, v in facts.items() if k != "metrics"})
        else:
            print(
                f"Nothing changed in the source of {gallery}; {done.version} stays current, nothing was done."
            )
    leave_if_failed(done.made.summary.counts if done.made else {})


def _would_change(place: Any, gallery: str, runner: "RunnerSettings | None", as_json: bool) -> None:
    from tasks.would_run import would_change

    with clean_stdout(), progress_bars():
        would = would_change(store=place, gallery=gallery, runner=runner)
    nothing_changed(f"a night of {gallery}: {would.current or 'none'} -> {would.version}", would, as_json)
    leave_like_gates(would.reasons)


@app.command()
def rotate(
    gallery: GalleryOption,
    reason: Annotated[str, typer.Option(help="Why, for the key's log.")] = "rotated by hand",
    approve: Annotated[
        str,
        typer.Option(
            help="auto: go live if all passes. ask: wait for a yes.",
            autocompletion=complete_words("auto", "ask"),
        ),
    ] = "auto",
    origin: Annotated[
        str,
        typer.Option("--from", help="sealed: the sealed originals. recovered: what the old key recovers."),
    ] = "sealed",
    compromised: Annotated[
        bool,
        typer.Option("--compromised", help="Others have the old key: mark it so, keep none of its versions."),
    ] = False,
    retrain_generator: Annotated[
        bool, typer.Option("--retrain-generator", help="Train a new generator too (unmixed: always).")
    ] = False,
    only_if_due: Annotated[
        bool, typer.Option("--only-if-due", help="Only when age or leak budget say so.")
    ] = False,
    second_card: Annotated[
        str | None,
        typer.Option(
            "--second-recogniser",
            help="Card of a recogniser for the attack check.",
            autocompletion=complete_cards,
        ),
    ] = None,
    second_weights: Annotated[Path | None, typer.Option(help="Its weights.")] = None,
    gate_limit: GateLimitOption = 0.15,
    drop: Annotated[
        bool, typer.Option("--give-up", help="Drop the rotation that is under way; the old version stays.")
    ] = False,
    runner: RunnerOption = None,
    dask_address: AddressOption = None,
    resource: ResourceOption = None,
    processes: ProcessesOption = None,
    dry_run: DryRunOption = False,
    store: StoreOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Give a gallery a new key: protect again, measure, attack, promote, retire the old key. Resumable.

    Example: avih rotate --gallery staff --approve auto --json
    """
    from avih.naming import Store

    with explained(debug):
        place = Store.open(store)
        prepare_flows(place)
        from avih.errors import UsageError

        if approve not in ("auto", "ask") or origin not in ("sealed", "recovered"):
            raise UsageError(
                f"Expected --approve auto or ask and --from sealed or recovered, got {approve!r} and {origin!r}."
            )
        if drop and not dry_run:
            _give_up(place, gallery, reason)
            return
        from tasks.records import RecogniserChoice

        weights = str(second_weights.absolute()) if second_weights else None
        second = RecogniserChoice(card=second_card, weights=weights) if second_card else None
        if dry_run:
            chosen = {"only_if_due": only_if_due, "compromised": compromised, "origin": origin,
                      "retrain_generator": retrain_generator, "approve": approve, "second": second}  # fmt: skip
            _would_rotate(place, gallery, reason, None if drop else chosen, as_json)
            return
        from avih.key_gate import GateSettings
        from flows.rotate import rotate_keys

        gate = GateSettings(foreign_advantage=gate_limit)
        with clean_stdout(), progress_bars():
            done = rotate_keys(
                store=place.address, gallery=gallery, reason=reason, only_if_due=only_if_due,
                compromised=compromised, retrain_generator=retrain_generator, origin=cast("Origin", origin),
                approve=cast("Approve", approve), gate=None if gate == GateSettings() else gate,
                second=second, runner=runner_settings(runner, dask_address, resource, processes),
            )  # fmt: skip
        _report(done, as_json)
    leave_if_failed(done.made.summary.counts if done.made else {})


def _would_rotate(
    place: Any, gallery: str, reason: str, chosen: dict[str, Any] | None, as_json: bool
) -> None:
    from tasks.would_rotate import would_give_up, would_rotate

    with clean_stdout():
        if chosen is None:
            nothing_changed("would be given up", would_give_up(store=place, gallery=gallery), as_json)
            return
        would = would_rotate(store=place, gallery=gallery, reason=reason, **chosen)
    nothing_changed(f"a rotation of {gallery}", would, as_json)


def _give_up(place: Any, gallery: str, reason: str) -> None:
    from avih.errors import UsageError
    from tasks.create_key import default_actor
    from tasks.gallery_lock import gallery_lock
    from tasks.rotation import give_up
    from tasks.rotation_plan import read_plan

    with gallery_lock(place, gallery, purpose="giving up a rotation"):
        plan = read_plan(place, gallery)
        if plan is None:
            raise UsageError(f"Expected a rotation of {gallery} under way, got none. Nothing changes.")
        give_up(store=place.address, plan=plan, actor=default_actor(), reason=f"given up: {reason}")
    print(f"The rotation of {gallery} was given up; {plan.old_version} stays current.")


def outcome(done: "Rotation") -> dict[str, Any]:
    """Return the object that ``--json`` prints."""
    facts: dict[str, Any] = {"gallery": done.gallery, "rotated": done.rotated, "verdict": done.verdict,
                             "old_key": done.old_key, "new_key": done.new_key, "version": done.version,
                             "due": list(done.due), "notes": list(done.notes)}  # fmt: skip
    if done.attack_check:
        facts["attack_check"] = done.attack_check.model_dump(mode="json")
    if done.made:
        facts |= {"images": done.made.summary.counts, "metrics": done.made.summary.metrics}
    return facts


def _report(done: "Rotation", as_json: bool) -> None:
    if as_json:
        print_json(outcome(done))
        return
    if not done.rotated:
        print(f"Nothing was done to {done.gallery}: {'; '.join(done.notes)}.")
        return
    facts = outcome(done)
    table(
        f"{done.gallery}: {done.old_key} -> {done.new_key}, {done.version} is live", {"verdict": done.verdict}
    )
    attack = facts["attack_check"]
    table("attack check", {name: _figures(attack[name]) for name in SETS})
    for note in (*done.notes, *attack["notes"]):
        err.print(f"note: {note}", markup=False, soft_wrap=True)


def _figures(measured: dict[str, Any]) -> str:
    shown = {name: measured.get(name) for name in ("ssim", "ssim_advantage", "id_rate", "id_advantage")}
    return "  ".join(f"{name} {value:.3f}" for name, value in shown.items() if isinstance(value, float))
