"""Recovery drills of real galleries: what comes back, what does not, and that nobody else learns of it."""

import json
import logging
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterId,
    LogFilter,
    LogFilterFlowRunId,
)
from typer.testing import CliRunner

from avih.erasing import sign_again
from avih.errors import IntegrityError
from avih.evaluation.summary import Limits
from avih.images import encode_png
from avih.shards import read_rows
from flows.alerts import read_alerts
from flows.cli.main import app
from flows.drill_gallery import drill_gallery_flow
from held_elsewhere import held_elsewhere
from small_drill import PHOTOS, call, drill, flip, kept, replace_pictures, with_noise
from small_methods import Gallery
from tasks import opened
from tasks.drill_gallery import drill_gallery
from tasks.drill_record import DrillFailed, DrillRecord, drill_path
from tasks.erase_person import erase_person
from tasks.protect_shard import protected_address
from tasks.run_record import load_run, save_run


def test_a_drill_passes_and_its_outcome_is_kept_signed(own):
    shown = call(own, "--sample", "5", "--json")
    assert shown.exit_code == 0, shown.output
    facts = json.loads(shown.stdout)
    record = kept(own)
    assert DrillRecord.model_validate(facts) == record
    assert (record.gallery, record.version, record.key_id) == ("people", "v0001", own.key_id)
    assert (record.sample, record.compared, record.protected) == (5, 5, PHOTOS)
    assert (record.passed, record.exact, record.mean_ssim_d, record.lowest_ssim_d) == (True, True, 1.0, 1.0)
    assert record.failing == () and record.stand_ins == 0
    path = drill_path(own.store, gallery="people", version="v0001")
    assert [one.stat().st_mode & 0o777 for one in (path.parent, path)] == [0o700, 0o600]
    assert [file.name for file in path.parent.iterdir()] == ["summary.json"]
    read = call(own)
    assert read.exit_code == 0 and "the pictures come back" in read.stdout
    assert f"{PHOTOS} of {PHOTOS}" in read.stdout  # the sample is larger than the gallery


def test_the_figures_of_a_keyed_gallery_are_those_of_its_rows(made, tmp_path):
    """Its pictures come back nearly, some worse than others."""
    shutil.copytree(made.store, tmp_path / "store")
    rows = {}
    for number in made.shards:
        table = read_rows(made.place.folder, protected_address(made.place, made.result.key_id, number))
        rows |= {row["image_id"]: row["ssim_d"] for row in table.to_dict("records") if row["ssim_d"] > -1}

    def drilled(*more: str):
        opened.forget()
        arguments = [
            "drill",
            "people",
            "--sample",
            "100",
            *more,
            "--json",
            "--store",
            str(tmp_path / "store"),
        ]
        shown = CliRunner().invoke(app, arguments)
        return shown.exit_code, DrillRecord.model_validate(json.loads(shown.stdout))

    code, record = drilled()
    assert (code, record.threshold, record.exact) == (0, Limits().ssim_d_min, False)
    assert record.sample == record.compared == record.protected == len(rows) > 10
    assert record.mean_ssim_d == pytest.approx(np.mean(list(rows.values())), abs=1e-6)
    assert record.lowest_ssim_d == pytest.approx(min(rows.values()), abs=1e-6)
    between = float(np.median(list(rows.values()))) + 1e-4
    code, record = drilled("--threshold", f"{between:.6f}")
    poor = {name for name, figure in rows.items() if figure < between}
    assert code == 4 and set(record.below) == poor and 0 < len(poor) < len(rows)


def test_each_drill_draws_others(own, monkeypatch):
    looked: list[frozenset[str]] = []
    real = drill_gallery.__globals__["iter_originals"]

    def watched(place, number, *, images):
        looked[-1] |= images
        return real(place, number, images=images)

    monkeypatch.setitem(drill_gallery.__globals__, "iter_originals", watched)
    for _ in range(40):
        looked.append(frozenset())
        assert drill(own, sample=3).compared == 3
    assert {len(names) for names in looked} == {3}
    # 56 samples of 3 can be drawn; that 40 draws give fewer than 10 of them, or leave a picture out, is
    # less likely than one in a million.
    assert len(set(looked)) >= 10 and frozenset.union(*looked) == set(own.originals())


