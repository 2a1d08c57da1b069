"""The whole job through a real Prefect server, a real MLflow store and real tar files."""

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from avih.errors import KeyRefused, QualityBelowLimits, SettingsMismatch
from avih.evaluation.metrics import ssim
from avih.images import decode_png
from avih.keys import KeyStore, Vault
from avih.manifest import verify_gallery
from avih.naming import Store
from avih.recovery import Stored, recover
from avih.settings import EvaluateSettings
from flows.evaluate_gallery import evaluate_gallery
from small_source import NOTES, REFUSALS, ROWS, TWO_FACES
from tasks import opened
from tasks.originals import iter_originals


def rows_of(made) -> pd.DataFrame:
    return pd.concat([pd.read_parquet(path) for path in sorted(made.protected.glob("*.parquet"))])


def test_every_input_is_a_row_with_a_status_and_the_sums_match(made):
    rows = rows_of(made).set_index("path")
    assert rows.index.is_unique
    assert len(rows) == ROWS == sum(made.result.counts.values())
    assert rows.status.value_counts().to_dict() == made.result.counts
    assert {s: n for s, n in made.result.summary.counts.items() if n} == made.result.counts
    good = [path for path in rows.index if path.startswith("person_")]
    assert set(rows.index) == set(good) | set(REFUSALS) | set(NOTES)
    assert set(rows.status[good]) <= {"protected", "below_quality"}


@pytest.mark.parametrize("path", REFUSALS)
def test_a_bad_file_costs_one_row_with_its_reason(made, path):
    row = rows_of(made).set_index("path").loc[path]
    assert (row.status, row.reason) == REFUSALS[path]
    assert row.note and pd.isna(row.nonce) and pd.isna(row.file_sha256)


@pytest.mark.parametrize("path", NOTES)
def test_a_face_in_an_odd_file_is_protected_and_the_row_says_what_was_odd(made, path):
    row = rows_of(made).set_index("path").loc[path]
    assert (row.status, row.reason) == ("protected", "")
    assert set(row.note.split("; ")) == NOTES[path]
    assert row.cos >= 0.998 and row.ssim_d > 0.9


def test_of_two_faces_the_central_one_is_protected(made):
    rows = rows_of(made).set_index("path")
    faces = {name: x.astype(int) for number in made.shards for name, x in iter_originals(made.place, number)}
    taken, middle, beside = (
        faces[rows.image_id[path]]
        for path in (TWO_FACES, "person_0040/person_0040_0001.png", "person_0041/person_0041_0001.png")
    )
    assert 2 * abs(taken - middle).mean() < abs(taken - beside).mean()


