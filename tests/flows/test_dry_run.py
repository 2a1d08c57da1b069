"""``--dry-run`` of every command that writes: it tells what the command then does, and changes nothing."""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from avih.keys import KeyStore
from dry_runs import dry_runs, tree
from flows.cli import complete_app
from small_audit import from_source
from small_methods import Gallery
from tasks import opened
from tasks.gallery_lock import gallery_lock
from tasks.run_record import load_run, save_run


@pytest.fixture
def night(own: Gallery, tmp_path: Path) -> Gallery:
    """A live gallery with a source of its own, in which a photo is new and one is gone."""
    from_source(own, str(own.photos))
    photos = sorted(path for path in own.photos.rglob("*") if path.is_file())
    shutil.copy(photos[0], photos[0].with_name("another.png"))
    photos[-1].unlink()
    return own


def call(gallery: Gallery, *arguments: str) -> dict:
    opened.forget()
    result = CliRunner().invoke(complete_app(), [*arguments, "--store", str(gallery.store.root)])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout) if "--json" in arguments else {"said": result.stdout}


def dry(gallery: Gallery, *commands: str) -> list[dict]:
    """Dry runs in one other process; store, working folder and home are the same afterwards, byte for byte."""
    cwd, home = gallery.root / "cwd", gallery.root / "home"
    for folder in (cwd, home):
        folder.mkdir(exist_ok=True)
    before = tree(gallery.store.root, gallery.photos, cwd, home)
    store = ["--store", str(gallery.store.root), "--dry-run"]
    lines = [
        line.format(photos=gallery.photos, cwd=cwd, key=gallery.key_id).split() + store for line in commands
    ]
    told, loaded = dry_runs(lines, cwd=cwd, home=home)
    assert tree(gallery.store.root, gallery.photos, cwd, home) == before
    assert not loaded  # neither Prefect nor MLflow can have begun a run
    return told


RUN = "run --source {photos} --recogniser synthetic --method lie --shard-size 4 --gallery people --json"


def test_each_says_what_it_would_do_and_changes_nothing(night: Gallery) -> None:
    key = night.key_id
    fresh, again, tonight, protect, evaluate, recover, drilled, lab, policy, promote, *keys = dry(
        night,
        "run --source {photos} --recogniser synthetic --gallery fresh --json",
        RUN,
        "nightly --gallery people --json",
        "protect --gallery people --json",
        "evaluate --gallery people --json",
        "recover --gallery people --out {cwd}/out --json",
        "drill people --sample 3 --json",
        "lab people --attack flips --json",
        "gallery policy people --require-audit pass --json",
        "gallery promote people v0001 --json",
        "keys suspend {key} --reason test --json",
        "keys compromise {key} --reason test --json",
        "keys deactivate {key} --reason test --json",
        "keys activate {key} --json",
        "keys destroy {key} --reason test --waiting-days 0",
        "keys create --recovery sealed --json",
        "keys rebuild-record {key} --json",
        "rotate --gallery people --json",
        "rotate --gallery people --only-if-due --json",
        "rotate --gallery people --give-up",
        "server --prefect-port 0 --mlflow-port 0",
        "erase --gallery people --person nobody",
    )  # fmt: skip
    assert (fresh["exit_code"], fresh["version"], fresh["key_id"]) == (0, "v0001", None)
    assert "a new keyed key, codec trained for" in fresh["key"] and ", key, " in fresh["stages"]
    assert (fresh["photos"], fresh["photos_to_protect"], fresh["shards"]) == (8, 8, 1)
    for would in (again, tonight):
        assert (would["version"], would["current"], would["key_id"]) == ("v0002", "v0001", key)
        assert (would["photos"], would["added"], would["changed"], would["removed"]) == (8, 1, 0, 1)
        assert (would["shards"], would["shards_to_make"], would["photos_to_protect"]) == (2, 2, 1)
    assert (protect["shards_to_make"], evaluate["shards_to_make"], recover["pictures"]) == (0, 0, 8)
    assert (drilled["sample"], drilled["protected"]) == (3, 8)
    assert (lab["attacks"], lab["kept"], lab["verdict"]) == (["flips"], [], None)
    assert (policy["require_audit"], promote["switched"], promote["before"]) == ("pass", False, "v0001")
    states = [one.get("to", one["exit_code"]) for one in keys[:5]]
    assert states == ["suspended", "compromised", "deactivated", 3, 3]  # as the states allow
    create, rebuild, rotate, due, give_up, serve, erase = keys[5:]
    assert (create["recovery"], create["steps"], create["state"]) == ("sealed", 0, "active")
    assert rebuild["record"] == "is as it was sealed"
    assert (rotate["version"], rotate["old_key"], rotate["old_key_becomes"]) == ("v0002", key, "deactivated")
    assert due["rotates"] is False and rotate["rotates"] is True
    assert (give_up["exit_code"], serve["exit_code"], erase["exit_code"]) == (2, 0, 2)
    assert "people" in serve["said"] and "Nothing was changed" in serve["said"]


