"""Reference of the command line, from the commands themselves."""

from collections.abc import Iterator
from typing import Any

import typer

from docs.manual.markdown import table

INTRODUCTION = """# Commands

What `avih COMMAND --help` says, on one page. With `--json` standard output holds one object and nothing else;
messages and progress go to standard error. [Exit codes](exit-codes.md). Made from the code.

"""


def commands_page() -> str:
    """Return the page: each command with its arguments and options."""
    return INTRODUCTION + "\n".join(_section(words, command) for words, command in commands())


def commands() -> Iterator[tuple[str, Any]]:
    """Go through all commands: ``("gallery diff", command)``."""
    from flows.cli import complete_app

    yield from _below("", typer.main.get_command(complete_app()))


def _below(words: str, group: Any) -> Iterator[tuple[str, Any]]:
    for name, command in sorted(group.commands.items()):
        full = f"{words} {name}".strip()
        if hasattr(command, "commands"):
            yield from _below(full, command)
        elif not command.hidden:
            yield full, command


def _section(words: str, command: Any) -> str:
    context = typer.Context(command, info_name=f"avih {words}")
    usage = " ".join(command.collect_usage_pieces(context))
    said, _, example = (command.help or "").partition("Example:")
    lines = [
        f"## avih {words}",
        "",
        " ".join(said.split()),
        "",
        "```text",
        f"avih {words} {usage}",
        "```",
        "",
    ]
    if example:
        lines += ["```bash", " ".join(example.split()), "```", ""]
    rows = [_row(one, context) for one in command.params if one.name != "help"]
    return "\n".join(lines) + ("\n" + table(("option", "default", "what"), rows) if rows else "")


def _row(parameter: Any, context: Any) -> tuple[str, str, str]:
    names = ", ".join(f"`{one}`" for one in (*parameter.opts, *parameter.secondary_opts))
    if parameter.param_type_name == "argument":
        names = f"`{(parameter.metavar or parameter.name).upper()}`"
    variable = f" Variable: `{parameter.envvar}`." if getattr(parameter, "envvar", None) else ""
    return names, _default(parameter), f"{getattr(parameter, 'help', '') or ''}{variable}"


def _default(parameter: Any) -> str:
    if parameter.required:
        return "must be given"
    if isinstance(shown := getattr(parameter, "show_default", None), str):
        return shown
    value = parameter.default
    return "" if value is None or value is False or callable(value) else f"`{value}`"
