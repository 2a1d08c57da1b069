"""The quick profile as users run it, on the built-in gallery: the controls behave, all attacks are tried."""

import json
from pathlib import Path
from typing import Any

from command import call

# make demo, with fewer photos: eight of each of eight persons.
DEMO = ("--source", "synthetic", "--recogniser", "synthetic", "--limit", "64", "--key-steps", "250")

HELD = (
    "same_key_network", "cross_key_network", "zero_leak", "external_keys", "seed_guessing", "keyed_mixing",
)  # fmt: skip


def test_quick_on_the_built_in_gallery(tmp_path: Path):
    """One test, because one audit takes minutes and every process of a parallel run would make its own."""
    made = call("run", "--store", str(tmp_path), "--gallery", "demo", *DEMO)
    assert made.returncode == 0, made.stderr
    done = call("lab", "demo", "--store", str(tmp_path), "--json")
    assert done.returncode in (0, 4), done.stderr
    verdict = json.loads(done.stdout)
    assert done.returncode == (4 if verdict["verdict"] == "fail" else 0)
    the_controls_behave(verdict)
    every_attack_is_tried(verdict)
    no_key_brings_a_face_back(verdict)
    folder = tmp_path / "7_audited" / "demo" / verdict["version"]
    assert {path.name for path in folder.iterdir()} == {"verdict.json", "report.html"}
    assert "data:image/png" in (folder / "report.html").read_text()  # drawn faces may be shown


def the_controls_behave(verdict: dict[str, Any]) -> None:
    assert len(verdict["controls"]) == 5
    assert {one["name"]: (one["ok"], one["got"]) for one in verdict["controls"] if not one["ok"]} == {}


def every_attack_is_tried(verdict: dict[str, Any]) -> None:
    tried = {one["name"]: one["verdict"] for one in verdict["attacks"]}
    assert len(tried) == 13
    assert {name for name, said in tried.items() if said == "does not apply"} == {"veils", "flips"}
    assert "error" not in tried.values() and tried["robustness"] == "measured"
    assert verdict["leak_budget"]["points"][0]["pairs"] == 16


def no_key_brings_a_face_back(verdict: dict[str, Any]) -> None:
    """What the small recogniser of drawn faces itself shows may name persons; pictures do not come back."""
    by_name = {one["name"]: one for one in verdict["attacks"]}
    for name in HELD:
        assert by_name[name]["ssim_advantage"] < 0.05, name
    owner = next(one for one in verdict["controls"] if one["name"] == "owner's key")
    assert owner["figures"]["ssim_advantage"] > 0.3
