"""What ``--dry-run`` prints, the same for every command; what would be done is found out in ``tasks``."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import typer

from flows.cli.main import QUALITY
from flows.cli.output import err, print_json, table

if TYPE_CHECKING:
    from tasks.records import Record


def nothing_changed(title: str, would: "Mapping[str, Any] | Record", as_json: bool) -> None:
    """Show what would be done, and that nothing was."""
    facts = dict(would) if isinstance(would, Mapping) else would.model_dump(mode="json")
    if as_json:
        print_json({"dry_run": True} | facts)
        return
    table(title, {name.replace("_", " "): _text(value) for name, value in facts.items()})
    err.print("Nothing was changed (--dry-run).")


def leave_like_gates(reasons: Sequence[str]) -> None:
    """Leave as the command itself would where a gate is known to refuse already."""
    for reason in reasons:
        err.print(f"would not go live: {reason}", markup=False, soft_wrap=True)
    if reasons:
        raise typer.Exit(QUALITY)


def _text(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, (list, tuple)):
        return "\n".join(map(str, value)) or "-"
    return str(value)
