"""MLflow: runs nested below their rotation, tags and figures to search by, and every search of docs/mlflow.md."""

import os
import re
import subprocess
import sys
from pathlib import Path

import mlflow
import pytest

import avih
from avih.attack.measure import Figures
from avih.attack.result import CurvePoint, NewKeyFigures
from avih.errors import AvihError
from avih.naming import Store
from tasks.attack_check import FILES, AttackRecord
from tasks.records import Place, RecogniserChoice
from tasks.summarise_gallery import GallerySummary
from tasks.tracking import begin_rotation, finish_rotation_run, log_attack, log_evaluation, tracking_uri

PAGE = (Path(avih.__file__).parents[1] / "docs" / "mlflow.md").read_text()
SEARCHES = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
LINES = re.findall(r"```sql\n(.*?)\n```", PAGE, flags=re.DOTALL)
OLD, NEW = "0" * 16, "1" * 16


def figures(advantage: float) -> Figures:
    return Figures(images=8, ssim=0.4 + advantage, ssim_advantage=advantage, id_images=8, id_rate=0.1,
                   id_advantage=0.0, lpips=None)  # fmt: skip


def attack_record(verdict: str, advantage: float) -> AttackRecord:
    point = {
        "network": "plain",
        "steps": 10,
        "level": "pass",
        "ssim": 0.4,
        "id_rate": None,
        "id_advantage": None,
    }
    return AttackRecord(
        verdict=verdict, prior=figures(0), control=figures(0.2), old_key=figures(0),
        new_key=NewKeyFigures(**figures(advantage).model_dump(), same_images=None, other_persons=None),
        same_key_other_images=figures(0),
        curve=[CurvePoint(pairs=pairs, ssim_advantage=pairs / 1000, **point) for pairs in (8, 32)],
        recommended_budget=None, notes=[],
    )  # fmt: skip


def log_version(store: Path, *, version: str, parent: str | None, flow_run: str, ssim_d: float) -> str:
    """Log an evaluation as the flow does."""
    folder = store / "5_evaluated" / version
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("summary.json", "report.html"):
        (folder / name).write_text("numbers")
    summary = GallerySummary(
        counts={"protected": 5}, metrics={"ssim_d": ssim_d, "lpips_d": None}, broken_limits=(), notes=(),
        folder=str(folder), report=str(folder / "report.html"), owner_contact_sheet=None, files_for_tracking=(),
    )  # fmt: skip
    run = log_evaluation(
        place=place_of(store, version), key_id=NEW, summary=summary, settings={"protect": {"steps": 3}},
        prefect_run_id=flow_run, deployment=None, parent_run_id=parent,
    )  # fmt: skip
    return run.run_id


def log_check(store: Path, *, version: str, parent: str | None, verdict: str, advantage: float) -> str:
    place = place_of(store, version)
    folder = place.folder.attacked(gallery="people", version=version)
    folder.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        (folder / name).write_text("numbers")
    run = log_attack(
        place=place, old_key=OLD, new_key=NEW, record=attack_record(verdict, advantage), settings={"steps": 10},
        prefect_run_id=f"attack {version}", deployment=None, parent_run_id=parent,
    )  # fmt: skip
    return run.run_id


def place_of(store: Path, version: str) -> Place:
    return Place(
        store=str(store), gallery="people", version=version, recogniser=RecogniserChoice(card="synthetic")
    )


@pytest.fixture(scope="module")
def logged(tmp_path_factory) -> tuple[Path, dict[str, str]]:
    """A store with a night, a rotation that passed and one that failed; returns run ids."""
    root = tmp_path_factory.mktemp("store")
    store, ids = Store(root), {}
    ids["night"] = log_version(root, version="v0001", parent=None, flow_run="night", ssim_d=0.93)
    for version, verdict, advantage in (("v0002", "pass", 0.01), ("v0003", "fail", 0.4)):
        rotation = begin_rotation(
            store=store, gallery="people", old_key=OLD, version=version, prefect_run_id=f"rotation {version}"
        )
        ids[f"rotation {version}"] = rotation.run_id
        ids[f"evaluation {version}"] = log_version(
            root, version=version, parent=rotation.run_id, flow_run=f"night {version}", ssim_d=0.9
        )
        ids[f"attack {version}"] = log_check(
            root, version=version, parent=rotation.run_id, verdict=verdict, advantage=advantage
        )
        finish_rotation_run(store, run_id=rotation.run_id, verdict=verdict, live=verdict == "pass")
    return root, ids


def client_of(root: Path) -> mlflow.MlflowClient:
    return mlflow.MlflowClient(tracking_uri=tracking_uri(Store(root)))


def test_evaluation_and_attack_are_nested_below_their_rotation(logged):
    root, ids = logged
    client = client_of(root)
    experiments = [e.name for e in client.search_experiments() if e.name != "Default"]
    assert experiments == ["people"]
    for kind in ("evaluation", "attack"):
        for version in ("v0002", "v0003"):
            tags = client.get_run(ids[f"{kind} {version}"]).data.tags
            assert tags["mlflow.parentRunId"] == ids[f"rotation {version}"]
            assert (tags["kind"], tags["version"], tags["key_id"]) == (kind, version, NEW)
            assert tags["prefect_flow_run_id"] == f"{'night' if kind == 'evaluation' else kind} {version}"
    assert "mlflow.parentRunId" not in client.get_run(ids["night"]).data.tags


