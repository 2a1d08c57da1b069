"""The layout of ``avih --help``: commands in the order in which people meet them; and two ways to a gallery."""

from typing import Any, Final

import typer
from typer.core import TyperCommand, TyperGroup

PANELS: Final[dict[str, tuple[str, ...]]] = {
    "First": ("run", "plan", "show", "status", "recognisers", "datasets", "methods"),
    "Stages": ("protect", "evaluate", "recover"),
    "Every night": ("nightly", "gallery", "server", "alerts", "doctor", "erase"),
    "Keys": ("keys", "rotate"),
    "Evidence": ("lab", "verify", "drill", "reproduce"),
    "Elsewhere": ("dask",),
}
ORDER: Final = [name for names in PANELS.values() for name in names]
PANEL_OF: Final = {name: panel for panel, names in PANELS.items() for name in names}


class Ordered(TyperGroup):
    """Lists its commands in the order of the panels; others come last."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of the commands."""
        return sorted(self.commands, key=lambda name: ORDER.index(name) if name in ORDER else len(ORDER))


class EitherWay(TyperCommand):
    """Takes the gallery as its first word and as ``--gallery NAME``, whichever of the two its help shows."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Turn the other way into the one that the command declares."""
        declared = next((one for one in self.params if one.name == "gallery"), None)
        if declared is not None and declared.param_type_name == "argument":
            args = _as_first_word(args)
        return super().parse_args(ctx, args)

    def make_parser(self, ctx: Any) -> Any:
        """Return a parser that takes a word too many as the gallery, where nothing else takes words."""
        parser: Any = super().make_parser(ctx)
        declared = next((one for one in self.params if one.name == "gallery"), None)
        if declared is None or any(one.param_type_name == "argument" for one in self.params):
            return parser
        plain = parser.parse_args

        def parse_args(args: list[str]) -> Any:
            given, words, order = plain(args)
            if words and given.get("gallery") is None:
                given["gallery"] = words.pop(0)
                order.append(declared)
            return given, words, order

        parser.parse_args = parse_args
        return parser


def _as_first_word(args: list[str]) -> list[str]:
    for place, word in enumerate(args):
        if word == "--gallery" and place + 1 < len(args):
            return [args[place + 1], *args[:place], *args[place + 2 :]]
        if word.startswith("--gallery="):
            return [word.partition("=")[2], *args[:place], *args[place + 1 :]]
    return args


def lay_out(app: typer.Typer) -> None:
    """Give every command its panel, and every one that names a gallery both ways to do so."""
    entries: list[Any] = [*app.registered_commands, *app.registered_groups]
    for entry in entries:
        name = entry.name or (entry.callback.__name__ if callable(entry.callback) else "")
        entry.rich_help_panel = PANEL_OF.get(str(name), "Elsewhere")
    for typer_app in (app, *(group.typer_instance for group in app.registered_groups)):
        for command in typer_app.registered_commands if typer_app else ():
            command.cls = EitherWay
