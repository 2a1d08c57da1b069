"""A gallery's life on the command line, over photos of every bad kind: all of it is read back afterwards."""

import json
import os
import stat
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess

import pandas as pd
import pytest
from typer.main import get_command
from typer.testing import CliRunner

from avih.datasets.synthetic import SyntheticFaces
from avih.keys import Passphrase
from avih.naming import Store
from benchmarks.bad_inputs.choices import whole_app
from benchmarks.bad_inputs.photos import write_all
from command import call
from read_back import Secrets, secrets_of, told
from tasks import opened
from tasks.align_shard import NO_FAULT
from tasks.verify_store import verify_store

WORDS = "a marked passphrase: 7 copper lanterns"
WRONG = "another marked passphrase: 9 tin kettles"
GOOD = SyntheticFaces(persons=2, photos_per_person=2, first_person=70)
SECRET_FOLDERS = ("3_keys", "5_evaluated/people/*/v0001/owner")


@dataclass(frozen=True)
class Life:
    """What was done to a gallery, where, and what was said."""

    root: Path
    expected: dict[str, str]
    done: dict[str, CompletedProcess[str]]

    @property
    def store(self) -> Store:
        return Store(self.root / "store")

    @property
    def rows(self) -> pd.DataFrame:
        found = [pd.read_parquet(path) for path in self.store.root.glob("4_protected/*/*/*/*.parquet")]
        return pd.concat(found).set_index("path")

    def written(self) -> list[Path]:
        """All files of the store, of Prefect and of what was said, but for the owner's contact sheet."""
        found = [*self.store.root.rglob("*"), *Path(os.environ["PREFECT_HOME"]).rglob("*")]
        return [path for path in found if path.is_file() and "owner" not in path.parts]


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Life:
    """A run over good photos and bad ones of every kind, and a recovery."""
    root = tmp_path_factory.mktemp("life")
    (root / "beside").write_bytes(b"a link leads here")
    GOOD.write(root / "photos")
    expected = write_all(root / "photos")
    of = ("--store", str(root / "store"), "--gallery", "people")
    run = ("run", *of, "--source", str(root / "photos"), "--recogniser", "synthetic", "--recovery", "sealed")
    done = {
        "run": call(
            *run, "--layout", "image_folder", "--json", passphrase=WORDS, PREFECT_LOGGING_LEVEL="DEBUG"
        ),
        "recover": call("recover", *of, "--out", str(root / "recovered"), passphrase=WORDS),
    }
    return Life(root, expected, done)


@pytest.fixture(scope="module")
def secrets(life: Life) -> Secrets:
    return secrets_of(life.store, WORDS, life.root / "photos")


def test_the_run_goes_on_over_every_bad_photo_and_accounts_for_all(life):
    assert life.done["run"].returncode == 1, life.done["run"].stderr  # some images failed
    counts = json.loads(life.done["run"].stdout)["images"]
    rows = life.rows
    assert counts == {"protected": 4, "below_quality": 0} | {
        name: int((rows.status == name).sum()) for name in ("skipped", "failed")
    }
    assert sum(counts.values()) == len(rows) == len(life.expected) + 4
    assert max(Counter(rows.image_id).values()) == 1
    wrong = {
        path: (reason, rows.reason[path]) for path, reason in life.expected.items()
        if rows.reason[path] not in ([*reason.split("|"), *(NO_FAULT if "read" in reason else ())])
    }  # fmt: skip
    assert wrong == {}


def test_the_good_photos_come_back_and_the_store_is_whole(life):
    assert life.done["recover"].returncode == 0, life.done["recover"].stderr
    assert len(list((life.root / "recovered").iterdir())) == 4
    verified = verify_store(store=life.store, passphrase=Passphrase(WORDS.encode()))
    assert (verified.ok, verified.problems, verified.unchecked) == (True, (), ())


def test_nothing_that_was_written_or_said_tells_a_secret(life, secrets):
    files = life.written()
    assert len(files) > 30 and len(secrets.bytes) > 30 and len(secrets.rows) >= 8
    assert told(secrets, files) == {}
    said = "".join(process.stdout + process.stderr for process in life.done.values())
    assert len(said) > 500 and secrets.in_bytes(said.encode()) == set()


def test_a_refusal_does_not_repeat_the_wrong_passphrase(life, monkeypatch):
    monkeypatch.setenv("AVIH_PASSPHRASE", WRONG)
    opened.forget()
    of = ("--store", str(life.store.root), "--gallery", "people", "--out", str(life.root / "no"))
    refused = CliRunner().invoke(whole_app(), ["recover", *of])
    assert refused.exit_code == 3 and "passphrase is wrong" in refused.output
    assert WRONG not in refused.output and not (life.root / "no").exists()


def test_the_search_finds_what_is_there(life, secrets, tmp_path):
    """The owner's contact sheet shows originals; other forms are written here."""
    sheets = list(life.store.root.rglob("owner/*.png"))
    recovered = list((life.root / "recovered").iterdir())
    assert len(told(secrets, recovered)) == 4 and sheets
    for number, (name, value) in enumerate(secrets.bytes.items()):
        path = tmp_path / str(number)
        path.write_bytes(b"x" + value + b"y")
        assert name in told(secrets, [path])[str(path)]


def test_what_is_secret_is_its_owner_s_alone(life):
    folders = [folder for pattern in SECRET_FOLDERS for folder in life.store.root.glob(pattern)]
    assert len(folders) == 2
    folders.append(life.root / "recovered")
    assert {str(f): stat.S_IMODE(f.stat().st_mode) for f in folders} == {str(f): 0o700 for f in folders}
    inside = [path for folder in folders for path in folder.rglob("*")]
    named = [*life.store.root.rglob("photos.parquet"), *life.store.root.glob("[25]_*/**/*.parquet")]
    modes = {str(path): stat.S_IMODE(path.stat().st_mode) for path in [*inside, *named] if path.is_file()}
    assert len(modes) > 15 and modes == dict.fromkeys(modes, 0o600)


def test_no_command_takes_a_passphrase_or_a_key_s_secret():
    root = get_command(whole_app())
    parameters = {f"{path} {name}" for path, command in commands(root, "avih") for name in names(command)}
    assert len(parameters) > 150
    words = ("pass", "secret", "seed", "token", "credential", "pin")
    assert [one for one in parameters if any(word in one.split(" ")[-1].split("-") for word in words)] == []
    options = {one.split(" ")[-1] for one in parameters}
    assert [one for one in options if "passphrase" in one or "password" in one] == []


def commands(command, path):
    yield path, command
    for name, below in getattr(command, "commands", {}).items():
        yield from commands(below, f"{path} {name}")


def names(command):
    return [
        option.strip("-")
        for parameter in command.params
        for option in parameter.opts + parameter.secondary_opts
    ]