def test_figures_come_from_the_stored_files(made):
    key = KeyStore(made.store / "3_keys").load(made.result.key_id, purpose="recover")
    opened_key, generator = opened.key(made.store, key_id=key.key_id, purpose="recover")
    originals = {name: x for number in made.shards for name, x in iter_originals(made.place, number)}
    measured = pd.concat(
        [pd.read_parquet(p) for p in made.store.glob("5_evaluated/people/*/v0001/*.parquet")]
    )
    recogniser = opened.recogniser(made.place.recogniser, made.store)
    checked = 0
    for path in sorted(made.protected.glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar.getmembers():
                if not member.name.endswith(".png"):
                    continue
                name = member.name.removesuffix(".png")
                stored = decode_png(tar.extractfile(member).read())
                label = json.load(tar.extractfile(f"{name}.json"))
                (back,) = recover(
                    [Stored(name, stored, label["nonce"])], secret=opened_key.secret.reveal(),
                    generator=generator, recovery="keyed",
                )  # fmt: skip
                row = measured.set_index("image_id").loc[name]
                assert ssim(originals[name], back) == pytest.approx(row.ssim_d, abs=1e-6) and row.ssim_d > 0.9
                assert (
                    ssim(originals[name], stored) == pytest.approx(row.ssim_e, abs=1e-6) and row.ssim_e < 0.1
                )
                assert row.cos == pytest.approx(cosine_of(recogniser, originals[name], stored), abs=1e-4)
                checked += 1
    assert checked >= 14
    assert made.result.summary.metrics["wrong_key_ssim_d"] < 0.15


def cosine_of(recogniser, first: np.ndarray, second: np.ndarray) -> float:
    from avih.images import to_tensor

    a, b = recogniser(to_tensor([first, second]))
    return float((a * b).sum())


def test_a_second_run_does_nothing_and_keeps_every_byte(copy):
    before = copy.files()
    again = copy.run()
    assert (again.shards_made, again.added, again.version) == (0, 0, "v0001")
    assert copy.files() == before


def test_a_lost_shard_comes_back_byte_for_byte(copy):
    before = copy.files()
    (copy.protected / "00001.done.json").unlink()
    (copy.protected / "00001.tar").write_bytes(b"half a sha")
    again = copy.run()
    assert again.shards_made == 1
    after = copy.files()
    assert {k: v for k, v in after.items() if "timing" not in k} == {
        k: v for k, v in before.items() if "timing" not in k
    }


def test_a_kill_before_the_timing_was_written_costs_only_the_timing(copy):
    (copy.protected / "00001.timing.json").unlink()
    for path in copy.store.glob("5_evaluated/people/*/v0001/00001.done.json"):
        path.unlink()
    again = copy.run()
    assert again.shards_made == 0
    assert again.summary.metrics["ssim_d"] == pytest.approx(copy.result.summary.metrics["ssim_d"])
    assert again.summary.metrics["seconds_per_image"] > 0


def test_new_photos_begin_a_version_that_takes_over_the_others(copy):
    from avih.datasets.synthetic import SyntheticFaces

    before = rows_of(copy).set_index("image_id").file_sha256.dropna()
    SyntheticFaces(persons=1, photos_per_person=2, first_person=61).write(copy.source)
    again = copy.run()
    assert (again.version, again.key_id, again.added, again.live) == ("v0002", copy.result.key_id, 2, True)
    second = pd.concat([pd.read_parquet(p) for p in (copy.protected.parent / "v0002").glob("*.parquet")])
    after = second.set_index("image_id").file_sha256.dropna()
    assert after[before.index].tolist() == before.tolist() and len(after) == len(before) + 2


def test_other_settings_stop_the_run_and_say_what_differs(copy):
    settings = copy.settings.model_copy(
        update={"protect": copy.settings.protect.model_copy(update={"stop_cosine": 0.9})}
    )
    before = copy.files()
    with pytest.raises(SettingsMismatch, match=r"stop_cosine: expected 0\.9, got 0\.998"):
        copy.run(settings=settings)
    assert copy.files() == before


def test_limits_fail_the_flow_with_a_readable_reason(copy):
    limits = EvaluateSettings().limits.model_copy(update={"ssim_e_max": -0.5})
    with pytest.raises(QualityBelowLimits, match=r"SSIM_e .* is above the limit -0.5"):
        evaluate_gallery(
            place=copy.place, key_id=copy.result.key_id, shards=copy.shards, recovery="keyed",
            settings=EvaluateSettings(limits=limits, contact_sheet_images=2),
        )  # fmt: skip


def test_mlflow_holds_the_figures_and_points_to_the_flow_run(made):
    import mlflow
    from prefect.client.orchestration import get_client

    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{made.store / 'mlflow' / 'mlflow.db'}")
    tracked = client.get_run(made.result.run.run_id)
    assert tracked.data.metrics["ssim_d"] == pytest.approx(made.result.summary.metrics["ssim_d"])
    assert tracked.data.tags["key_id"] == made.result.key_id
    with get_client(sync_client=True) as prefect:
        flow_run = prefect.read_flow_run(tracked.data.tags["prefect_flow_run_id"])
    assert flow_run.state.is_completed()
    names = {item.path for item in client.list_artifacts(made.result.run.run_id)}
    assert {"summary.json", "report.html", "quality.png", "protected_contact_sheet.png"} <= names
    assert "contact_sheet.png" not in names


def test_verify_is_content_with_an_untouched_gallery(made):
    problems = verify_gallery(
        store=Store(made.store), gallery="people", version="v0001", key_id=made.result.key_id,
        mac_key=Vault(made.store / "3_keys").mac_key(create=False),
    )  # fmt: skip
    assert problems == []


def test_a_suspended_key_does_not_protect(copy):
    keys = KeyStore(copy.store / "3_keys")
    keys.transition(copy.result.key_id, "suspended", actor="test", reason="lost laptop")
    (copy.protected / "00001.done.json").unlink()
    with pytest.raises(KeyRefused, match="suspended"):
        copy.run(key_id=copy.result.key_id)


def test_no_original_no_key_and_no_secret_in_any_file_but_the_owners(made):
    """Search every file of the store and of Prefect for pixels of the originals and for key material."""
    key, _ = opened.key(made.store, key_id=made.result.key_id, purpose="recover")
    needles = {"secret": key.secret.reveal(), "secret hex": key.secret.reveal().hex().encode(),
               "seed": str(key.training_seed).encode(), "weights": key.generator_bytes[-200:]}  # fmt: skip
    for name, picture in [*iter_originals(made.place, 0)]:
        needles[f"pixels of {name}"] = picture[50:54].tobytes()
        needles[f"png of {name}"] = png_middle(picture)
    import os

    homes = [made.store, Path(os.environ["PREFECT_HOME"])]
    searched = 0
    for home in homes:
        for path in (p for p in home.rglob("*") if p.is_file() and "owner" not in p.parts):
            data = path.read_bytes()
            found = [what for what, needle in needles.items() if needle in data]
            assert not found, f"{path} holds {found}"
            searched += 1
    assert searched > 15
    owner = made.store / f"5_evaluated/people/{made.result.key_id}/v0001/owner/contact_sheet.png"
    assert owner.stat().st_mode & 0o777 == 0o600


def png_middle(picture: np.ndarray) -> bytes:
    from avih.images import encode_png

    data = encode_png(picture)
    return data[len(data) // 2 : len(data) // 2 + 64]


def test_contact_sheet_in_mlflow_shows_no_face(made):
    """MTCNN finds faces on the owner's sheet and none on the one that everybody may see."""
    from facenet_pytorch import MTCNN
    from PIL import Image

    folder = made.store / f"5_evaluated/people/{made.result.key_id}/v0001"
    detector = MTCNN(keep_all=True, post_process=False)
    owner = detector.detect(
        Image.open(io.BytesIO((folder / "owner/contact_sheet.png").read_bytes())).convert("RGB")
    )
    public = detector.detect(Image.open(folder / "protected_contact_sheet.png").convert("RGB"))
    assert owner[0] is not None and len(owner[0]) >= 3
    # Noise is on both sheets and may look like a face of a few pixels to MTCNN, not like one of a face's size.
    usual = np.median([area(box) for box in owner[0]])
    assert [box for box in (() if public[0] is None else public[0]) if area(box) > usual / 4] == []


def area(box: np.ndarray) -> float:
    left, top, right, bottom = box
    return float((right - left) * (bottom - top))
