"""Every command: an example that parses, help for every option, one name for one thing, nothing heavy."""

import shlex
import subprocess
import sys
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from command import ROOT
from flows.cli import complete_app
from flows.cli.layout import PANEL_OF

LONG_RUNNING = {
    "avih show",
    "avih server",
    "avih dask scheduler",
    "avih dask worker",
}  # they tell no facts at an end
READ_ONLY = {
    "avih plan", "avih status", "avih methods", "avih recognisers", "avih recognisers list",
    "avih recognisers check", "avih datasets", "avih datasets list", "avih alerts", "avih verify",
    "avih gallery list", "avih gallery show", "avih gallery diff", "avih keys list",
    "avih keys show", "avih keys status",
} | (LONG_RUNNING - {"avih server"})  # fmt: skip


def _walk(command: Any, name: str) -> list[tuple[str, Any]]:
    inner = getattr(command, "commands", None)
    if inner is None:
        return [(name, command)]
    alone = [(name, command)] if command.invoke_without_command and name != "avih" else []
    return alone + [found for key, one in inner.items() for found in _walk(one, f"{name} {key}")]


COMMANDS = dict(_walk(get_command(complete_app()), "avih"))


def _options(command: Any) -> dict[str, Any]:
    return {text: one for one in command.params for text in one.opts if text.startswith("-")}


def _example(command: Any) -> str:
    """The text after ``Example:``, its lines joined."""
    lines = (command.help or "").split("Example:")
    assert len(lines) == 2, "one Example: is wanted"
    return " ".join(lines[1].split())


@pytest.mark.parametrize("name", [name for name in COMMANDS if not hasattr(COMMANDS[name], "commands")])
def test_its_example_is_one_that_it_accepts(name: str) -> None:
    words = shlex.split(_example(COMMANDS[name]))
    while "=" in words[0]:  # variables before the command
        words.pop(0)
    called = name.split()
    assert words[: len(called)] == called
    COMMANDS[name].make_context(name, words[len(called) :])  # parses, and refuses what it does not know


@pytest.mark.parametrize("name", COMMANDS)
def test_its_options_are_all_explained_and_the_usual_ones_are_there(name: str) -> None:
    command = COMMANDS[name]
    unexplained = [one.name for one in command.params if not one.help and one.name != "help"]
    assert not unexplained
    options = _options(command)
    assert "--debug" in options
    assert ("--json" in options) is (name not in LONG_RUNNING)
    assert ("--dry-run" in options) is (name not in READ_ONLY)


def test_the_same_thing_has_the_same_name_everywhere() -> None:
    names: dict[str, set[str]] = {}
    helps: dict[str, set[str]] = {}
    for command in COMMANDS.values():
        for one in command.params:
            if one.opts[0].startswith("-"):
                names.setdefault(one.name, set()).add("/".join(one.opts))
                helps.setdefault(one.name, set()).add(str(one.help))
    assert not {name: texts for name, texts in names.items() if len(texts) > 1}
    assert all(
        len(helps[name]) == 1 for name in ("store", "as_json", "debug", "dry_run", "runner", "dask_address")
    )


@pytest.mark.parametrize(
    "words",
    [["drill", "staff"], ["drill", "--gallery", "staff"], ["drill", "--gallery=staff"], ["nightly", "staff"],
     ["nightly", "--gallery", "staff"], ["nightly", "staff", "--store", "staff"],
     ["gallery", "diff", "v0001", "v0002", "--gallery", "staff"], ["gallery", "diff", "staff", "v0001", "v0002"],
     ["verify", "staff"], ["rotate", "--reason", "test", "staff"]],
)  # fmt: skip
def test_the_gallery_is_given_either_way(words: list[str]) -> None:
    name = "avih gallery diff" if words[0] == "gallery" else f"avih {words[0]}"
    context = COMMANDS[name].make_context(name, words[len(name.split()) - 1 :])
    assert context.params["gallery"] == "staff"
    assert context.params.get("before", "v0001") == "v0001"


def test_a_word_too_many_is_refused_as_before() -> None:
    for words in (
        ["nightly", "staff", "again"],
        ["nightly", "--gallery", "staff", "again"],
        ["drill", "a", "b"],
    ):
        refused = CliRunner().invoke(complete_app(), words)
        assert refused.exit_code == 2 and "unexpected extra argument" in " ".join(refused.output.split())


def test_the_help_shows_commands_in_the_order_in_which_people_meet_them() -> None:
    shown = CliRunner().invoke(complete_app(), ["--help"]).output
    first = {name.split()[1] for name in COMMANDS}
    assert first == set(PANEL_OF)  # none was forgotten
    places = [
        shown.index(f"│ {name} ") for name in ("run", "plan", "status", "nightly", "keys", "lab", "dask")
    ]
    assert places == sorted(places)
    titles = [shown.index(f" {title} ─") for title in dict.fromkeys(PANEL_OF.values())]
    assert titles == sorted(titles)


def test_help_of_every_command_loads_nothing_heavy() -> None:
    code = """
import sys
from typer.testing import CliRunner
from flows.cli import complete_app
for words in sys.argv[1:]:
    shown = CliRunner().invoke(complete_app(), [*words.split()[1:], "--help"])
    assert shown.exit_code == 0 and "Usage" in shown.output, words
print([name for name in ("torch", "prefect", "mlflow", "pandas", "numpy") if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", code, "avih", *COMMANDS], capture_output=True, text=True, cwd=ROOT
    )
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr
