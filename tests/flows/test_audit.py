"""The security lab on stored galleries, by flow and command: figures in the store, pictures only by consent."""

import base64
import io
import json
import os
import re
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner

from avih.errors import IntegrityError, UsageError
from avih.evaluation.metrics import ssim
from avih.images import encode_png
from avih.lab.result import LabResult
from flows.audit_gallery import audit_gallery_flow
from flows.cli import lab  # noqa: F401  # it registers its commands
from flows.cli.main import app
from small_audit import ONE, TINY, copied, from_source, light_gallery, tiny_lab
from small_methods import Gallery, settings_of
from small_methods import made as small
from tasks import opened
from tasks.audit_gallery import audit_gallery
from tasks.audit_record import audit_folder, read_audit
from tasks.audit_subject import read_subject
from tasks.originals import iter_originals
from tasks.progress import listening
from tasks.records import RecogniserChoice
from unorchestrated import without_prefect

ENTRY = {"name", "verdict", "id_rate", "prior_id_rate", "ssim", "ssim_advantage", "ci", "cost_s"}


class Counting:
    """Counts the units that the audit tells."""

    def __init__(self) -> None:
        self.planned, self.done = 0, 0

    def begin(self, stage: str, total: int) -> None:
        self.planned += total if stage == "audit" else 0

    def advance(self, stage: str, done: int) -> None:
        self.done += done if stage == "audit" else 0


@pytest.fixture(scope="module")
def light(tmp_path_factory: pytest.TempPathFactory) -> Gallery:
    return light_gallery(tmp_path_factory.mktemp("light"))


@pytest.fixture(scope="module")
def audited(prefect_server: None, light: Gallery):
    """A gallery audited through the flow by the one attack that there is."""
    counting = Counting()
    with tiny_lab(), listening(counting):
        record = audit_gallery_flow(store=str(light.store.root), gallery="people")
    return light, record, counting


@pytest.fixture
def copy(light: Gallery, tmp_path: Path) -> Gallery:
    return copied(light, tmp_path)


@pytest.fixture(autouse=True)
def tiny():
    with tiny_lab() as patch:
        yield patch


def folder_of(gallery: Gallery) -> Path:
    return audit_folder(gallery.store, gallery="people", version="v0001")


def audit(gallery: Gallery, **more: object):
    given = {"place": gallery.place(), "key_id": gallery.key_id, "recovery": "inverse", "settings": TINY}
    return audit_gallery(**given | more)


def flow(gallery: Gallery, **more: object):
    with without_prefect():
        from flows.audit_gallery import audit_gallery_flow

        return audit_gallery_flow(store=str(gallery.store.root), gallery="people", **more)


def pictures_in(report: Path) -> list[np.ndarray]:
    found = re.findall(r"data:image/png;base64,([A-Za-z0-9+/=]+)", report.read_text())
    return [np.array(Image.open(io.BytesIO(base64.b64decode(text)))) for text in found]


