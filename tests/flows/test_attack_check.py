"""The attack check through the flow, on stored files: numbers in the store and in MLflow, pictures in neither."""

import json
import os
from pathlib import Path

import mlflow
import pandas as pd
import pytest

from avih.attack.settings import AttackSettings
from avih.errors import IntegrityError, UsageError
from avih.images import encode_png
from avih.keys import KeyStore, State, new_secret
from avih.naming import Store
from flows.attack_check import attack_check_flow
from tasks import opened
from tasks.attack_check import FILES, attack_check, read_attack
from tasks.attack_pairs import read_pairs
from tasks.originals import iter_originals
from tasks.progress import listening
from tasks.protect_shard import protect_shard
from tasks.records import RecogniserChoice
from tasks.signed_json import SIGNATURE

QUICK = AttackSettings(
    pairs=(4,), steps=4, minimum_steps=2, check_every=2, patience=1, width=4, blocks=0, judge_width=2,
    prior_steps=1, control_pairs=6, control_tests=3, control_key_steps=2, control_key_width=2, control_steps=2,
)  # fmt: skip


class Counting:
    """Counts the units that the attack stage tells."""

    def __init__(self) -> None:
        self.done: dict[str, int] = {}

    def begin(self, stage: str, total: int) -> None:
        self.done[f"{stage} planned"] = total

    def advance(self, stage: str, done: int) -> None:
        self.done[stage] = self.done.get(stage, 0) + done


@pytest.fixture(scope="module")
def attacked(made):
    """The gallery attacked through the flow: its own key, as no other is there."""
    counting = Counting()
    with listening(counting):
        record = attack_check_flow(
            new=made.place, new_key=made.result.key_id, recovery="keyed", settings=QUICK
        )
    return made, record, counting.done


def folder_of(made) -> Path:
    return Store(made.store).attacked(gallery="people", version="v0001")


def test_pairs_are_the_stored_bytes_with_their_originals(made):
    pairs = read_pairs(place=made.place, key_id=made.result.key_id, most=1000)
    originals = {name: x for number in made.shards for name, x in iter_originals(made.place, number)}
    rows = pd.concat([pd.read_parquet(path) for path in made.protected.glob("*.parquet")]).set_index(
        "image_id"
    )
    kept = rows[rows.status.isin(["protected", "below_quality"])]
    assert sorted(pairs.images) == sorted(kept.index)
    for row, name in enumerate(pairs.images):
        assert (pairs.originals[row] == originals[name]).all() and pairs.persons[row] == kept.person[name]
        assert not (pairs.protected[row] == originals[name]).all()


def test_of_a_large_version_whole_persons_are_read(made):
    everything = read_pairs(place=made.place, key_id=made.result.key_id, most=1000)
    few = read_pairs(place=made.place, key_id=made.result.key_id, most=7)
    assert 3 <= len(few) <= 7
    for person in set(few.persons):
        assert few.persons.count(person) == everything.persons.count(person)


def test_the_record_has_the_promised_fields_and_is_what_was_written(attacked):
    made, record, _ = attacked
    content = json.loads((folder_of(made) / "attack.json").read_text())
    assert set(content["result"]) == {
        "verdict", "prior", "control", "old_key", "new_key", "same_key_other_images", "curve",
        "recommended_budget", "notes",
    }  # fmt: skip
    wanted = {"images", "ssim", "ssim_advantage", "id_rate", "id_advantage", "lpips"}
    for name in ("prior", "control", "old_key", "same_key_other_images"):
        assert wanted <= set(content["result"][name])
    assert read_attack(store=Store(made.store), gallery="people", version="v0001") == record
    assert (content["key_id"], content["leaked_key_id"]) == (made.result.key_id, made.result.key_id)
    assert record.verdict == "attack too weak"  # four steps
    curve = pd.read_parquet(folder_of(made) / "curve.parquet")
    assert set(curve.network) == {"plain", "with generator"} and curve.pairs.min() == 4


def test_all_planned_units_are_told(attacked):
    _, _, done = attacked
    assert done["attack"] == done["attack planned"] > 0


def test_no_original_no_guess_and_no_weight_is_kept(attacked):
    made, _, _ = attacked
    folder = folder_of(made)
    assert {path.name for path in folder.iterdir()} == set(FILES)
    needles = {}
    for number in made.shards:
        for name, picture in iter_originals(made.place, number):
            png = encode_png(picture)
            needles |= {f"rows of {name}": picture[50:53].tobytes(), f"png of {name}": png[200:260]}
    assert needles
    for root in (folder, made.store / "mlflow", Path(os.environ["PREFECT_HOME"])):
        for path in (path for path in root.rglob("*") if path.is_file()):
            data = path.read_bytes()
            assert not [name for name, needle in needles.items() if needle in data], path
    assert (folder / "curve.png").stat().st_size < 200_000


