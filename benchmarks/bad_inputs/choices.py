"""Bad choices of a user: settings of a deployment's form, and the command line."""

import importlib
import os
import pkgutil
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any, Final
from unittest import mock

import typer
from pydantic import BaseModel
from typer.testing import CliRunner

import flows.cli
from avih import naming
from avih.settings import (
    AlignSettings,
    EvaluateSettings,
    IndexSettings,
    KeySettings,
    ProtectSettings,
    RunSettings,
    preset,
)
from benchmarks.bad_inputs.kind import BadInput, Said
from benchmarks.bad_inputs.small_store import WORDS, write_store

NAN, INFINITY = float("nan"), float("inf")
SETTINGS: Final[dict[str, tuple[type[BaseModel], dict[str, Any]]]] = {
    "an unknown field": (IndexSettings, {"password": "x"}),
    "an unknown field further in": (RunSettings, {"protect": {"seed_of_the_mixing": 3}}),
    "a word for a number": (IndexSettings, {"shard_size": "many"}),
    "a list for a number": (KeySettings, {"steps": [1, 2]}),
    "a fraction for a count": (KeySettings, {"steps": 1.5}),
    "nothing for a number": (KeySettings, {"learning_rate": None}),
    "a number for a choice": (KeySettings, {"architecture": 7}),
    "another choice": (ProtectSettings, {"recovery": "magic"}),
    "not a number": (KeySettings, {"learning_rate": NAN}),
    "infinite": (ProtectSettings, {"step_size": INFINITY}),
    "infinite as a word": (ProtectSettings, {"step_size": "Infinity"}),
    "infinite below 0": (KeySettings, {"l1_weight": -INFINITY}),
    "0 of what there must be one of": (IndexSettings, {"shard_size": 0}),
    "below 0": (EvaluateSettings, {"seed": -1}),
    "above 1": (AlignSettings, {"minimum_confidence": 1.5}),
    "a network without end": (KeySettings, {"width": 10**30}),
    "a batch without end": (KeySettings, {"batch_size": 10**9}),
    "a count without end": (IndexSettings, {"shard_size": 10**40}),
    "options of another method": (ProtectSettings, {"options": {"alpha": 0.5}}),
    "a method that is none": (ProtectSettings, {"method": "os.system"}),
    "a crop that does not fit": (KeySettings, {"crop": 17}),
    "settings that are a word": (RunSettings, {"index": "fast"}),
}  # fmt: skip
GOOD: Final = ("--source", "synthetic", "--recogniser", "synthetic")
COMMANDS: Final[dict[str, tuple[str, ...]]] = {
    "an unknown command": ("protekt",),
    "an unknown option": ("run", *GOOD, "--passphrase", "x"),
    "an option without a value": ("run", "--source"),
    "a source that is not there": ("run", "--source", "/nowhere", "--recogniser", "synthetic"),
    "a source that is a file": ("run", "--source", "/etc/passwd", "--recogniser", "synthetic"),
    "a source of no name": ("run", "--source", "", "--recogniser", "synthetic"),
    "a source with a zero byte": ("run", "--source", "a\0b", "--recogniser", "synthetic"),
    "an unknown card": ("run", "--source", "synthetic", "--recogniser", "../../card"),
    "a card that is not there": ("run", "--source", "synthetic", "--recogniser", "/nowhere.toml"),
    "an unknown preset": ("run", *GOOD, "--preset", "quick"),
    "an unknown recovery": ("run", *GOOD, "--recovery", "magic"),
    "an unknown method": ("run", *GOOD, "--method", "blur"),
    "an unknown layout": ("run", *GOOD, "--layout", "tree"),
    "a gallery with a path": ("run", *GOOD, "--gallery", "../../etc"),
    "a gallery with capitals": ("run", *GOOD, "--gallery", "Staff"),
    "a gallery of 64 letters": ("run", *GOOD, "--gallery", "x" * 64),
    "a limit of 0": ("run", *GOOD, "--limit", "0"),
    "a limit that is not a number": ("run", *GOOD, "--limit", "nan"),
    "a limit below 0": ("run", *GOOD, "--limit", "-5"),
    "shards of 0 photos": ("run", *GOOD, "--shard-size", "0"),
    "0 photos per veil": ("run", *GOOD, "--method", "person_veil", "--photos-per-veil", "0"),
    "a version that is none": ("verify", "--gallery", "people", "--version", "../v0001"),
    "a version of 5,000 digits": ("verify", "--gallery", "people", "--version", "v" + "9" * 5000),
    "a gallery that is not there": ("verify", "--gallery", "nobody"),
    "a part 0 of 0": ("verify", "--read-data-subset", "0/0"),
    "a part 8 of 7": ("verify", "--read-data-subset", "8/7"),
    "a part that is a word": ("verify", "--read-data-subset", "half"),
    "a key that is not there": ("keys", "show", "0123abcd"),
    "a key of no name": ("keys", "show", ""),
    "a key with a path": ("keys", "show", "../../../etc/passwd"),
    "a threshold that is not a number": ("drill", "people", "--threshold", "nan"),
    "a drill of 0 pictures": ("drill", "people", "--sample", "0"),
    "versions that are not there": ("gallery", "diff", "people", "v0001", "v9999"),
    "a person of no name": ("erase", "--gallery", "people", "--person", ""),
}
NAMES: Final[dict[str, Callable[[], object]]] = {
    "a gallery of no name": lambda: naming.gallery_name(""),
    "a gallery with a line feed": lambda: naming.gallery_name("people\n"),
    "a version below 1": lambda: naming.version_name(-1),
    "a version of 5,000 digits": lambda: naming.version_number("v" + "1" * 5000),
    "a version in other digits": lambda: naming.version_number("v\u0661\u0661\u0661\u0661"),
    "a shard of 5,000 digits": lambda: naming.ShardAddress.parse(f"2_aligned/people/v0001/{'1' * 5000}.tar"),
    "a shard above its gallery": lambda: naming.ShardAddress.parse("2_aligned/../v0001/00000.tar"),
    "a preset's steps below 1": lambda: preset("fast", key_steps=-3),
}


