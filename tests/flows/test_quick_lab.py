"""The quick profile as users run it, on the built-in gallery: the controls behave, all attacks are tried."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import avih

ROOT = Path(avih.__file__).parents[1]
# make demo, with fewer photos: eight of each of twelve persons.
DEMO = ("--source", "synthetic", "--recogniser", "synthetic", "--limit", "96", "--key-steps", "250")


def call(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from flows.cli import main; main()", *arguments],
        capture_output=True, text=True, cwd=ROOT, stdin=subprocess.DEVNULL, check=False,
        env=os.environ | {"AVIH_PASSPHRASE": "correct horse battery staple"},
    )  # fmt: skip


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], int, Path]:
    store = tmp_path_factory.mktemp("quick")
    made = call("run", "--store", str(store), "--gallery", "demo", *DEMO)
    assert made.returncode == 0, made.stderr
    done = call("lab", "demo", "--store", str(store), "--json")
    assert done.returncode in (0, 4), done.stderr
    return json.loads(done.stdout), done.returncode, store


def test_all_controls_behave(audited):
    verdict, _, _ = audited
    assert len(verdict["controls"]) == 5
    assert {one["name"]: (one["ok"], one["got"]) for one in verdict["controls"] if not one["ok"]} == {}


def test_every_attack_is_tried_and_none_breaks(audited):
    verdict, code, _ = audited
    tried = {one["name"]: one["verdict"] for one in verdict["attacks"]}
    assert len(tried) == 13
    assert {name for name, said in tried.items() if said == "does not apply"} == {"veils", "flips"}
    assert "error" not in tried.values() and tried["robustness"] == "measured"
    assert code == (4 if verdict["verdict"] == "fail" else 0)
    assert verdict["leak_budget"]["points"][0]["pairs"] == 16


def test_no_key_brings_a_face_back(audited):
    """What the small recogniser of drawn faces itself shows may name persons; pictures do not come back."""
    verdict, _, _ = audited
    by_name = {one["name"]: one for one in verdict["attacks"]}
    for name in (
        "same_key_network",
        "cross_key_network",
        "zero_leak",
        "external_keys",
        "seed_guessing",
        "keyed_mixing",
    ):
        assert by_name[name]["ssim_advantage"] < 0.05, name
    owner = next(one for one in verdict["controls"] if one["name"] == "owner's key")
    assert owner["figures"]["ssim_advantage"] > 0.3


def test_the_report_lies_beside_the_verdict(audited):
    verdict, _, store = audited
    folder = store / "7_audited" / "demo" / verdict["version"]
    assert {path.name for path in folder.iterdir()} == {"verdict.json", "report.html"}
    assert "data:image/png" in (folder / "report.html").read_text()  # drawn faces may be shown
