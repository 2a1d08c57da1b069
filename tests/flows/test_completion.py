"""Completion in bash, zsh and fish, from the store; output is plain in a pipe, coloured in a terminal."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from avih.methods.registry import facts_of
from command import ROOT

PROGRAM = "import sys; sys.argv[0] = 'avih'; from flows.cli import main; main()"
VARIABLES = {
    "bash": lambda line: {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split(" ")) - 1)},
    "zsh": lambda line: {"_TYPER_COMPLETE_ARGS": line},
    "fish": lambda line: {"_TYPER_COMPLETE_ARGS": line, "_TYPER_COMPLETE_FISH_ACTION": "get-args"},
}


def avih(*arguments: str, code: str = PROGRAM, **variables: str) -> subprocess.CompletedProcess[str]:
    hidden = ("AVIH_", "_AVIH", "_TYPER", "NO_COLOR", "FORCE_COLOR", "COLUMNS")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(hidden)} | {
        "PYTHONPATH": str(ROOT)
    }
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False,
                          env=environment | variables, stdin=subprocess.DEVNULL)  # fmt: skip


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Names alone: completion looks at nothing else."""
    root = tmp_path_factory.mktemp("names")
    for name in ("1_index/people/v0001", "1_index/people/v0002", "1_index/staff/v0007", "3_keys"):
        (root / name).mkdir(parents=True)
    for path in (root / "1_index").glob("*/*"):
        (path / "index.parquet").touch()
    for name in (
        "00112233aabbccdd.json",
        "00112233aabbccdd.budget.json",
        "00112233aabbccdd.key",
        "log.jsonl",
    ):
        (root / "3_keys" / name).touch()
    return root


@pytest.mark.parametrize("shell", VARIABLES)
def test_a_shell_completes_names_from_the_store(store: Path, shell: str) -> None:
    line = f"avih gallery show --store {store} pe"
    done = avih(_AVIH_COMPLETE=f"complete_{shell}", **VARIABLES[shell](line))
    assert "people" in done.stdout and "staff" not in done.stdout and not done.stderr
    script = avih(_AVIH_COMPLETE=f"source_{shell}")
    assert "_AVIH_COMPLETE" in script.stdout and f"complete_{shell}" in script.stdout


def test_every_kind_of_name_is_completed_and_nothing_is_said_without_a_store(
    store: Path, tmp_path: Path
) -> None:
    lines = {
        "gallery diff staff ": {"v0007"},
        "drill people --version v": {"v0001", "v0002"},
        "nightly --gallery ": {"people", "staff"},
        "keys show 0": {"00112233aabbccdd"},
        "run --method ": {"avih", "lie", "veil_privacy"},
        "run --recogniser syn": {"synthetic"},
        "lab people --attack fl": {"flips"},
        "lab people --profile ": {"quick", "full"},
    }
    code = """
import os, sys
from typer.main import get_command
from flows.cli import complete_app
from typer._completion_classes import BashComplete
from typer.testing import CliRunner
for line in sys.argv[1:]:
    words = f"avih {line}"
    os.environ |= {"COMP_WORDS": words, "COMP_CWORD": str(len(words.split(" ")) - 1)}
    shown = CliRunner().invoke(complete_app(), [], prog_name="avih", env={"_AVIH_COMPLETE": "complete_bash"})
    print("|".join(shown.stdout.split()), shown.stderr)
print([name for name in ("torch", "prefect", "mlflow", "pandas", "cryptography") if name in sys.modules])
"""
    *found, loaded = avih(*lines, code=code, AVIH_STORE=str(store)).stdout.splitlines()
    for line, told in zip(lines, found, strict=True):
        assert lines[line] <= set(told.strip().split("|")), line
    assert loaded == "[]"  # each Tab is a process of its own
    *found, _ = avih(*lines, code=code, AVIH_STORE=str(tmp_path / "none")).stdout.splitlines()
    assert [told.strip() for told in found[:4]] == [""] * 4 and not (tmp_path / "none").exists()


def test_completion_is_shown_and_installed_for_a_shell(tmp_path: Path) -> None:
    variables = {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1", "HOME": str(tmp_path)}
    shown = avih("--show-completion", "bash", **variables)
    assert shown.returncode == 0 and "_AVIH_COMPLETE=complete_bash" in shown.stdout, shown.stderr
    done = avih("--install-completion", "bash", **variables)
    assert done.returncode == 0 and "avih" in (tmp_path / ".bashrc").read_text(), done.stderr


def in_terminal(*arguments: str, **variables: str) -> str:
    """What a command shows in a terminal of 60 columns."""
    environment = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR", "CI")}
    environment |= {"PYTHONPATH": str(ROOT), "TERM": "xterm-256color", "COLUMNS": "60"} | variables
    ours, theirs = pty.openpty()
    with subprocess.Popen([sys.executable, "-c", PROGRAM, *arguments], stdin=theirs, stdout=theirs, stderr=theirs,
                          env=environment) as process:  # fmt: skip
        os.close(theirs)
        shown = b""
        while True:
            try:
                piece = os.read(ours, 65536)
            except OSError:  # the other end is closed
                break
            if not piece:
                break
            shown += piece
        process.wait()
    os.close(ours)
    return shown.decode()


def test_colours_are_for_terminals_and_lines_stay_whole_in_a_pipe(store: Path) -> None:
    piped = avih("methods", "avih")
    assert "\x1b" not in piped.stdout + piped.stderr
    lines = piped.stdout.splitlines()
    assert all(
        any(str(text) in line for line in lines) for text in facts_of("avih").as_dict().values() if text
    )
    refused = avih("gallery", "show", "nobody", "--store", str(store))
    assert refused.returncode == 2 and len(refused.stderr.splitlines()) == 1 and "\x1b" not in refused.stderr
    assert "\x1b[" in in_terminal("methods", "avih") and "\x1b[" in in_terminal("gallery", "show", "nobody")
    assert "\x1b" not in in_terminal("methods", "avih", NO_COLOR="1")
    assert "\x1b" not in in_terminal("methods", "avih", "--json")
