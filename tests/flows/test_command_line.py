"""The ``avih`` command as people call it: exit codes, one JSON object, readable errors, nothing lost."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from avih.methods.registry import METHODS
from command import ROOT, call


def stage(made, name: str, *more: str, **environment: str):
    return call(name, "--store", str(made.store), "--gallery", "people", *more, **environment)


def test_help_names_every_command_without_importing_anything_heavy():
    shown = call("--help")
    assert shown.returncode == 0
    assert all(word in shown.stdout for word in ("run", "protect", "recover", "evaluate", "verify", "keys"))
    code = "import sys; from flows.cli import keys, stages; print([m for m in ('torch', 'prefect', 'mlflow', "
    code += "'pandas') if m in sys.modules])"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert loaded.stdout.strip() == "[]"


def test_methods_are_listed_with_what_they_need_give_and_cannot_do():
    listed = call("methods", "--json", passphrase=None)
    assert listed.returncode == 0, listed.stderr
    methods = {one["name"]: one for one in json.loads(listed.stdout)["methods"]}
    assert set(METHODS) == set(methods)
    assert all({"needs", "gives", "cannot", "use"} <= set(one) for one in methods.values())
    shown = call("methods", "avih", passphrase=None)
    assert "Algorithm 1" in shown.stdout
    unknown = call("methods", "blur", passphrase=None)
    assert unknown.returncode == 2 and "avih" in unknown.stderr and "blur" in unknown.stderr


def test_prefect_keeps_its_state_in_the_store_that_was_asked_for(tmp_path):
    code = "import os, sys; from avih.naming import Store; from flows.cli.main import prepare_flows\n"
    code += (
        "prepare_flows(Store.find(sys.argv[1])); import flows.environment; print(os.environ['PREFECT_HOME'])"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
    asked = tmp_path / "store"
    done = subprocess.run(
        [sys.executable, "-c", code, str(asked)], capture_output=True, text=True, cwd=ROOT, env=environment,
        check=True,
    )  # fmt: skip
    assert Path(done.stdout.strip()) == asked / "prefect"
    assert (asked / "prefect").is_dir()


def test_keys_are_listed_and_shown_without_a_passphrase(made):
    listed = call("keys", "list", "--store", str(made.store), "--json", passphrase=None)
    assert listed.returncode == 0, listed.stderr
    (key,) = json.loads(listed.stdout)["keys"]
    shown = call("keys", "show", key["key_id"][:6], "--store", str(made.store), "--json", passphrase=None)
    assert json.loads(shown.stdout)["key_id"] == made.result.key_id == key["key_id"]
    assert (key["state"], key["architecture"], key["recovery"]) == ("active", "codec", "keyed")


def test_verify_and_recover_print_one_json_object(copy, tmp_path):
    verified = stage(copy, "verify", "--json")
    found = json.loads(verified.stdout)
    assert (verified.returncode, found["ok"], found["problems"], found["unchecked"]) == (0, True, [], [])
    name = "person_0041__person_0041_0001-"
    image = next(p for p in all_images(copy) if p.startswith(name))
    recovered = stage(copy, "recover", "--out", str(tmp_path / "out"), "--image", image, "--json")
    assert recovered.returncode == 0, recovered.stderr
    assert json.loads(recovered.stdout)["written"] == 1
    (picture,) = (tmp_path / "out").iterdir()
    assert picture.stat().st_mode & 0o777 == 0o600 and picture.parent.stat().st_mode & 0o777 == 0o700


def all_images(made) -> list[str]:
    return [name for path in made.protected.glob("*.parquet") for name in pd.read_parquet(path).image_id]


def pictures(made, *, but: int) -> set[str]:
    """Ids of the stored pictures of all shards but one."""
    tables = [pd.read_parquet(made.protected / f"{n:05d}.parquet") for n in made.shards if n != but]
    return {name for rows in tables for name in rows.image_id[rows.file_sha256.fillna("") != ""]}


@pytest.mark.parametrize("command", ["verify", "recover"])
def test_a_wrong_passphrase_is_refused_with_3_and_nothing_is_lost(copy, tmp_path, command):
    before = copy.files()
    more = ("--out", str(tmp_path / "out")) if command == "recover" else ()
    refused = stage(copy, command, *more, passphrase="not the passphrase at all")
    assert refused.returncode == 3
    assert "error:" in refused.stderr and "Traceback" not in refused.stderr
    assert "not the passphrase" not in refused.stderr + refused.stdout
    assert copy.files() == before


def test_no_passphrase_at_all_names_the_ways_to_give_one(made):
    refused = stage(made, "recover", "--out", "/nowhere", passphrase=None)
    assert refused.returncode == 3
    assert "AVIH_PASSPHRASE" in refused.stderr and "AVIH_KEY_FILE" in refused.stderr


def test_a_tampered_shard_is_named_with_3_and_the_others_recover(copy, tmp_path):
    shard = copy.protected / "00001.tar"
    data = bytearray(shard.read_bytes())
    data[5000] ^= 1
    shard.write_bytes(data)
    refused = stage(copy, "verify", "--json")
    assert refused.returncode == 3
    problems = json.loads(refused.stdout)["problems"]
    assert {Path(problem["where"]).name for problem in problems} == {"00001.tar"}
    recovered = stage(copy, "recover", "--out", str(tmp_path / "out"), "--json")
    assert recovered.returncode == 3 and "Traceback" not in recovered.stderr
    found = json.loads(recovered.stdout)
    assert found["damaged"][0].startswith("shard 1: Expected 00001.tar") and len(found["damaged"]) == 1
    assert {path.stem for path in (tmp_path / "out").iterdir()} == pictures(copy, but=1)
    assert found["written"] == len(pictures(copy, but=1)) > 0


def test_a_tampered_key_is_refused_with_3_and_the_gallery_stays(copy, tmp_path):
    before = copy.files()
    key = copy.store / "3_keys" / f"{copy.result.key_id}.key"
    data = bytearray(key.read_bytes())
    data[len(data) // 2] ^= 1
    key.write_bytes(data)
    refused = stage(copy, "recover", "--out", str(tmp_path / "out"))
    assert refused.returncode == 3 and "Traceback" not in refused.stderr
    assert copy.files() == before


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("run", "--source", "/nowhere", "--recogniser", "synthetic"), "/nowhere"),
        (("run", "--source", "synthetic", "--recogniser", "no-such-card"), "no-such-card"),
        (("run", "--source", "synthetic", "--recogniser", "synthetic", "--preset", "quick"), "quick"),
        (
            ("run", "--source", "synthetic", "--recogniser", "synthetic", "--gallery", "Ünsafe/.."),
            "gallery name",
        ),
        (("verify", "--gallery", "nobody"), "nobody"),
        (("keys", "show", "0123abcd"), "0123"),
        (("keys", "create", "--recovery", "magic"), "magic"),
    ],
)
def test_usage_errors_end_with_2_and_say_what_was_expected(arguments, told, tmp_path):
    refused = call(*arguments, "--store", str(tmp_path / "store"))
    assert refused.returncode == 2, refused.stderr
    assert told in refused.stderr and "Expected" in refused.stderr and "Traceback" not in refused.stderr