def test_the_commands_then_do_what_was_said(night: Gallery, tmp_path: Path) -> None:
    said = call(night, "nightly", "--gallery", "people", "--dry-run", "--json")
    done = call(night, "nightly", "--gallery", "people", "--json")
    assert {name: done[name] for name in ("version", "added", "changed", "removed")} == {
        name: said[name] for name in ("version", "added", "changed", "removed")
    }
    assert len(night.shards("v0002")) == said["shards"]
    quiet = call(night, "nightly", "--gallery", "people", "--dry-run", "--json")
    assert (quiet["version"], quiet["current"], quiet["shards_to_make"], quiet["added"]) == (
        "v0002",
        "v0002",
        0,
        0,
    )
    for arguments in (("rollback", "people"), ("promote", "people", "v0002")):
        said = call(night, "gallery", *arguments, "--dry-run", "--json")
        done = call(night, "gallery", *arguments, "--json")
        assert {name: said[name] for name in done} == done and done["switched"]
    out = ("recover", "--gallery", "people", "--out", str(tmp_path / "out"), "--json")
    said = call(night, *out, "--dry-run")
    assert not (tmp_path / "out").exists()
    assert call(night, *out)["written"] == said["pictures"] == len(list((tmp_path / "out").iterdir()))
    assert call(night, *out, "--dry-run")["replaced"] == said["pictures"]
    suspend = ("keys", "suspend", night.key_id, "--reason", "test", "--json")
    said = call(night, *suspend, "--dry-run")
    assert KeyStore(night.store.keys).show(night.key_id).state == said["from"] == "active"
    assert call(night, *suspend)["state"] == said["to"] == "suspended"
    assert refused(night, "protect", "--gallery", "people")[0] == 0  # there is nothing left to protect
    assert refused(night, "nightly", "--gallery", "people")[0] == 0


def refused(gallery: Gallery, *arguments: str, **environment: str) -> tuple[int, str]:
    """Exit code and message of a dry run."""
    opened.forget()
    result = CliRunner().invoke(
        complete_app(), [*arguments, "--dry-run", "--store", str(gallery.store.root)], env=environment
    )
    return result.exit_code, result.output


def test_a_dry_run_refuses_what_the_command_would_refuse(night: Gallery) -> None:
    before = tree(night.store.root)
    source = ("--source", str(night.photos), "--recogniser", "synthetic")
    for code, word, arguments in (
        (2, "/nowhere", ("run", "--source", "/nowhere", "--recogniser", "synthetic")),
        (2, "no-such-card", ("run", "--source", "synthetic", "--recogniser", "no-such-card")),
        (2, "Keys:", ("run", *source, "--key", "0123abcd")),
        (2, "no_such_image", ("recover", "--gallery", "people", "--out", "out", "--image", "no_such_image")),
        (2, "roll back", ("gallery", "rollback", "people")),
        (2, "v0009", ("gallery", "promote", "people", "v0009")),
        (2, "blur", ("lab", "people", "--attack", "blur")),
        (2, "nobody", ("nightly", "--gallery", "nobody")),
    ):
        got, said = refused(night, *arguments)
        assert (got, word in said) == (code, True), said
    code, said = refused(night, "nightly", "--gallery", "people", AVIH_PASSPHRASE="not the right one")
    assert code == 3 and "not the right one" not in said
    assert tree(night.store.root) == before
    with gallery_lock(night.store, "people", purpose="a test"):
        assert refused(night, "gallery", "promote", "people", "v0001")[0] == 1
        code, said = refused(night, "nightly", "--gallery", "people")
        assert code == 0 and "would wait for a test" in said
    record = load_run(store=night.store, gallery="people")
    evaluate = record.settings.evaluate
    limits = evaluate.limits.model_copy(update={"removed_max": 0.1})
    settings = record.settings.model_copy(update={"evaluate": evaluate.model_copy(update={"limits": limits})})
    save_run(record.model_copy(update={"settings": settings}), store=night.store)
    code, said = refused(night, "nightly", "--gallery", "people")
    assert code == 4 and "1 of 8 photos of v0001 are gone or changed" in said


def test_the_doctor_mends_nothing_in_a_dry_run(own: Gallery) -> None:
    own.store.keys.chmod(0o755)
    told = refused(own, "doctor", "--repair", "--json")[1]
    states = {one["what"]: one["state"] for one in json.loads(told)["checks"]}
    assert states["permissions"] == "to do" and own.store.keys.stat().st_mode & 0o777 == 0o755