def logged(gallery: Gallery, query: str = "tags.kind = 'audit'"):
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{gallery.store.mlflow / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("people").experiment_id
    return client, client.search_runs([experiment], filter_string=query)


def test_the_verdict_has_the_promised_schema_and_says_what_was_audited(audited):
    light, record, counting = audited
    content = json.loads((folder_of(light) / "verdict.json").read_text())
    assert content["verdict"] == "attack too weak" == record.result.verdict
    assert {one["name"] for one in content["controls"]} >= {"originals", "AES noise", "owner's key"}
    assert all(isinstance(one["ok"], bool) for one in content["controls"])
    (attack,) = content["attacks"]
    assert set(attack) >= ENTRY and attack["name"] == ONE[0]
    assert [point["pairs"] for point in content["leak_budget"]["points"]] == [2, 4]
    assert content["audit"]["key_id"] == light.key_id
    assert content["audit"]["settings"] == json.loads(TINY.model_dump_json())
    kept = read_audit(light.store, gallery="people", version="v0001")
    assert kept == record.model_copy(update={"made": False})
    assert (counting.planned, counting.done) == (2, 2)


def test_no_original_and_no_name_is_kept_without_consent(audited):
    light, record, _ = audited
    assert not record.about.pictures and not pictures_in(record.report)
    assert {path.name for path in folder_of(light).iterdir()} == {"verdict.json", "report.html"}
    assert record.report.stat().st_mode & 0o777 == 0o644
    text = (folder_of(light) / "verdict.json").read_text() + record.report.read_text()
    needles = {}
    for name, picture in light.originals().items():
        png = encode_png(picture)
        needles |= {f"rows of {name}": picture[50:53].tobytes(), f"png of {name}": png[200:260]}
        needles[f"text of {name}"] = base64.b64encode(png)[300:360]
        assert name not in text and name.split("__")[0] not in text
    for root in (folder_of(light), light.store.mlflow, Path(os.environ["PREFECT_HOME"])):
        for path in (path for path in root.rglob("*") if path.is_file()):
            data = path.read_bytes()
            assert not [name for name, needle in needles.items() if needle in data], path


def test_mlflow_has_verdict_figures_and_report(audited):
    light, record, _ = audited
    client, (run,) = logged(light)
    tags, metrics, (attack,) = run.data.tags, run.data.metrics, record.result.attacks
    assert (tags["verdict"], tags["profile"], tags["version"]) == ("attack too weak", "quick", "v0001")
    assert (
        tags["key_id"] == light.key_id and len(tags["prefect_flow_run_id"]) == 36 and tags["whole"] == "yes"
    )
    assert metrics["audit.same_key_network.ssim"] == pytest.approx(attack.ssim)
    assert metrics["audit.control.originals.ok"] == float(record.result.controls[0].ok)
    curve = client.get_metric_history(run.info.run_id, "audit.leak_budget.ssim_advantage")
    assert sorted(point.step for point in curve) == [2, 4]
    assert {item.path for item in client.list_artifacts(run.info.run_id)} == {"verdict.json", "report.html"}


def test_prefect_shows_the_verdict_on_the_runs_page(audited):
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId

    light, _, _ = audited
    _, (run,) = logged(light)
    flow_run = ArtifactFilterFlowRunId(any_=[run.data.tags["prefect_flow_run_id"]])
    with get_client(sync_client=True) as prefect:
        found = prefect.read_artifacts(artifact_filter=ArtifactFilter(flow_run_id=flow_run))
    (shown,) = [artifact for artifact in found if artifact.key == "audit"]
    assert "Verdict: **attack too weak**" in shown.data
    assert "| same_key_network |" in shown.data and "| originals |" in shown.data


def test_what_did_not_change_is_not_audited_twice(copy, tiny):
    record = audit(copy)
    tiny.setattr("tasks.audit_gallery.audit", None)  # would raise if it were called
    assert audit(copy) == record.model_copy(update={"made": False})
    for other in (
        {"settings": TINY.model_copy(update={"seed": 1})},
        {"consenting": True},
        {"data": "others"},
    ):
        with pytest.raises(TypeError):
            audit(copy, **other)
    record.report.unlink()
    with pytest.raises(TypeError):
        audit(copy)


def test_an_altered_verdict_is_refused_and_made_again(copy):
    record = audit(copy)
    path = folder_of(copy) / "verdict.json"
    path.write_text(path.read_text().replace('"attack too weak"', '"pass"'))
    with pytest.raises(IntegrityError, match="altered"):
        read_audit(copy.store, gallery="people", version="v0001")
    again = audit(copy)
    assert again.made and again.result.verdict == record.result.verdict


def test_pictures_are_shown_by_consent_only_and_then_to_the_owner_alone(copy):
    record = flow(copy, show_pictures=True)
    assert record.about.pictures and record.report.stat().st_mode & 0o777 == 0o600
    shown = pictures_in(record.report)
    assert sum((one == original).all() for one in shown for original in copy.originals().values()) == 1
    client, (run, *_) = logged(copy)  # the newest first
    assert [item.path for item in client.list_artifacts(run.info.run_id)] == ["verdict.json"]
    hidden = flow(copy)
    assert not pictures_in(hidden.report) and hidden.report.stat().st_mode & 0o777 == 0o644


def test_drawn_faces_need_no_consent(copy):
    from_source(copy, "synthetic")
    found = flow(copy)
    assert found.about.pictures and found.result.data == "drawn faces" and pictures_in(found.report)


def test_photos_that_no_veil_covers_are_there_for_reference(tmp_path):
    gallery = small(tmp_path, settings_of("person_veil", steps=3, photos_per_veil=1), enforce_limits=False)
    subject = read_subject(place=gallery.place(), key_id=gallery.key_id, recovery="veil", most=100,
                           consenting=False, data="")  # fmt: skip
    assert len(subject.pairs) == 4 and subject.generator is None
    persons, pictures = subject.others
    assert sorted(persons) == sorted(subject.pairs.persons)
    hidden = set(subject.pairs.images)
    spare = [x for name, x in gallery.originals().items() if name not in hidden]
    assert len(spare) == len(pictures) == 4
    assert all(any((one == x).all() for x in spare) for one in pictures)


def call(gallery: Gallery, *more: str):
    opened.forget()
    with without_prefect():
        return CliRunner().invoke(app, ["lab", *more, "--store", str(gallery.store.root)])


def test_the_command_prints_one_object_and_leaves_with_4_when_nothing_is_proven(copy):
    shown = call(copy, "people", "--json")
    assert shown.exit_code == 4, shown.output
    assert LabResult.model_validate(json.loads(shown.stdout)).verdict == "attack too weak"
    read = call(copy, "people")
    assert read.exit_code == 4 and "ATTACK TOO WEAK" in read.stdout and "AES noise" in read.stdout
    assert str(folder_of(copy) / "report.html") in "".join(read.stdout.splitlines())


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (("nobody",), "there are: people"),
        (("people", "--version", "v0009"), "among v0001"),
        (("people", "--profile", "huge"), "quick or full, got 'huge'"),
        (("people", "--attack", "hammer"), "same_key_network"),
        (("people", "--second-weights", "/nowhere.pth"), "got none"),
        (("people", "--second-recogniser", "synthetic"), "took no part in protection"),
    ],
)
def test_what_cannot_be_audited_is_told_with_exit_code_2(light, given, told):
    failed = call(light, *given)
    assert failed.exit_code == 2 and told in " ".join(failed.stderr.split()), failed.output
    assert not failed.stdout


