"""A version's figures, read shard by shard, are those of all rows together in memory."""

import hashlib
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from avih.errors import UsageError
from avih.evaluation.identification import identify
from avih.evaluation.summary import summarise
from avih.images import encode_png
from avih.methods.pipeline import Finished, Portrait, Protected
from avih.settings import EvaluateSettings
from small_methods import Gallery
from tasks import protect_shard
from tasks.evaluate_shard import evaluate_shard, evaluated_address
from tasks.measurements import Measurements
from tasks.records import Place, RecogniserChoice
from tasks.summarise_gallery import condense, summarise_gallery

KEY = "0123456789abcdef"
SETTINGS = EvaluateSettings(probe_persons=3, contact_sheet_images=20)
FIGURES = ("ssim_e", "ssim_d", "cos", "wrong_key_ssim_d", "seconds")


def gallery() -> pd.DataFrame:
    """Rows as the evaluate stage writes them: persons with many photos, others, and photos without a face."""
    generator = np.random.default_rng(0)
    persons = [f"p{n}" for n in range(5) for _ in range(13 + n)] + [f"single{n}" for n in range(60)]
    generator.shuffle(persons)
    rows = pd.DataFrame({"image_id": [f"{p}__{n:03d}" for n, p in enumerate(persons)], "person": persons})
    middles = {person: generator.normal(size=8) for person in persons}
    rows["feature_original"] = [middles[person] + generator.normal(size=8) for person in persons]
    rows["feature_protected"] = [
        feature + 0.4 * generator.normal(size=8) for feature in rows.feature_original
    ]
    rows = rows.assign(
        **{name: generator.uniform(0, 1, len(rows)) for name in FIGURES}, lpips_e=None, lpips_d=None
    )
    rows["status"] = generator.choice(["protected", "below_quality", "failed"], len(rows), p=[0.8, 0.1, 0.1])
    failed = rows.status == "failed"
    rows.loc[failed, ["feature_original", "feature_protected", "ssim_e", "ssim_d", "cos", "seconds"]] = None
    return rows.assign(reason=np.where(failed, "no_face in the photo", ""))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(
        store=str(tmp_path), gallery="people", version="v0001", recogniser=RecogniserChoice(card="x")
    )


def write(place: Place, rows: pd.DataFrame, *, shards: int) -> list[int]:
    """Put the rows into shards at random: a photo keeps its shard, so shards follow neither ids nor persons."""
    numbers = np.random.default_rng(1).integers(0, shards, len(rows))
    for number in range(shards):
        path = place.folder.shard(evaluated_address(place, KEY, number), "parquet")
        path.parent.mkdir(parents=True, exist_ok=True)
        rows[numbers == number].to_parquet(path, index=False)
    return list(range(shards))


@pytest.mark.parametrize("shards", [1, 4, 40])
def test_against_all_rows_in_memory(place: Place, shards: int) -> None:
    rows = gallery()
    measured = Measurements(place=place, key_id=KEY, shards=write(place, rows, shards=shards))
    tally, identification, chosen = condense(measured, place=place, settings=SETTINGS)
    counted = rows[rows.status != "failed"]
    assert identification == identify(
        original=np.stack(counted.feature_original), protected=np.stack(counted.feature_protected),
        persons=counted.person.tolist(), count=3, minimum_photos=SETTINGS.minimum_photos, seed=SETTINGS.seed,
    )  # fmt: skip
    assert 0 < identification.acc_one < identification.acc_original < 1
    figures = summarise(tally, identification)
    for key, column in (("ssim_d", "ssim_d"), ("cos_mean", "cos"), ("seconds_per_image", "seconds")):
        assert figures[key] == pytest.approx(counted[column].astype(float).mean(), rel=1e-13)
    assert figures["cos_min"] == counted.cos.astype(float).min()
    assert figures["lpips_d"] is None
    assert tally.statuses == rows.status.value_counts().to_dict()
    assert tally.reasons == {"no_face": (rows.status == "failed").sum()}
    ordered = counted.sort_values("image_id")
    turns = ordered.assign(turn=ordered.groupby("person").cumcount()).sort_values(["turn", "image_id"])
    assert chosen.image_id.tolist() == turns.image_id.head(20).tolist()
    written = pd.concat([table[["image_id", "shard"]] for table in measured]).set_index("image_id").shard
    assert chosen.shard.tolist() == written[chosen.image_id].tolist()
    assert not [path for path in place.folder.root.rglob("*.part")]


