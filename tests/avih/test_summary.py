"""The summary's keys and means, that it survives JSON, and what each limit says when it breaks."""

import json
import math

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from avih.errors import UsageError
from avih.evaluation.identification import IdentificationResult
from avih.evaluation.summary import Limits, Tally, check_limits, summarise, unchecked_limits, unmeasured

KEYS = {
    "ssim_e", "ssim_d", "lpips_e", "lpips_d", "cos_mean", "cos_min", "acc_original", "acc_one", "acc_all",
    "wrong_key_ssim_d", "seconds_per_image",
}  # fmt: skip
GOOD = {
    "ssim_e": 0.03, "ssim_d": 0.88, "lpips_e": 0.9, "lpips_d": 0.1, "cos_mean": 0.995, "cos_min": 0.98,
    "acc_original": 0.98, "acc_one": 0.97, "acc_all": 0.97, "wrong_key_ssim_d": 0.15,
    "seconds_per_image": 2.0,
}  # fmt: skip


def identified(original: float | None, one: float | None, all_: float | None) -> IdentificationResult:
    return IdentificationResult(original, one, all_, ("a",), 13, 156, 40, "")


def table() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "image_id": list("abcde"),
            "person": ["p"] * 5,
            "status": ["protected", "below_quality", "failed", "protected", "skipped"],
            "ssim_e": [0.01, 0.05, 0.9, None, None],
            "ssim_d": [0.9, 0.8, np.nan, 0.85, 0.1],
            "lpips_e": [None] * 5,
            "lpips_d": [np.nan] * 5,
            "cos": np.array([0.999, 0.97, 0.1, 0.998, 0.2], dtype=np.float32),
            "wrong_key_ssim_d": [0.1, None, None, 0.2, None],
            "seconds": pd.array([1, 3, 100, None, None], dtype="Int64"),
            "steps": [800, 800, 0, 800, 0],
        }
    )


def test_means_are_over_the_images_that_count_and_have_the_figure() -> None:
    found = summarise(Tally.of([table()]), identified(0.98, 0.97, None))
    assert set(found) == KEYS
    assert found["ssim_e"] == pytest.approx(0.03)
    assert found["ssim_d"] == pytest.approx(0.85)
    assert found["cos_mean"] == pytest.approx(0.989, abs=1e-6)
    assert found["cos_min"] == pytest.approx(0.97, abs=1e-6)
    assert found["wrong_key_ssim_d"] == pytest.approx(0.15)
    assert found["seconds_per_image"] == 2.0
    assert (found["acc_original"], found["acc_one"], found["acc_all"]) == (0.98, 0.97, None)
    assert (found["lpips_e"], found["lpips_d"]) == (None, None)


@pytest.mark.parametrize("rows", [table(), table().iloc[:0], table().assign(cos=np.inf, ssim_d="no")])
def test_a_summary_is_plain_json_without_nan(rows: pd.DataFrame) -> None:
    found = summarise(Tally.of([rows]), identified(np.float64(0.5), np.float32(0.5), None))
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert all(value is None or (type(value) is float and math.isfinite(value)) for value in found.values())


@pytest.mark.parametrize("size", [1, 3, 40, 1000])
def test_rows_in_parts_add_up_to_the_figures_of_all(size: int) -> None:
    generator = np.random.default_rng(0)
    rows = pd.concat([table()] * 40, ignore_index=True)
    rows["ssim_d"] = generator.normal(0.9, 0.2, len(rows)).astype(np.float32)
    rows["cos"] = 1 - generator.exponential(0.01, len(rows))
    rows["reason"] = generator.choice(["", "no_face", "cos 0.91", "cos 0.97"], len(rows))
    tally = Tally.of(rows[start : start + size] for start in range(0, len(rows), size))
    found = summarise(tally, identified(None, None, None))
    counted = rows[rows.status.isin(["protected", "below_quality"])]
    assert found["ssim_d"] == pytest.approx(counted.ssim_d.astype(float).mean(), rel=1e-14)
    assert found["cos_mean"] == pytest.approx(math.fsum(counted.cos) / len(counted), rel=1e-15)
    assert found["cos_min"] == counted.cos.min()
    assert found["lpips_e"] is None
    assert tally.statuses == {"protected": 80, "below_quality": 40, "failed": 40, "skipped": 40}
    assert tally.reasons == rows.reason[rows.reason != ""].str.split(" ").str[0].value_counts().to_dict()


