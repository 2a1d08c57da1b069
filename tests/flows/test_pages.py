"""Every code block of the manual: run as printed where that can be, else read by the program's own parser."""

import importlib.util
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from avih.datasets.synthetic import SyntheticFaces
from chromium import chromium
from command import PASSPHRASE, ROOT
from flows.cli import complete_app
from pages import PAGES, Block, Shell, avih_words, blocks_of
from small_audit import copied, light_settings
from small_methods import Gallery
from small_rotation import ATTACK, GATE

BLOCKS = [block for page in PAGES for block in blocks_of(page)]
LANGUAGES = {"bash", "python", "toml", "json", "yaml", "sql", "text"}
PATH = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
# Pages with a test of their own, which needs more than a small gallery.
OWN_TEST = {
    "docs/mlflow.md": "tests/flows/test_tracking.py",
    "docs/how-to/own-recogniser.md": "tests/flows/test_recognisers_command.py",
}
RUN = sorted(
    {block.page for block in BLOCKS if block.language == "bash" and not block.elsewhere} - set(OWN_TEST)
)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks that learn nothing, limits that everything keeps to: the commands are tested here, not figures."""
    import flows.rotate
    from avih import settings

    chosen = settings.preset
    loose = light_settings().evaluate.limits

    def small(*arguments: Any, **more: Any) -> Any:
        made = chosen(*arguments, **more)
        key = made.key.model_copy(update={"steps": 2, "width": 8, "blocks": 1, "batch_size": 2})
        evaluate = made.evaluate.model_copy(update={"limits": loose, "contact_sheet_images": 2})
        return made.model_copy(update={"key": key, "evaluate": evaluate})

    monkeypatch.setattr(settings, "preset", small)
    monkeypatch.setattr(flows.rotate, "AttackSettings", lambda: ATTACK)
    monkeypatch.setattr(flows.rotate, "GateSettings", lambda: GATE)


@pytest.fixture
def shell(light: Gallery, tmp_path: Path) -> Shell:
    """A shell that has a small live gallery where the pages speak of theirs."""
    own = copied(light, tmp_path)
    passphrase = tmp_path / "avih-passphrase"
    passphrase.write_text(PASSPHRASE)
    passphrase.chmod(0o600)
    (tmp_path / "backup").mkdir()
    person = sorted(path.name for path in light.photos.iterdir())[0]
    standing_for = {
        "/srv/avih": str(own.root / "store"), "/backup/avih": str(tmp_path / "backup" / "avih"),
        "/tmp/restored": str(tmp_path / "restored"), "staff": "people", "PERSON": person,
        "PHOTOS": str(light.photos), "photos/": str(light.photos),
    }  # fmt: skip
    environment = {"AVIH_STORE": str(own.root / "store"), "AVIH_KEY_FILE": str(passphrase), "PATH": PATH}
    return Shell(tmp_path, standing_for, environment)


@pytest.mark.parametrize("page", [page for page in RUN if page != "docs/tutorial.md"])
def test_the_commands_of_a_page_work_as_printed(page: str, shell: Shell) -> None:
    for block in blocks_of(page):
        if block.language == "bash" and not block.elsewhere:
            shell.run(block)


def test_the_tutorial_works_from_its_first_line_to_its_last(prefect_server: None, tmp_path: Path) -> None:
    shell = Shell(tmp_path, {}, {"PATH": PATH})
    for block in blocks_of("docs/tutorial.md"):
        if block.language == "bash" and not block.elsewhere:
            shell.run(block)


def test_every_block_names_its_language() -> None:
    assert not [str(block) for block in BLOCKS if block.language not in LANGUAGES]


def test_a_block_that_is_not_run_says_why_and_a_test_it_names_is_there() -> None:
    named = [
        word.strip(",;.") for block in BLOCKS for word in block.elsewhere.split() if word.startswith("tests/")
    ]
    assert named and all((ROOT / name.split("::")[0]).exists() for name in (*named, *OWN_TEST.values()))


@pytest.mark.parametrize("block", [one for one in BLOCKS if one.language == "bash"], ids=str)
def test_commands_are_ones_that_the_program_has(block: Block) -> None:
    subprocess.run(["bash", "-n"], input=block.text, text=True, check=True)
    for words in avih_words(block):
        parsed(words)
    for module in re.findall(r"python -m ([\w.]+)", block.text):
        assert importlib.util.find_spec(module), module


def parsed(words: list[str]) -> None:
    """Let the command's own parser read the words; nothing is run."""
    command, path = typer.main.get_command(complete_app()), []
    while hasattr(command, "commands"):
        if words == ["--help"] or words == ["--version"]:
            return
        path.append(words[0])
        command, words = command.commands[words[0]], words[1:]
    if "--help" not in words:
        command.make_context(" ".join(path), list(words))


