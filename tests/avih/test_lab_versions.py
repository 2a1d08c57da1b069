"""Many versions of one picture: what differs averages out, what does not is told."""

import numpy as np

from avih.lab.attack import Finding, Guess
from avih.lab.attacks import many_versions
from small_lab import SMALL, lab_of, subject
from weak_keys import HASTY, SETTINGS, advantage, mixed, noisy, weak_lab


def test_versions_average_out_what_differs() -> None:
    lab = weak_lab(noisy, settings=SETTINGS.model_copy(update={"versions": (2, 8)}))
    guesses = {one.label: one for one in many_versions.run(lab) if isinstance(one, Guess)}
    assert set(guesses) == {
        "mean of 2 versions, different keys", "mean of 3 versions, different keys",
        "median of 3 versions, different keys", "network on the mean of 3 versions, different keys",
        "mean of 2 versions, one key", "network on the mean of 2 versions, one key",
        "mean of 8 versions, one key", "median of 8 versions, one key",
    }  # fmt: skip
    few, many = (advantage(lab, guesses[f"mean of {n} versions, one key"]) for n in (2, 8))
    assert many > 0.05
    assert many > few + 0.1


def test_versions_of_a_scheme_without_residue_tell_nothing() -> None:
    lab = weak_lab(mixed, recovery="keyed")
    assert all(advantage(lab, one) < 0.05 for one in many_versions.run(lab) if isinstance(one, Guess))


def test_a_method_whose_versions_are_alike_is_told_and_not_averaged() -> None:
    lab = lab_of(subject("lie", "inverse"), SMALL.model_copy(update={"network": HASTY}))
    results = list(many_versions.run(lab))
    (finding,) = (one for one in results if isinstance(one, Finding))
    assert finding.values == {"differ": 0.0}
    assert all(one.label.endswith("different keys") for one in results if isinstance(one, Guess))


def test_combined_values_against_a_calculation_by_hand() -> None:
    values = np.array([[10, 20, 90], [30, 20, 10]], dtype=np.uint8)  # two positions, three versions
    versions = [np.broadcast_to(values[:, turn, None, None], (2, 1, 3))[None].copy() for turn in range(3)]
    faces = np.array([[[[60] * 3], [[140] * 3]]], dtype=np.uint8)  # mean 100, deviation 40
    mean = many_versions.combined(versions, how="mean", faces=faces)
    assert mean[0, :, 0, 0].tolist() == [140, 60]  # means 40 and 20, lifted
    median = many_versions.combined(versions, how="median", faces=faces)
    assert median[0, :, 0, 0].tolist() == [100, 100]  # medians 20 and 20: there is nothing to lift
