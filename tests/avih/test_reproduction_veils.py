"""The tables of the person-specific veils, on drawn faces, and the mathematics below them."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from avih.reproduction.context import Context, DataFolders
from avih.reproduction.outcome import NotRun, Outcome, Row
from avih.reproduction.veils import matching as veils_matching
from avih.reproduction.veils import measured as veil_figures
from avih.reproduction.veils import other_recogniser
from avih.reproduction.veils import sets as veil_sets
from avih.reproduction.veils import tables as veils
from avih.reproduction.veils.features import match_rates
from avih.reproduction.veils.noise import DISTORTIONS, Distortion, distorted
from avih.reproduction.veils.other_recogniser import second_of

EXPERIMENTS = (
    veils.hiding, veils.recovery, veils.ablation,
    veils_matching.matching, veils_matching.alpha, veils_matching.robustness, veils_matching.visibility,
)  # fmt: skip


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Context:
    return Context(profile="smoke", data=DataFolders(), work=tmp_path_factory.mktemp("work"))


def refuse(context: Context) -> None:
    raise NotRun("No photos to train it.")


def _second(patch: pytest.MonkeyPatch, give: object) -> None:
    patch.setattr(other_recogniser, "second_recogniser", give)


@pytest.fixture(scope="module")
def outcomes(context: Context) -> dict[str, Outcome]:
    with pytest.MonkeyPatch.context() as patch:
        _second(patch, refuse)
        return {experiment.__name__: experiment(context) for experiment in EXPERIMENTS}


def ours(outcome: Outcome, metric: str) -> dict[str, float]:
    return {row.label: row.ours for row in outcome.rows if row.metric == metric and row.ours is not None}


def test_every_experiment_names_what_it_used_and_gives_figures_in_range(outcomes: dict[str, Outcome]) -> None:
    for name, outcome in outcomes.items():
        assert (
            outcome.mark == "substitute" and "drawn faces" in outcome.data and "SmallFaceNet" in outcome.model
        )
        assert "steps of" in outcome.setting and outcome.findings, name
        measured = [row for row in outcome.rows if row.ours is not None]
        assert measured
        for row in measured:
            share = row.metric.startswith(("msr", "taken"))
            assert -1 <= row.ours <= (100 if share else 1), row


def test_veiled_photos_hide_and_come_back(outcomes: dict[str, Outcome]) -> None:
    hidden, back = ours(outcomes["hiding"], "ssim_e"), ours(outcomes["recovery"], "ssim_d")
    assert max(hidden.values()) < 0.1
    assert back["Equation 14 corrected, held out"] > 0.95 > back["Equation 14 as printed"] + 0.3
    assert "Clipped values: 0." in outcomes["recovery"].findings[0]


def test_outsiders_get_more_the_more_they_see(outcomes: dict[str, Outcome]) -> None:
    seen = ours(outcomes["recovery"], "ssim_outsider")
    alone, two, pair = (
        seen[f"Outsider: {label}"]
        for label in ("a mean face alone, with 1 photo", "the mean of 2 protected photos", "one leaked pair")
    )
    assert alone < two < pair
    assert seen["Outsider: another person's veil"] < 0.1
    assert "the mean of 10 protected photos" not in str(seen)  # there are six
    assert " beats one photo" in outcomes["recovery"].findings[1]


def test_a_larger_alpha_shows_more(outcomes: dict[str, Outcome]) -> None:
    shown = ours(outcomes["visibility"], "ssim_e")
    assert shown["alpha 0.2, with block variance"] < shown["alpha 0.8, with block variance"]
    assert "alpha 0.2, 0.4, 0.6, 0.8" in outcomes["visibility"].setting


def test_noise_costs_matches(outcomes: dict[str, Outcome]) -> None:
    bare = ours(outcomes["robustness"], "msr, Gaussian noise")
    assert bare["Bare, sigma 200"] < bare["Bare, sigma 0"] == 100


def test_without_a_second_recogniser_its_rows_stay_empty(outcomes: dict[str, Outcome]) -> None:
    rows = [row for row in outcomes["matching"].rows if row.metric == "msr, second recogniser"]
    assert len(rows) == 6 and all(row.ours is None for row in rows)
    assert any("not measured" in finding for finding in outcomes["matching"].findings)


def test_a_second_run_measures_nothing(
    context: Context, outcomes: dict[str, Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("measured again")

    veil_sets.veil_sets.cache_clear()
    _second(monkeypatch, refuse)
    monkeypatch.setattr(veil_sets, "craft_veil", never)
    monkeypatch.setattr(veil_sets, "unit_features", never)
    for experiment in EXPERIMENTS:
        assert experiment(context) == outcomes[experiment.__name__]


def test_only_figures_and_veils_are_kept(context: Context, outcomes: dict[str, Outcome]) -> None:
    kept = [path for path in context.work.rglob("*") if path.is_file()]
    assert {path.suffix for path in kept} == {".json", ".safetensors"}
    assert {path.stat().st_mode & 0o777 for path in kept if path.suffix == ".safetensors"} == {0o600}


def test_what_changes_a_veil_changes_what_is_remembered(context: Context) -> None:
    sets = veil_sets.veil_sets(context)
    first, second = sets.names
    facts = [sets.facts(first, kind) for kind in (*veil_sets.KINDS, None)]
    facts += [sets.facts(first, "veil", 0.4), sets.facts(second, "veil")]
    assert all(a != b for i, a in enumerate(facts) for b in facts[:i])
    answers = [
        sets.remember("try", first, lambda value=value: value, kind=None, level=level)
        for value, level in ((1, "a"), (2, "a"), (3, "b"))
    ]
    assert answers == [1, 1, 3]


def test_the_same_network_as_second_recogniser_gives_the_same_rates(
    context: Context, outcomes: dict[str, Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Same:
        name = fingerprint = "same"
        network = veil_sets.veil_sets(context).faces.recogniser

        def __call__(self, pictures: torch.Tensor) -> torch.Tensor:
            return self.network(pictures)

    _second(monkeypatch, lambda context: Same())
    found = veils_matching.matching(context)
    same, other = (ours(found, f"msr, {which} recogniser") for which in ("same", "second"))
    assert same == other and len(same) == 7
    assert any("MSR falls with another recogniser" in finding for finding in found.findings)


def test_a_blind_second_recogniser_finds_nothing(
    context: Context, outcomes: dict[str, Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Blind:
        name = fingerprint = "blind"

        def __call__(self, pictures: torch.Tensor) -> torch.Tensor:
            return torch.ones(len(pictures), 4) / 2

    _second(monkeypatch, lambda context: Blind())
    assert set(ours(veils_matching.matching(context), "msr, second recogniser").values()) == {0.0}


def test_a_second_recogniser_that_cannot_be_made_is_left_out(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(context: Context) -> None:
        raise ValueError("a file of weights that is none")

    _second(monkeypatch, refuse)
    assert second_of(context) is None
    _second(monkeypatch, broken)
    with pytest.raises(ValueError, match="weights"):
        second_of(context)


def test_match_rates_against_loops() -> None:
    draw = np.random.default_rng(3)
    placed, probes, strangers = (
        (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
        for rows in (draw.normal(size=(count, 3)) for count in (4, 6, 5))
    )
    for same in (True, False):
        expected = []
        for i, picture in enumerate(placed):
            asked = [probe for j, probe in enumerate(probes) if not (same and i == j)]
            hits = [all(probe @ picture > probe @ other for other in strangers) for probe in asked]
            expected.append(sum(hits) / len(hits))
        assert 0 < sum(expected) < len(placed)
        assert match_rates(placed, probes, strangers, same=same) == pytest.approx(expected)


def test_distortions_do_what_they_say() -> None:
    grey = np.full((2, 60, 50, 3), 128, dtype=np.uint8)
    noisy = distorted(grey, Distortion("Gaussian noise", 20), seed=1)
    assert noisy.std() == pytest.approx(20, rel=0.03) and noisy.mean() == pytest.approx(128, abs=0.5)
    salted = distorted(grey, Distortion("salt and pepper", 0.2), seed=1)
    changed = salted[salted != 128]
    assert changed.size / salted.size == pytest.approx(0.2, abs=0.02)
    assert set(np.unique(changed)) == {0, 255} and (changed == 0).mean() == pytest.approx(0.5, abs=0.06)
    drawn = np.random.default_rng(2).integers(0, 256, size=(2, 9, 8, 3), dtype=np.uint8)
    filtered = distorted(drawn, Distortion("median filter", 3), seed=1)
    assert filtered[1, 4, 5, 2] == np.median(drawn[1, 3:6, 4:7, 2])
    for one in DISTORTIONS.values():
        assert np.array_equal(distorted(drawn, one, seed=5), distorted(drawn, one, seed=5))
    assert np.array_equal(distorted(drawn, Distortion("Gaussian noise", 0), seed=1), drawn)


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [(0.01, 0.03, "holds here"), (-0.03, -0.01, "does not hold here"), (-0.01, 0.01, "is open here")],
)
def test_a_verdict_follows_the_interval(low: float, high: float, said: str) -> None:
    gap = Row(label="", metric="", ours=(low + high) / 2, low=low, high=high)
    assert said in veil_figures.verdict("Claim", gap)
    assert "too few persons" in veil_figures.verdict("Claim", Row(label="", metric="", ours=0.1))


def test_differences_pair_the_photos_of_a_part() -> None:
    first = {"a": {"x": [1.0, 2.0, 3.0], "crafting": 1}, "b": {"x": [4.0, 5.0], "crafting": 1}}
    second = {"a": {"x": [0.0, 1.0, 1.0], "crafting": 1}, "b": {"x": [1.0, 1.0], "crafting": 1}}
    gap = veil_figures.difference(first, second, "x", part="held out")
    assert gap.ours == pytest.approx((1 + 2 + 4) / 3) and gap.n == 3
    assert veil_figures.column(first, "x", "crafted") == ([1.0, 4.0], ["a", "b"])


def test_few_photos_are_shared_out(context: Context, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    sets = veil_sets.VeilSets(Context(profile="smoke", data=DataFolders(), work=tmp_path))
    found = sets.faces.aligned("test", persons=sets.names[:1])[:3]
    shown = SimpleNamespace(recogniser=sets.faces.recogniser, aligned=lambda *_, **__: found)
    monkeypatch.setattr(sets, "faces", shown)
    person = sets.person(sets.names[0])
    assert len(person.photos) == 3 and person.crafting == 1