def test_features_of_some_persons_are_read_from_their_shards_alone(place: Place) -> None:
    rows = gallery()
    measured = Measurements(place=place, key_id=KEY, shards=write(place, rows, shards=40))
    wanted = rows[(rows.person == "p1") & (rows.status != "failed")]
    parts = list(measured.features(frozenset({"p1"})))
    assert {name for part in parts for name in part.persons} == {"p1"}
    found = np.concatenate([part.original for part in parts])
    assert sorted(map(tuple, found)) == sorted(map(tuple, wanted.feature_original))
    assert not any(column.startswith("feature") for table in measured for column in table.columns)


def test_a_version_without_any_protected_photo_has_no_figures(place: Place) -> None:
    rows = gallery()
    shards = write(place, rows[rows.status == "failed"], shards=2)
    measured = Measurements(place=place, key_id=KEY, shards=shards)
    tally, identification, chosen = condense(measured, place=place, settings=SETTINGS)
    assert (identification.acc_all, len(chosen)) == (None, 0)
    assert set(summarise(tally, identification).values()) == {None}


def test_a_version_without_shards_is_refused(place: Place) -> None:
    with pytest.raises(UsageError, match="at least one shard"):
        Measurements(place=place, key_id=KEY, shards=[])


def test_a_protected_photo_without_a_cosine_keeps_the_version_from_going_live(own: Gallery) -> None:
    store, result = own.store, own.result
    place = own.place(result.version)
    path = store.shard(evaluated_address(place, result.key_id, 0), "parquet")
    rows = pd.read_parquet(path)
    rows.loc[rows.index[0], "cos"] = np.nan
    rows.to_parquet(path, index=False)
    summary = summarise_gallery(
        place=place, key_id=result.key_id, shards=[0, 1], recovery="inverse",
        settings=EvaluateSettings(contact_sheet_images=1), lpips_reason=None,
    )  # fmt: skip
    assert "cos was not measured for 1 of 8 images" in summary.broken_limits
    assert summary.metrics["cos_min"] is not None


@pytest.mark.parametrize(
    ("cosine", "similarity", "reason"),
    [(1.0, 1.0, ""), (np.nan, 1.0, "cos nan below 0.5"), (1.0, np.nan, "SSIM_d nan below 0.5")],
)
def test_a_figure_that_is_no_number_is_below_quality(
    monkeypatch: pytest.MonkeyPatch, cosine: float, similarity: float, reason: str
) -> None:
    monkeypatch.setattr(protect_shard, "ssim", lambda *_: similarity)
    picture = np.zeros((4, 4, 3), dtype=np.uint8)
    bench = SimpleNamespace(
        key=SimpleNamespace(recover=lambda stored, recovery: [stored[0].pixels]),
        settings=SimpleNamespace(minimum_cosine=0.5, minimum_ssim_d=0.5, recovery="keyed"),
    )
    done = Finished(Portrait("a", "p", picture), Protected(picture, "nonce", cosine, 1), 1.0)
    fields = protect_shard._judged(bench, done, encode_png(picture))
    assert fields["status"] == ("below_quality" if reason else "protected") and fields["reason"] == reason


def test_measurements_that_nobody_signed_are_made_again(own: Gallery) -> None:
    arguments = {"place": own.place(own.result.version), "key_id": own.result.key_id, "number": 0,
                 "recovery": "inverse", "lpips_backbone": None}  # fmt: skip
    address = evaluated_address(arguments["place"], own.result.key_id, 0)
    path, record = (own.store.shard(address, ending) for ending in ("parquet", "done.json"))
    signed = record.read_bytes()
    assert not evaluate_shard(**arguments).made
    before = pd.read_parquet(path)
    better = before.assign(cos=1.0)
    better.to_parquet(path, index=False)
    assert evaluate_shard(**arguments).made and pd.read_parquet(path).cos.equals(before.cos)
    better.to_parquet(path, index=False)
    content = json.loads(signed) | {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    record.write_text(json.dumps(content))  # as whoever may write to the store, but has no key
    assert evaluate_shard(**arguments).made and pd.read_parquet(path).cos.equals(before.cos)
    path.unlink()
    assert evaluate_shard(**arguments).made and not evaluate_shard(**arguments).made
