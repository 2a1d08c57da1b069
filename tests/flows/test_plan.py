"""``avih plan`` as people call it: numbers on standard output, nothing made, and how far past plans were off."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import avih
from avih.datasets.synthetic import SyntheticFaces
from small_source import ROWS

ROOT = Path(avih.__file__).parents[1]
MORE = SyntheticFaces(persons=1, photos_per_person=2, first_person=61)
STAGES = ["index", "align", "key", "protect", "evaluate"]
PASSPHRASE = "correct horse battery staple"


def plan(source: Path | str, *more: str, passphrase: str | None = None, cwd: Path = ROOT, **variables: str):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("AVIH_")} | variables
    if passphrase:
        environment["AVIH_PASSPHRASE"] = passphrase
    return subprocess.run(
        [sys.executable, "-c", "from flows.cli import main; main()", "plan", "--source", str(source),
         "--recogniser", "synthetic", *more],
        capture_output=True, text=True, cwd=cwd, env=environment | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip


def planned(made, **more: str) -> dict:
    done = plan(made.source, "--store", str(made.store), "--gallery", "people", "--json", **more)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def stored(store: Path) -> dict[str, bytes]:
    return {str(path.relative_to(store)): path.read_bytes() for path in store.rglob("*") if path.is_file()}


def test_a_plan_of_a_finished_gallery_finds_nothing_to_do_and_adds_one_line(copy):
    before = stored(copy.store)
    facts = planned(copy, passphrase=PASSPHRASE)
    photos = facts["source"]["photos"]
    # Links, folders and the like are rows of the index but no photos.
    assert facts["source"] == {"photos": photos, "new": 0, "changed": 0, "removed": 0, "compared": "content"}
    assert ROWS - 4 <= photos <= ROWS
    assert (facts["version"], facts["anew"], facts["to_protect"]) == ("v0001", "", 0)
    assert facts["key_id"] == copy.result.key_id
    assert [stage["stage"] for stage in facts["stages"]] == STAGES
    assert [stage["units"] for stage in facts["stages"]] == [photos, 0, 0, 0, 0]
    assert 0 < facts["faces"] < facts["sampled"]  # many photos of this source show no face
    assert facts["past"]["plans"] == facts["past"]["compared"] == 0
    timing = [json.loads(path.read_text()) for path in copy.protected.glob("*.timing.json")]
    (run,) = facts["measured"]
    assert run["images"] == sum(shard["images"] for shard in timing)
    assert run["seconds"] == pytest.approx(sum(shard["seconds"] for shard in timing))
    after = stored(copy.store)
    name = "1_index/people/plans.jsonl"
    assert facts["remembered"] == str(copy.store / name)
    assert {path: data for path, data in after.items() if path != name} == before
    assert (copy.store / name).stat().st_mode & 0o777 == 0o600
    assert b"person" not in after[name] and str(copy.source).encode() not in after[name]


def test_the_next_plan_says_how_far_the_last_one_was_off(copy):
    MORE.write(copy.source)
    name = "person_0041/person_0041_0001.png"
    shutil.copy(copy.source / "person_0042/person_0042_0001.png", copy.source / name)
    first = planned(copy, passphrase=PASSPHRASE)
    assert [first["source"][kind] for kind in ("new", "changed", "removed")] == [2, 1, 0]
    assert first["to_protect"] == 3
    done = copy.run()
    assert done.version == "v0002"
    shards = [json.loads(p.read_text()) for p in copy.protected.with_name("v0002").glob("*.timing.json")]
    assert sum(shard["images"] for shard in shards) == 3
    actual = sum(shard["seconds"] for shard in shards) / 3
    (copy.source / "person_0061/person_0061_0001.png").unlink()
    second = planned(copy)
    ratio = pytest.approx(actual / first["optimise"]["mean"])
    assert second["past"] == {"plans": 1, "compared": 1, "low": ratio, "median": ratio, "high": ratio}
    assert [run["version"] for run in second["measured"]] == [1, 2]
    # Without a passphrase photos are compared by their names, and nobody is asked for one. Which version is the
    # base depends on whether the small gallery went live.
    assert second["source"]["compared"] == "names" and second["source"]["changed"] is None
    assert (second["source"]["new"], second["source"]["removed"]) == (
        (0, 1) if second["version"] == "v0002" else (1, 0)
    )
    lines = (copy.store / "1_index/people/plans.jsonl").read_text().splitlines()
    assert [json.loads(line)["newest"] for line in lines] == [1, 2]


def test_a_new_gallery_is_planned_with_its_key_and_its_price(tmp_path):
    store = tmp_path / "store"
    done = plan("synthetic", "--store", str(store), "--limit", "12", "--key-steps", "5", "--price", "3",
                "--currency", "CHF", "--json", "--device", "cpu")  # fmt: skip
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["source"] == {"photos": 12, "new": 12, "changed": 0, "removed": 0, "compared": "nothing"}
    assert (facts["version"], facts["key_id"], facts["device"]) == (None, None, "cpu")
    units = {stage["stage"]: stage["units"] for stage in facts["stages"]}
    assert units["key"] == 5 and units["index"] == units["align"] == facts["to_protect"] == 12
    assert 0 < units["protect"] == units["evaluate"] <= 12
    assert facts["done"] == facts["tried"] and 1 <= facts["steps"]["mean"] < 200
    for kind in ("low", "mean", "high"):
        hours = sum(stage["seconds_each"][kind] * stage["units"] for stage in facts["stages"]) / 3600
        assert facts["hours"][kind] == pytest.approx(hours)
        assert facts["money"][kind] == pytest.approx(3 * hours)
    assert 0 < facts["hours"]["low"] < facts["hours"]["mean"] < facts["hours"]["high"]
    assert (facts["money"]["currency"], facts["money"]["price_per_hour"]) == ("CHF", 3)
    for word in ("aligning", "training a throw-away key", "protecting", "measuring"):
        assert word in done.stderr
    assert [path.name for path in store.rglob("*") if path.is_file()] == ["plans.jsonl"]


def test_the_table_names_every_figure_and_without_a_store_nothing_is_written(tmp_path):
    done = plan(
        "synthetic", "--limit", "8", "--recovery", "sealed", "--price", "2.5", cwd=tmp_path, AVIH_DEVICE="cpu"
    )
    assert done.returncode == 0, done.stderr
    text = re.sub(r"[│\s]+", " ", done.stdout)
    for word in (
        "photos 8, all new",
        "steps per image",
        *STAGES,
        "hours in all",
        "money (EUR)",
        "at 2.5 per hour",
    ):
        assert word in text
    assert "key nothing to do" in text  # a sealed key has no generator to train
    assert "past plans 0, no past run to compare with" in text
    assert list(tmp_path.iterdir()) == []


def test_usage_errors_end_with_2_and_leave_no_plan(tmp_path):
    (tmp_path / "walls/somebody").mkdir(parents=True)
    from PIL import Image

    Image.new("RGB", (120, 120), (90, 90, 90)).save(tmp_path / "walls/somebody/wall.png")
    store = ("--store", str(tmp_path / "store"))
    for arguments, told in (
        ((tmp_path / "nowhere",), "nowhere"),
        ((tmp_path / "walls",), "Expected a face in a sample of 1 photos, got none (no_face)"),
        (("synthetic", "--device", "abacus"), "abacus"),
        (("synthetic", "--preset", "quick"), "quick"),
    ):
        refused = plan(*arguments, *store)
        assert refused.returncode == 2, refused.stderr
        assert told in re.sub(r"\s+", " ", refused.stderr) and "Traceback" not in refused.stderr
    assert plan("synthetic", "--price", "-1", *store).returncode == 2
    assert not (tmp_path / "store").exists()


def test_a_wrong_passphrase_is_refused_with_3(copy):
    refused = plan(
        copy.source, "--store", str(copy.store), "--gallery", "people", passphrase="another one of mine"
    )
    assert refused.returncode == 3 and "Traceback" not in refused.stderr
    assert "another one" not in refused.stderr


def test_help_lists_it_without_importing_anything_heavy():
    code = "import sys; from flows.cli import plan; from flows.cli.main import app; "
    code += "print([m for m in ('torch', 'prefect', 'mlflow', 'pandas', 'numpy') if m in sys.modules])"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert loaded.stdout.strip() == "[]"
    shown = subprocess.run(
        [sys.executable, "-c", "from flows.cli import main; main()", "plan", "--help"],
        capture_output=True, text=True, cwd=ROOT, check=True,
    )  # fmt: skip
    assert "--price" in shown.stdout and "needs no" in shown.stdout