@pytest.mark.parametrize(
    "block", [one for one in BLOCKS if one.language in ("toml", "json", "yaml")], ids=str
)
def test_data_can_be_read(block: Block) -> None:
    reader: dict[str, Callable[[str], object]] = {
        "toml": tomllib.loads, "json": json.loads, "yaml": yaml.safe_load,
    }  # fmt: skip
    assert reader[block.language](block.text)


PROGRAMS = [one for one in BLOCKS if one.language == "python" and one.page not in OWN_TEST]


@pytest.mark.parametrize("block", PROGRAMS, ids=str)
def test_programs_run(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(block.text, str(block), "exec"), {"__name__": "page"})


def test_the_reader_of_the_manual_reads_badges_as_it_says(tmp_path: Path) -> None:
    block, = [one for one in PROGRAMS if one.page == "docs/how-to/own-data-set.md"]  # fmt: skip
    from avih.datasets.base import Listing

    space: dict[str, Any] = {}
    exec(compile(block.text, str(block), "exec"), space)
    SyntheticFaces(persons=1, photos_per_person=2).write(tmp_path / "drawn")
    photos = sorted((tmp_path / "drawn").rglob("*.png"))
    (tmp_path / "badges").mkdir()
    for number, path in enumerate(photos):
        path.rename(tmp_path / "badges" / f"10{number}_front.png")

    listing = Listing.of(tmp_path / "badges")
    opened = space["BadgePhotos"](tmp_path / "badges", listing)

    assert space["BadgePhotos"].recognises(listing)
    assert sorted(photo.person for photo in opened.photos()) == ["100", "101"]


def test_the_card_of_the_manual_is_a_card(tmp_path: Path) -> None:
    from avih.datasets.cards import load_card

    block = next(one for one in blocks_of("docs/how-to/own-data-set.md") if one.language == "toml")
    (tmp_path / "door-photos.toml").write_text(block.text)
    assert load_card("door-photos", folder=tmp_path).archives[0].unpack_as == "doors"


@pytest.fixture(scope="module")
def manual(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The manual as ``make docs`` builds it; a link that leads nowhere ends the build."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    yield folder


def test_the_manual_has_every_command_setting_and_error(manual: Path) -> None:
    from docs.manual.commands import commands
    from docs.manual.exit_codes import kinds
    from docs.manual.settings import models

    page = {
        name: (manual / "reference" / f"{name}.html").read_text()
        for name in ("commands", "settings", "exit-codes")
    }
    assert not [words for words, _ in commands() if f"avih {words}<" not in page["commands"]]
    assert not [
        name for model in models() for name in model.model_fields if f">{name}<" not in page["settings"]
    ]
    assert not [kind.__name__ for kind in kinds() if kind.__name__ not in page["exit-codes"]]


def test_the_manual_needs_no_network(manual: Path) -> None:
    fetched = [
        f"{path.name}: {mark}"
        for path in manual.rglob("*.html")
        for mark in ('src="http', 'src="//', 'rel="stylesheet" href="http', "fonts.googleapis", "unpkg.com")
        if mark in path.read_text()
    ]
    assert not fetched


def test_search_works_on_pages_that_were_opened_from_a_disk(manual: Path, tmp_path: Path) -> None:
    said = chromium(tmp_path).dom(manual / "reference" / "exit-codes.html", query="?q=veil")
    found = re.search(r"(\d+) matching documents", said)
    assert found and int(found[1]) > 3
    assert 'class="md-search-result__item"' in said
