"""Code blocks of the manual's pages: what they are, and a shell that runs them where nothing can be harmed."""

import os
import re
import shlex
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from click.testing import Result
from typer.testing import CliRunner

from command import ROOT
from flows.cli import complete_app
from tasks import opened

PAGES = tuple(
    sorted(
        str(path.relative_to(ROOT))
        for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"))
        if "manual" not in path.parts
    )
)
ELSEWHERE = re.compile(r"<!-- elsewhere: (?P<reason>.+) -->")
STAYING = ("show", "server", "dask")
_VARIABLES = r"(?:[A-Z_][A-Z0-9_]*=\S*\s+)*"
_AVIH = re.compile(rf"^(?P<set>{_VARIABLES})avih (?P<words>[^|>;&]*)$")
_END = "---- environment ----"


@dataclass(frozen=True)
class Block:
    """One fenced block; ``elsewhere`` is why it cannot be run here, from the comment before it."""

    page: str
    line: int
    language: str
    text: str
    elsewhere: str = ""

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    def commands(self) -> Iterator[str]:
        """Go through the commands of a shell block: continued lines and open quotes joined, no comments."""
        begun = ""
        for line in self.text.replace("\\\n", " ").splitlines():
            begun += re.sub(r"(^|\s)#.*$", "", line).rstrip()
            if _quotes_are_open(begun):
                begun += "\n"
                continue
            if begun.strip():
                yield begun.strip()
            begun = ""
        assert not begun, f"{self}: a quote is not closed"


def blocks_of(page: str) -> list[Block]:
    """Return the fenced blocks of a page, in its order."""
    found, lines = [], (ROOT / page).read_text(encoding="utf-8").splitlines()
    opening, before = None, ""
    for number, line in enumerate(lines, start=1):
        if not line.strip().startswith("```"):
            before = line.strip() or before if opening is None else before
            continue
        if opening is None:
            opening, start = line.strip().strip("`").strip(), number
            indent = len(line) - len(line.lstrip())
            continue
        text = "\n".join(one[indent:] for one in lines[start : number - 1])
        away = ELSEWHERE.fullmatch(before)
        found.append(Block(page, start, opening, text, away["reason"] if away else ""))
        opening, before = None, ""
    assert opening is None, f"{page}: a block is not closed"
    return found


def _quotes_are_open(text: str) -> bool:
    try:
        shlex.split(text)
    except ValueError:
        return True
    return False


class Shell:
    """A shell for one page: ``avih`` runs in this process, everything else in bash, all below one folder."""

    def __init__(self, folder: Path, standing_for: Mapping[str, str], environment: Mapping[str, str]) -> None:
        self.folder = folder
        self.standing_for = standing_for
        self.umask = "0022"
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("AVIH_")}
        self.environment = inherited | {"HOME": str(folder), "PYTHONPATH": str(ROOT), **environment}

    def run(self, block: Block) -> None:
        """Run a block line by line; a line that fails is an error that names it."""
        for line in block.commands():
            for printed, ours in self.standing_for.items():
                line = re.sub(rf"(?<![\w/-]){re.escape(printed)}(?![\w-])", ours, line)
            asked = _AVIH.match(line)
            code, said = self._avih(asked) if asked else self._bash(line)
            assert code == 0, f"{block}: {line}\nexit code {code}\n{said}"

    def _bash(self, line: str) -> tuple[int, str]:
        script = f"umask {self.umask}\n{line}\necho '{_END}'; umask; env -0"
        done = subprocess.run(
            ["bash", "-e", "-c", script], cwd=self.folder, env=self.environment, capture_output=True, text=True,
            stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
        said, _, after = done.stdout.partition(f"{_END}\n")
        if done.returncode == 0:
            self.umask, _, after = after.partition("\n")
            self.environment = dict(one.split("=", 1) for one in after.split("\0") if "=" in one)
        return done.returncode, said + done.stderr

    def _avih(self, asked: re.Match[str]) -> tuple[int, str]:
        words = self._expanded(asked["words"])
        stays = words[0] in STAYING and not {"--out", "--dry-run", "--help"} & set(words)
        assert not stays, f"{words} stays until Ctrl-C: give its block an elsewhere comment"
        own = dict(one.split("=", 1) for one in self._expanded(asked["set"]))
        before = dict(os.environ), Path.cwd()
        opened.forget()
        try:
            os.environ.clear()
            os.environ.update(self.environment | own)
            os.chdir(self.folder)
            done: Result = CliRunner().invoke(complete_app(), words)
        finally:
            os.environ.clear()
            os.environ.update(before[0])
            os.chdir(before[1])
        return done.exit_code, done.output + (repr(done.exception) if done.exception else "")

    def _expanded(self, words: str) -> list[str]:
        """Let bash expand variables, quotes and patterns."""
        done = subprocess.run(
            ["bash", "-c", f"printf '%s\\0' {words}"], cwd=self.folder, env=self.environment, capture_output=True,
            text=True, check=True,
        )  # fmt: skip
        return [one for one in done.stdout.split("\0") if one]


def avih_words(block: Block) -> Iterator[list[str]]:
    """Go through the ``avih`` commands of a block as words, without running them."""
    for line in block.commands():
        if asked := _AVIH.match(line):
            yield shlex.split(asked["words"])