def kinds() -> list[BadInput]:
    """Return every kind of bad choice."""
    found = [
        BadInput(f"settings: {name}", "settings", "ValidationError|UsageError", lambda _: None,
                 _taken(partial(model, **values)))
        for name, (model, values) in SETTINGS.items()
    ]  # fmt: skip
    found += [
        BadInput(f"name: {name}", "settings", "UsageError|ValidationError", lambda _: None,
                 _taken(call))
        for name, call in NAMES.items()
    ]  # fmt: skip
    return found + [BadInput(f"command: {name}", "command line", "exit 2", write_store, _call(arguments))
                    for name, arguments in COMMANDS.items()]  # fmt: skip


def _taken(choose: Callable[[], object]) -> Callable[[Path, object], Said]:
    return lambda _, __: ("read", repr(choose()))


@cache
def whole_app() -> typer.Typer:
    """Return the command line with all its commands."""
    for module in pkgutil.iter_modules(flows.cli.__path__):
        importlib.import_module(f"flows.cli.{module.name}")
    app: typer.Typer = importlib.import_module("flows.cli.main").app
    return app


def _call(arguments: tuple[str, ...]) -> Callable[[Path, object], Said]:
    """Call the command in this process; it must end with its exit code and a sentence."""

    def take(folder: Path, _: object) -> Said:
        variables = {"AVIH_STORE": str(folder), "AVIH_PASSPHRASE": WORDS, "AVIH_KEY_FILE": ""}
        with mock.patch.dict(os.environ, variables):
            ended = CliRunner().invoke(whole_app(), list(arguments))
        if ended.exception and not isinstance(ended.exception, SystemExit):
            raise ended.exception
        assert "Traceback" not in ended.output, ended.output
        return f"exit {ended.exit_code}", ended.output

    return take