def test_a_misspelt_column_is_no_silent_absence() -> None:
    with pytest.raises(UsageError, match="none named cos"):
        summarise(Tally.of([table().rename(columns={"cos": "cosine"})]), identified(None, None, None))
    with pytest.raises(UsageError, match="status"):
        summarise(Tally.of([table().drop(columns="status")]), identified(None, None, None))


def test_figures_at_their_limits_are_fine_despite_rounding() -> None:
    assert 0.98 - 0.97 > 0.01, "the case needs binary rounding to be against it"
    assert check_limits(GOOD, Limits()) == []
    mean = 0.1 + 0.2 - 0.27
    assert mean > 0.03
    assert check_limits({**GOOD, "ssim_e": mean}, Limits()) == []


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"ssim_e": 0.041}, "SSIM_e 0.041 is above the limit 0.03"),
        ({"ssim_e": 0.0301}, "SSIM_e 0.0301 is above the limit 0.03"),
        ({"ssim_d": 0.5}, "SSIM_d 0.500 is below the limit 0.88"),
        ({"cos_mean": 0.9}, "mean cos 0.900 is below the limit 0.995"),
        ({"cos_min": -0.25}, "lowest cos -0.250 is below the limit 0.98"),
        ({"wrong_key_ssim_d": 0.4}, "wrong-key SSIM_d 0.400 is above the limit 0.15"),
        ({"acc_one": 0.95}, "ONE accuracy 0.950 is 0.030 below ORIGINAL 0.980, more than the limit 0.01"),
        ({"acc_all": 0.0}, "ALL accuracy 0.000 is 0.980 below ORIGINAL 0.980, more than the limit 0.01"),
    ],
)
def test_each_broken_limit_is_one_sentence(change: dict[str, float], sentence: str) -> None:
    assert check_limits({**GOOD, **change}, Limits()) == [sentence]


def test_all_broken_limits_are_told_and_limits_can_be_moved() -> None:
    bad = {
        **GOOD,
        "ssim_e": 0.2,
        "ssim_d": 0.1,
        "cos_mean": 0.5,
        "cos_min": 0.1,
        "acc_one": 0.1,
        "acc_all": 0.2,
    }
    bad["wrong_key_ssim_d"] = 0.9
    assert len(check_limits(bad, Limits())) == 7
    wide = Limits(
        ssim_e_max=1, ssim_d_min=0, cos_mean_min=0, cos_min_min=0, accuracy_drop_max=1, wrong_key_ssim_d_max=1
    )
    assert check_limits(bad, wide) == []
    assert check_limits({**GOOD, "acc_one": 1.0, "acc_all": 1.0}, Limits(accuracy_drop_max=0)) == []


def test_absent_figures_are_named_but_break_nothing() -> None:
    absent = {**GOOD, "ssim_d": None, "acc_original": None}
    assert check_limits(absent, Limits()) == []
    assert unchecked_limits(absent) == ["SSIM_d", "ONE accuracy", "ALL accuracy"]
    assert unchecked_limits(GOOD) == []


def test_a_gallery_of_which_nothing_is_known_does_not_pass() -> None:
    nothing = summarise(Tally.of([table().assign(status="failed")]), identified(None, None, None))
    assert check_limits(nothing, Limits()) == ["No figure was measured, so no limit could be checked"]


def test_a_protected_image_without_a_finite_figure_breaks_a_limit() -> None:
    complete = table()[table().status != "protected"]
    assert unmeasured(Tally.of([complete])) == []  # images that failed have no figures
    assert unmeasured(Tally.of([complete.assign(status="failed")])) == []
    for missing in (np.nan, np.inf, None):
        rows = pd.concat([complete, complete, complete.assign(cos=missing, lpips_d=missing, seconds=missing)])
        assert unmeasured(Tally.of([rows])) == ["cos was not measured for 1 of 3 images"]
    assert unmeasured(Tally.of([complete.assign(ssim_e=np.nan, ssim_d=np.nan)])) == [
        "SSIM_e was not measured for 1 of 1 images",
        "SSIM_d was not measured for 1 of 1 images",
    ]


def test_limits_are_frozen_bounded_and_described() -> None:
    with pytest.raises(ValidationError):
        Limits().ssim_e_max = 1.0  # type: ignore[misc]
    for wrong in (
        {"cos_min_min": 1.5},
        {"ssim_e_max": float("nan")},
        {"accuracy_drop_max": -0.1},
        {"cos": 1.0},
    ):
        with pytest.raises(ValidationError):
            Limits(**wrong)
    for name, field in Limits.model_fields.items():
        assert field.description is not None, name
        assert field.description.endswith("."), name