def test_some_attacks_only_leave_the_whole_audit_as_it_is(copy, tiny):
    audit(copy)
    whole = (folder_of(copy) / "verdict.json").read_bytes()
    tiny.setattr("avih.lab.registry.NAMES", (*ONE, "another"))
    shown = call(copy, "people", "--attack", ONE[0], "--json")
    assert [one["name"] for one in json.loads(shown.stdout)["attacks"]] == list(ONE)
    assert (folder_of(copy) / "verdict.json").read_bytes() == whole
    assert (folder_of(copy) / "chosen" / "verdict.json").exists()


def test_of_a_keyed_gallery_the_generator_is_known_and_its_owner_recovers(made):
    subject = read_subject(place=made.place, key_id=made.result.key_id, recovery="keyed", most=8,
                           consenting=False, data="")  # fmt: skip
    rows = pd.concat(pd.read_parquet(path) for path in made.protected.glob("*.parquet")).set_index("image_id")
    assert list(subject.nonces) == [rows.nonce[name] for name in subject.pairs.images]
    assert subject.generator is not None and subject.others is None and 3 <= len(subject.pairs) <= 8
    names = subject.pairs.images[:3]
    pixels = subject.pairs.named(names).protected
    right, wrong = subject.recover(names, pixels), subject.recover(names, pixels[[1, 2, 0]])
    originals = {name: x for number in made.shards for name, x in iter_originals(made.place, number)}
    for name, one, other in zip(names, right, wrong, strict=True):
        assert ssim(originals[name], one) == pytest.approx(rows.ssim_d[name], abs=1e-6)
        assert ssim(originals[name], other) < rows.ssim_d[name]
    with pytest.raises(UsageError, match="took no part in protection"):
        audit_gallery(place=made.place, key_id=made.result.key_id, recovery="keyed", settings=TINY,
                      second=RecogniserChoice(card="synthetic"))  # fmt: skip
