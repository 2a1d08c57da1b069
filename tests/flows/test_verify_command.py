"""The command ``avih verify``: exit codes, one JSON object, and sentences for people."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from flows.cli import verify  # noqa: F401  # it registers its command
from flows.cli.main import app
from small_methods import Gallery
from small_store import flipped, full_store


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Gallery:
    return full_store(tmp_path_factory.getbasetemp() / "full-store")


def call(made: Gallery, *arguments: str) -> Any:
    return CliRunner().invoke(app, ["verify", "--store", str(made.store.root), *arguments])


def test_json_is_one_object_with_all_that_was_found(made: Gallery) -> None:
    done = call(made, "--json")
    content = json.loads(done.stdout)
    assert done.exit_code == 0 and content["ok"] is True and content["problems"] == []
    assert (content["gallery"], content["version"]) == (None, None)
    assert content["checked"]["protected shard"] == 8
    with flipped(made.folder("v0002") / "00001.tar", 5000):
        done = call(made, "--gallery", "people", "--version", "v0002", "--json")
    content = json.loads(done.stdout)
    assert done.exit_code == 3 and content["ok"] is False
    (problem,) = content["problems"]
    assert set(problem) == {"what", "where", "says"}
    assert problem["where"].endswith("v0002/00001.tar") and "backup" in problem["says"]


def test_people_are_told_what_is_wrong_and_what_was_left_out(made: Gallery) -> None:
    with flipped(made.store.current("people"), 800):
        done = call(made)
    assert done.exit_code == 3
    assert "PROBLEMS" in done.stdout and "4_protected/people/current.json" in done.stdout
    assert "Traceback" not in done.output
    assert "every file is as it was written" in call(made, "--no-read-data").stdout


def test_parts_read_part_and_say_so(made: Gallery) -> None:
    done = json.loads(call(made, "--read-data-subset", "1/3", "--json").stdout)
    assert 0 < done["checked"]["protected tar read"] < 8
    left = {one["what"]: one["says"] for one in done["unchecked"]}
    assert "its bytes were not read" in left["protected tar"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--read-data-subset", "4/3"), "2/7"),
        (("--read-data-subset", "1/3", "--no-read-data"), "both"),
        (("--gallery", "nobody"), "people, veiled"),
        (("--version", "v0001"), "--gallery"),
        (("--gallery", "people", "--version", "v0009"), "v0001, v0002"),
    ],
)
def test_what_cannot_be_asked_ends_with_2(made: Gallery, arguments: tuple[str, ...], told: str) -> None:
    done = call(made, *arguments)
    assert done.exit_code == 2 and told in done.stderr and "Expected" in done.stderr


def test_a_store_that_is_not_there_is_no_healthy_store(made: Gallery, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["verify", "--store", str(tmp_path / "nowhere")])
    assert done.exit_code == 2 and "--store" in done.stderr


def test_without_a_passphrase_the_rest_is_checked(made: Gallery, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AVIH_PASSPHRASE")
    done = call(made, "--json")
    assert done.exit_code == 0 and "AVIH_PASSPHRASE" in done.stderr
    assert {"vault", "manifest"} <= {one["what"] for one in json.loads(done.stdout)["unchecked"]}
    with flipped(made.folder("v0002") / "00001.tar", 5000):
        assert call(made).exit_code == 3


def test_a_wrong_passphrase_is_refused(made: Gallery, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AVIH_PASSPHRASE", "not the passphrase at all")
    done = call(made, "--json")
    assert done.exit_code == 3 and done.stdout == ""
    assert "error:" in done.stderr and "not the passphrase" not in done.stderr