def test_mlflow_has_the_verdict_the_figures_and_the_curve(attacked):
    made, record, _ = attacked
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{made.store / 'mlflow' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("people").experiment_id
    (run,) = client.search_runs([experiment], filter_string="tags.kind = 'attack'")
    assert run.data.tags["verdict"] == record.verdict and run.data.tags["key_id"] == made.result.key_id
    assert len(run.data.tags["prefect_flow_run_id"]) == 36
    assert run.data.metrics["control_ssim"] == pytest.approx(record.control.ssim)
    curve = client.get_metric_history(run.info.run_id, "curve_plain_ssim_advantage")
    assert {point.step: point.value for point in curve} == pytest.approx(
        {point.pairs: point.ssim_advantage for point in record.curve if point.network == "plain"}
    )
    assert {item.path for item in client.list_artifacts(run.info.run_id)} == set(FILES)


def test_prefect_shows_the_verdict_on_the_runs_page(attacked):
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId

    made, _, _ = attacked
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{made.store / 'mlflow' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("people").experiment_id
    (run,) = client.search_runs([experiment], filter_string="tags.kind = 'attack'")
    flow_run = ArtifactFilterFlowRunId(any_=[run.data.tags["prefect_flow_run_id"]])
    with get_client(sync_client=True) as prefect:
        found = prefect.read_artifacts(artifact_filter=ArtifactFilter(flow_run_id=flow_run))
    (shown,) = [artifact for artifact in found if artifact.key == "attack"]
    assert "Verdict: **attack too weak**" in shown.data and "| control |" in shown.data


def test_the_old_key_attacks_the_new_one_and_a_second_call_does_nothing_again(copy, monkeypatch):
    place, old_key = copy.place, copy.result.key_id
    keys = KeyStore(copy.store / "3_keys")
    record = keys.add(
        new_secret(keys.load(old_key, purpose="inspect")), actor="test", reason="test", recovery="keyed"
    )
    keys.transition(record.key_id, State.ACTIVE, actor="test", reason="test")
    for number in copy.shards:
        protect_shard(place=place, key_id=record.key_id, number=number, settings=copy.settings.protect)
    arguments = {
        "old": place,
        "old_key": old_key,
        "new": place,
        "new_key": record.key_id,
        "recovery": "keyed",
    }
    found = attack_check(**arguments, settings=QUICK)
    assert found.new_key.same_images.images >= 4 and found.new_key.other_persons.images >= 1
    assert found.new_key.ssim in (found.new_key.same_images.ssim, found.new_key.other_persons.ssim)
    before = (folder_of(copy) / "attack.json").stat().st_mtime_ns
    monkeypatch.setattr("tasks.attack_check.check_attack", None)  # would raise if it were called
    assert attack_check(**arguments, settings=QUICK) == found
    assert (folder_of(copy) / "attack.json").stat().st_mtime_ns == before
    with pytest.raises(TypeError):
        attack_check(**arguments, settings=QUICK.model_copy(update={"seed": 1}))
    for spoil in (altered, unsigned):
        path, signed = folder_of(copy) / "attack.json", (folder_of(copy) / "attack.json").read_text()
        path.write_text(spoil(signed))
        with pytest.raises(IntegrityError):
            read_attack(store=Store(copy.store), gallery="people", version="v0001")
        with pytest.raises(TypeError):  # not taken over: it is made again
            attack_check(**arguments, settings=QUICK)
        path.write_text(signed)
    assert attack_check(**arguments, settings=QUICK) == found


def altered(text: str) -> str:
    """What somebody would write who wants a rotation to go live."""
    return text.replace('"verdict": "attack too weak"', '"verdict": "pass"')


def unsigned(text: str) -> str:
    return json.dumps({name: value for name, value in json.loads(text).items() if name != SIGNATURE})


def test_the_check_of_another_version_is_none_of_this_one(attacked):
    made, _, _ = attacked
    store = Store(made.store)
    path = store.attacked(gallery="people", version="v0009") / "attack.json"
    path.parent.mkdir(parents=True)
    try:
        path.write_bytes((folder_of(made) / "attack.json").read_bytes())
        with pytest.raises(IntegrityError, match="that of another version"):
            read_attack(store=store, gallery="people", version="v0009")
    finally:
        path.unlink()
        path.parent.rmdir()


def test_the_service_model_cannot_be_the_second_recogniser(made):
    with pytest.raises(UsageError, match="took no part in protection"):
        attack_check(
            old=None, old_key=None, new=made.place, new_key=made.result.key_id, recovery="keyed",
            settings=QUICK.model_copy(update={"seed": 2}), second=RecogniserChoice(card="synthetic"),
        )  # fmt: skip


def test_a_missing_and_a_damaged_check_are_told(copy):
    opened.forget()
    with pytest.raises(UsageError, match="got none"):
        read_attack(store=Store(copy.store), gallery="people", version="v0007")
    folder_of(copy).mkdir(parents=True, exist_ok=True)
    (folder_of(copy) / "attack.json").write_text('{"result": {"verdict": "splendid"}}')
    with pytest.raises(IntegrityError, match="damaged"):
        read_attack(store=Store(copy.store), gallery="people", version="v0001")
