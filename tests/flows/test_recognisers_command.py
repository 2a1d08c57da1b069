"""``avih recognisers``, and the page about one's own recogniser: its very blocks are saved and run."""

import json
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from avih.datasets.synthetic import SyntheticFaces
from avih.naming import Store
from avih.recognisers import bundled_cards
from avih.recognisers.card import CARDS_FOLDER
from command import ROOT, call
from flows.cli import complete_app
from tasks import opened
from tasks.run_record import load_run
from unorchestrated import without_prefect

PAGE = (ROOT / "docs/how-to/own-recogniser.md").read_text()
STATE_AND_QUESTION = 23  # characters at the start of a line of the check


def blocks(kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL)


def block_with(kind: str, text: str) -> str:
    return next(block for block in blocks(kind) if text in block)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything that the page has its reader write, with weights and photos beside it."""
    made = tmp_path_factory.mktemp("own")
    for block in (*blocks("toml"), *blocks("python")):
        (made / block.splitlines()[0].removeprefix("# ")).write_text(block)
    shutil.copy(CARDS_FOLDER.parent / "weights" / "synthetic.safetensors", made / "my_weights.safetensors")
    SyntheticFaces(persons=10, photos_per_person=3, first_person=300).write(made / "known_people")
    return made


@dataclass
class Reader:
    """Somebody who follows the page, in one process: importing torch for every line would take minutes."""

    folder: Path
    monkeypatch: pytest.MonkeyPatch
    capfd: pytest.CaptureFixture[str]

    def follow(self, block: str) -> list[tuple[int, str, str]]:
        """Run each line of a block; return exit code, output and messages of those with ``avih``."""
        self.monkeypatch.chdir(self.folder)
        said = []
        for line in block.splitlines():
            program, *words = shlex.split(line)
            if program == "avih":
                said.append(self.avih(*words))
            elif program == "python":
                self.monkeypatch.syspath_prepend(str(self.folder))
                runpy.run_path(words[0])
            else:
                subprocess.run(["bash", "-c", line], check=True)
        return said

    def avih(self, *words: str) -> tuple[int, str, str]:
        self.capfd.readouterr()
        code = complete_app()(list(words), standalone_mode=False) or 0
        return code, *self.capfd.readouterr()


@pytest.fixture
def reader(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[Reader]:
    yield Reader(folder, monkeypatch, capfd)
    sys.modules.pop("my_recogniser", None)


def heads(text: str) -> list[str]:
    """Return state and question of each line of a check, without the figures."""
    return [
        line[:STATE_AND_QUESTION]
        for line in text.splitlines()
        if line.startswith(("ok ", "warning ", "wrong "))
    ]


def test_they_are_listed_with_and_without_the_word(reader):
    plain = call("recognisers", "--json", passphrase=None)
    assert [card["name"] for card in json.loads(plain.stdout)["recognisers"]] == bundled_cards()
    assert reader.avih("recognisers", "list", "--json") == (0, plain.stdout, "")
    assert "mobilefacenet" in reader.avih("recognisers")[1]


def test_a_check_on_the_page_says_what_the_page_shows(reader):
    ((code, out, _),) = reader.follow(block_with("bash", "check my_recogniser.toml"))
    assert code == 0
    assert heads(out) == heads(block_with("text", "[probe]"))
    (digest,) = re.findall(r'sha256 = "\w{64}"', out)
    card = reader.folder / "proven.toml"
    card.write_text("\n".join([block_with("toml", "my_recogniser"), digest, out[out.rindex("[probe]") :]]))
    code, out, _ = reader.avih("recognisers", "check", str(card), "--json")
    assert code == 0 and {one["state"] for one in json.loads(out)["findings"]} == {"ok"}


def test_a_wrong_card_on_the_page_is_put_right_by_what_it_says(reader):
    ((code, out, messages),) = reader.follow(block_with("bash", "swapped.toml"))
    assert code == 2
    assert heads(out) == heads(block_with("text", "wrong "))
    assert 'Set colour_order = "RGB", and check again.' in out and "1 wrong" in messages


def test_the_other_cards_of_the_page(reader):
    checks = [one for text in ("my_script.toml", "my_classifier.toml")
              for one in reader.follow(block_with("bash", text))]  # fmt: skip
    assert len(checks) == 3
    for code, out, messages in checks:
        assert code == 0, out + messages
        assert {head.split()[0] for head in heads(out)} == {"ok", "warning"}
    code, out, _ = reader.avih("recognisers", "check", "no-such-card")
    assert code == 2 and "no-such-card" in out


def test_a_gallery_is_protected_with_the_owners_network(reader):
    """Align, key, protect and evaluate at 64x64, from a card that is named by a relative path."""
    opened.forget()
    reader.monkeypatch.setenv("AVIH_STORE", "")  # the command sets it; put back what was there
    with without_prefect():
        ((code, out, messages),) = reader.follow(block_with("bash", "avih run").replace("\n", " --json"))
    assert code == 0, messages
    told = json.loads(out)
    assert told["images"] == {"protected": 4, "below_quality": 0, "skipped": 0, "failed": 0}
    assert told["metrics"]["ssim_d"] > 0.9 and told["metrics"]["cos_min"] > 0.99
    record = load_run(store=Store(reader.folder / "my_store"), gallery="synthetic")
    assert record.recogniser.card == str(reader.folder / "my_recogniser.toml")
    assert record.settings.align.template == "64x64"
