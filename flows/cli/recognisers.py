"""``avih recognisers``: the cards that come with avih, and the check of a card of your own."""

from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.main import app
from flows.cli.options import DebugOption, JsonOption
from flows.cli.output import clean_stdout, err, explained, print_json, table

if TYPE_CHECKING:
    from avih.recognisers.findings import Checked

WIDTH = 118  # of a line of the check

recognisers_app = typer.Typer(help="List the recogniser cards that come with avih, or check one of your own.")
app.add_typer(recognisers_app, name="recognisers")


@recognisers_app.callback(invoke_without_command=True)
def recognisers(context: typer.Context, as_json: JsonOption = False, debug: DebugOption = False) -> None:
    """List the recogniser cards that come with avih, or check one of your own.

    Example: avih recognisers --json
    """
    if context.invoked_subcommand is None:
        with explained(debug):
            _list(as_json)


@recognisers_app.command(name="list")
def list_recognisers(as_json: JsonOption = False, debug: DebugOption = False) -> None:
    """List the recogniser cards that come with avih.

    Example: avih recognisers list
    """
    with explained(debug):
        _list(as_json)


@recognisers_app.command()
def check(
    card: Annotated[str, typer.Argument(help="A card's name (see avih recognisers), or its file.")],
    weights: Annotated[Path | None, typer.Option(help="Weights, where the card does not bring them.")] = None,
    photos: Annotated[
        Path | None, typer.Option(help="Folder of photos of persons you know, a folder for each person.")
    ] = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Say in words what is wrong with a recogniser's card: colours, range, size, alignment, probe, network.

    It runs the code of a card with architecture python:. Exit codes: 0 usable, 2 not like this, 3 other weights
    or another probe.

    Example: avih recognisers check mine.toml --photos known_people/
    """
    with explained(debug):
        from avih.recognisers.check import check_recogniser

        with clean_stdout():
            checked = check_recogniser(card=card, weights=weights, photos=photos)
        print_json(checked.as_dict()) if as_json else _show(checked)
    if checked.exit_code:
        raise typer.Exit(checked.exit_code)


def _show(checked: "Checked") -> None:
    for finding in checked.findings:
        _line(finding.state, f"{finding.what}:", finding.text)
        if finding.do:
            _line("", "-> do:", finding.do)
    if checked.scores:
        rows = {
            str(one["name"]): f"{one['rank_1']:.1%} named right, area {one['area']:.3f}, "
            f"cosine {one['same']:.2f} / {one['other']:.2f}"
            for one in checked.scores
        }
        table("on the photos", rows)
    if checked.probe:
        print(f"\n{checked.probe}", end="")
    wrong = sum(finding.state == "wrong" for finding in checked.findings)
    err.print(f"{checked.card}: {wrong} wrong." if wrong else f"{checked.card}: nothing wrong.", markup=False)


def _line(state: str, what: str, text: str) -> None:
    """Print a line of the check, the rest below its beginning where it is long."""
    head = f"{state:<8} {what:<14} "
    lines = wrap(text, WIDTH - len(head), break_long_words=False, break_on_hyphens=False)
    print(head + f"\n{'':<{len(head)}}".join(lines))


def _list(as_json: bool) -> None:
    from avih.recognisers import bundled_cards, read_card

    cards = {name: read_card(name) for name in bundled_cards()}
    if as_json:
        print_json({"recognisers": [card.model_dump(mode="json") for card in cards.values()]})
    else:
        table("recognisers", {name: card.description for name, card in cards.items()})