def test_pictures_that_come_back_as_others_are_named_and_the_exit_code_is_4(own):
    record = load_run(store=own.store, gallery="people")
    usual = record.settings.evaluate.model_copy(update={"limits": Limits()})
    save_run(record.model_copy(update={"settings": record.settings.model_copy(update={"evaluate": usual})}),
             store=own.store)  # fmt: skip
    changed = replace_pictures(own, with_noise)
    failed = call(own, "--json")
    assert failed.exit_code == 4
    facts = json.loads(failed.stdout)
    assert sorted(facts["below"]) == sorted(facts["inexact"]) == sorted(changed) and len(changed) == 2
    assert facts["passed"] is False and facts["lowest_ssim_d"] < 0.2 < 0.7 < facts["mean_ssim_d"] < 0.8
    assert kept(own).failing == tuple(sorted(changed))
    read = call(own)
    assert read.exit_code == 4 and all(f"{name}: " in read.stdout for name in changed)
    assert "NOT ALL PICTURES COME BACK" in read.stdout
    # With a threshold that anything passes, what has to be exact still has to be.
    assert call(own, "--threshold", "-1").exit_code == 4


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (("--version", "v0009"), "among v0001"),
        (("--sample", "0"), "--sample"),
        (("--threshold", "1.5"), "--threshold"),
    ],
)
def test_what_cannot_be_drilled_is_told_with_exit_code_2(light, given, told):
    failed = call(light, *given)
    assert failed.exit_code == 2 and told in " ".join(failed.stderr.split()) and not failed.stdout


def test_a_gallery_that_somebody_works_on_is_left_alone(own):
    with held_elsewhere(own.store, "an erasure"):
        busy = call(own)
        assert busy.exit_code == 1 and "an erasure" in busy.stderr
    assert kept(own) is None


def test_a_scheduled_drill_that_fails_is_an_alert_without_names(own):
    changed = replace_pictures(own, with_noise)
    with pytest.raises(DrillFailed, match="2 that did not"):
        drill_gallery_flow(store=str(own.store.root), gallery="people", threshold=0.88)
    flip(own.folder() / "00001.tar", 3000)
    with pytest.raises(IntegrityError, match="v0001/00001"):
        drill_gallery_flow(store=str(own.store.root), gallery="people")
    alerts = read_alerts(own.store)
    assert [alert.flow for alert in alerts] == ["drill-gallery"] * 2
    told = " ".join(alert.error for alert in alerts)
    assert "DrillFailed" in told and "IntegrityError" in told
    assert not [name for name in changed if name in told]
    assert kept(own).failing == tuple(sorted(changed))


def test_no_picture_no_path_and_no_name_leaves_the_store_s_private_places(own, caplog):
    caplog.set_level(logging.DEBUG)
    changed = replace_pictures(own, with_noise)
    run = drill_gallery_flow(store=str(own.store.root), gallery="people", enforce=False)
    assert run.failing == tuple(sorted(changed)) and call(own).exit_code == 4
    needles: dict[str, bytes] = {}
    for name, picture in own.originals().items():
        png = encode_png(picture)
        needles |= {f"rows of {name}": picture[50:53].tobytes(), f"png of {name}": png[200:260]}
    names = {f"id {name}": name.encode() for name in own.originals()}
    written = drill_path(own.store, gallery="people", version="v0001")
    homes = [own.store.mlflow, own.store.prefect, own.store.alerts, Path(os.environ["PREFECT_HOME"])]
    files = [path for home in homes for path in home.rglob("*") if path.is_file()]
    for path in [*files, written]:
        data = path.read_bytes()
        # Ids are in the record, which is the owner's, and where the run that made the gallery put them.
        there = path == written or own.store.mlflow in path.parents
        wanted = needles if there else needles | names
        assert not [name for name, needle in wanted.items() if needle in data], path
    assert not [name for name in own.originals() if name in caplog.text]
    assert set(written.parent.iterdir()) == {written}


def test_prefect_is_told_figures_and_no_name(own):
    changed = replace_pictures(own, with_noise)
    with pytest.raises(DrillFailed):
        drill_gallery_flow(store=str(own.store.root), gallery="people", threshold=0.88)
    with get_client(sync_client=True) as prefect:
        drills = FlowFilter(name=FlowFilterName(any_=["drill-gallery"]))
        found = prefect.read_flow_runs(flow_filter=drills)
        (run,) = [one for one in found if str(own.store.root) in str(one.parameters)]
        only = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run.id]))
        (shown,) = [one for one in prefect.read_artifacts(artifact_filter=only) if one.key == "drill"]
        logs = prefect.read_logs(log_filter=LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run.id])))
        work = prefect.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run.id])))
    told = " ".join(one.model_dump_json() for one in [run, shown, *logs, *work])
    assert '"failed' in told and "mean_ssim_d" in shown.data and run.state.type.value == "FAILED"
    assert work and not [name for name in own.originals() if name in told] and changed


def test_an_erased_person_is_in_no_record_of_a_drill(own):
    changed = replace_pictures(own, with_noise)
    call(own)
    assert kept(own).failing == tuple(sorted(changed))
    done = sign_and_erase(own, changed[0].split("__")[0])
    assert done.found == () and kept(own) is None


def sign_and_erase(gallery: Gallery, person: str):
    """Sign the version as it is now, then erase: an erasure refuses what is not as it was signed."""
    mac_key = opened.vault(gallery.store.root).mac_key()
    sign_again(store=gallery.store, gallery="people", version="v0001", key_id=gallery.key_id,
               numbers=gallery.shards(), mac_key=mac_key)  # fmt: skip
    return erase_person(store=gallery.store, gallery="people", person=person)