def test_a_rotation_ends_with_its_verdict_its_new_key_and_the_figures_below_it(logged):
    root, ids = logged
    good, bad = (client_of(root).get_run(ids[f"rotation {version}"]) for version in ("v0002", "v0003"))
    assert (good.info.status, bad.info.status) == ("FINISHED", "FAILED")
    assert (good.data.tags["live"], bad.data.tags["live"]) == ("yes", "no")
    assert (good.data.tags["verdict"], bad.data.tags["verdict"]) == ("pass", "fail")
    assert good.data.tags["key_id"] == NEW and good.data.tags["old_key_id"] == OLD
    assert good.data.metrics["ssim_d"] == 0.9 and bad.data.metrics["new_key_ssim_advantage"] == 0.4
    assert not [name for name in good.data.metrics if name.startswith("curve_")]


def test_the_curve_has_the_leaked_pairs_as_steps_and_figures_not_measured_are_left_out(logged):
    root, ids = logged
    client = client_of(root)
    history = client.get_metric_history(ids["attack v0002"], "curve_plain_ssim_advantage")
    assert [(point.step, point.value) for point in history] == [(8, 0.008), (32, 0.032)]
    metrics = client.get_run(ids["attack v0002"]).data.metrics
    assert "control_lpips" not in metrics and "recommended_budget" not in metrics
    assert metrics["control_images"] == 8


def test_a_flow_run_that_is_tried_again_goes_on_with_its_runs(logged):
    root, ids = logged
    runs = len(client_of(root).search_runs([experiment_id(root)]))
    assert log_version(root, version="v0001", parent=None, flow_run="night", ssim_d=0.93) == ids["night"]
    again = begin_rotation(
        store=Store(root), gallery="people", old_key=OLD, version="v0009", prefect_run_id="rotation v0009"
    )
    once_more = begin_rotation(
        store=Store(root), gallery="people", old_key=OLD, version="v0009", prefect_run_id="rotation v0009"
    )
    assert once_more.run_id == again.run_id
    assert client_of(root).get_run(again.run_id).data.tags["verdict"] == "unfinished"
    client_of(root).delete_run(again.run_id)
    assert len(client_of(root).search_runs([experiment_id(root)])) == runs


def experiment_id(root: Path) -> str:
    return client_of(root).get_experiment_by_name("people").experiment_id


def test_a_rotation_that_was_never_begun_in_mlflow_needs_no_end(tmp_path):
    finish_rotation_run(Store(tmp_path), run_id=None, verdict="pass", live=True)
    assert not list(tmp_path.iterdir())


def test_a_tracking_store_that_is_down_is_told_in_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(AvihError, match="unset MLFLOW_TRACKING_URI"):
        begin_rotation(
            store=Store(tmp_path), gallery="people", old_key=OLD, version="v0002", prefect_run_id=None
        )


def test_the_link_leads_to_the_runs_page(logged, monkeypatch):
    root, _ = logged
    run = begin_rotation(
        store=Store(root), gallery="linked", old_key=OLD, version="v0002", prefect_run_id="linked"
    )
    assert run.link is None
    served = run.model_copy(update={"tracking_uri": "http://mlflow:5000/"})
    assert served.link == f"http://mlflow:5000/#/experiments/{run.experiment_id}/runs/{run.run_id}"


EXPECTED = {
    "SSIM_d over the last 30 nights": r"v0001 +0\.93[\s\S]*v0002 +0\.90?[\s\S]*v0003 +0\.90?",
    "Verdicts by key": rf"people +{NEW} +\[(fail, pass|pass, fail)\]",
    "Rotations that did not pass": r"people v0003 fail 0\.4",
    "Everything below one rotation": r"(attack|evaluation)[\s\S]*(attack|evaluation)",
    "What more leaked pairs bring": r"8 pairs: SSIM \+0\.008[\s\S]*32 pairs: SSIM \+0\.032",
}


@pytest.mark.parametrize("number", range(len(SEARCHES)))
def test_every_search_of_the_page_runs_and_finds_what_it_says(logged, number):
    root, _ = logged
    title, expected = list(EXPECTED.items())[number]
    assert PAGE.index(title) < PAGE.index(SEARCHES[number])
    environment = os.environ | {
        "MLFLOW_TRACKING_URI": tracking_uri(Store(root)),
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    done = subprocess.run(
        [sys.executable, "-c", SEARCHES[number]], env=environment, capture_output=True, text=True, check=False,
        cwd=root,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert re.search(expected, done.stdout), done.stdout


def test_the_page_has_as_many_searches_as_are_tried():
    assert len(SEARCHES) == len(EXPECTED) and len(LINES) == 3


@pytest.mark.parametrize(
    ("line", "found"),
    zip(LINES, (["rotation v0003"], [], ["attack v0003"]), strict=True),
)
def test_every_line_for_the_browser_finds_what_it_says(logged, line, found):
    root, ids = logged
    runs = client_of(root).search_runs([experiment_id(root)], filter_string=line)
    assert sorted(run.info.run_id for run in runs) == sorted(ids[name] for name in found)
