"""``avih methods``: what each protection method needs, gives and cannot do."""

from typing import Annotated

import typer

from flows.cli.complete import complete_methods
from flows.cli.main import app
from flows.cli.options import DebugOption, JsonOption
from flows.cli.output import explained, print_json, table


@app.command()
def methods(
    name: Annotated[
        str | None,
        typer.Argument(help="One method; without it all are shown.", autocompletion=complete_methods),
    ] = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """List the protection methods with what each needs, gives and cannot do.

    Example: avih methods veil_privacy
    """
    with explained(debug):
        from avih.methods.registry import METHODS, facts_of

        chosen = [facts_of(one) for one in ([name] if name else METHODS)]
        if as_json:
            print_json({"methods": [facts.as_dict() | {"use": METHODS[facts.name]} for facts in chosen]})
            return
        for facts in chosen:
            rows = {key: text for key, text in facts.as_dict().items() if key not in ("name", "title")}
            table(f"{facts.name}: {facts.title}", rows | {"use": METHODS[facts.name]})
