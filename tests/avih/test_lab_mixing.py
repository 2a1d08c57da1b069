"""What the attack on the mixing is made of: reading by differences, dense maps, arrangements, statistics."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from avih.errors import UsageError
from avih.lab.tools.mixing_attacks import (
    arranged,
    codes_of,
    dense_guess,
    open_by_differences,
)
from avih.lab.tools.mixing_statistics import (
    correlation_bound,
    equal_values,
    histogram_match,
    shared_shifts,
    strongest_correlation,
    version_link,
)
from avih.mixing import Mixing
from small_mixing import (
    FACES,
    VALUES,
    alike,
    drawn,
    mixings,
    rows,
    under,
)


def test_differences_read_codes_exactly_under_one_mixing_only() -> None:
    known, other = FACES.originals[:8], FACES.originals[40:]
    fill = np.full(VALUES // 2, 7, dtype=np.uint8)
    for fresh in (False, True):
        stored = rows(under(mixings(16, fresh=fresh), np.concatenate([known, other])))
        opened = open_by_differences(
            known=codes_of(known), known_stored=stored[:8], stored=stored[8:], fill=fill
        )
        expected = np.tile(fill, (8, 1)) if fresh else codes_of(other)
        assert (opened.codes == expected).mean() > 0.99 and opened.found == (0 if fresh else 1)
    with pytest.raises(UsageError, match="at least 2 known pictures"):
        open_by_differences(known=codes_of(known[:1]), known_stored=stored[:1], stored=stored, fill=fill)


def test_dense_map_reads_a_constant_mixing_and_no_other() -> None:
    """Every sixth photo is asked about; five others of each person are known."""
    asked = np.arange(len(FACES)) % 6 == 5
    known = FACES.named([name for name, out in zip(FACES.images, asked, strict=True) if not out])
    unknown = FACES.named([name for name, out in zip(FACES.images, asked, strict=True) if out])
    mean = np.broadcast_to(known.originals.mean(axis=0).round().astype(np.uint8), unknown.originals.shape)
    gained = []
    for fresh in (False, True):
        stored = under(mixings(len(FACES), fresh=fresh), FACES.originals)
        mapped = dense_guess(pairs=known.with_inputs(stored[~asked]), protected=stored[asked])
        gained.append(alike(mapped, unknown) - alike(mean, unknown))
    assert gained[0] > 0.03 and abs(gained[1]) < 0.01


def test_arranged_values_are_stored_ones_each_once() -> None:
    draw = torch.Generator().manual_seed(0)
    stored = torch.randint(256, (2, 600), generator=draw) / 255
    for scores in (torch.rand(2, 300, generator=draw), torch.full((2, 300), 0.4), stored[:, :300]):
        placed = arranged(scores, stored)
        assert ((placed < 0.5) == (scores < 0.5)).all()
        for one, held in zip(placed, stored, strict=True):
            left = [round(float(value), 4) for value in (held - 0.5).abs()]
            for value in (one - 0.5).abs():
                left.remove(round(float(value), 4))
    assert (arranged(stored[:, :300], stored) - stored[:, :300]).abs().mean() < 0.05
    assert (arranged(scores.clone().requires_grad_(True), stored)).requires_grad


def test_correlation_bound_is_exact_for_six_pictures() -> None:
    """With six pictures the density is 3/4 (1 - r^2), so |r| > x has the chance 1 - (3 x - x^3) / 2."""
    bound = correlation_bound(6, comparisons=1)
    assert 1 - (3 * bound - bound**3) / 2 == pytest.approx(0.001, rel=0.01)
    assert correlation_bound(6, comparisons=1000) > bound > correlation_bound(60, comparisons=1)


@pytest.mark.parametrize("turned", [False, True])
def test_values_that_follow_the_original_are_found(turned: bool) -> None:
    draw = np.random.default_rng(1)
    stored = draw.integers(0, 256, FACES.originals.shape, dtype=np.uint8)
    clean = FACES.with_inputs(stored)
    assert not strongest_correlation(clean, seed=0).surely
    held, codes = rows(stored.copy()), codes_of(FACES.originals)
    held[:, ::2] = codes
    if turned:
        held = np.where(draw.integers(0, 2, held.shape) == 1, 255 - held, held).astype(np.uint8)
    planted = FACES.with_inputs(held.reshape(stored.shape))
    assert strongest_correlation(planted, seed=0).surely


def test_equal_values_beyond_chance_are_found() -> None:
    stored = np.random.default_rng(2).integers(0, 256, (4, VALUES), dtype=np.uint8)
    assert not equal_values(stored).surely and equal_values(stored).comparisons == 6
    stored[3, : VALUES // 50] = stored[0, : VALUES // 50]
    assert equal_values(stored).surely


def test_two_pictures_under_one_mixing_are_found_among_many() -> None:
    drawn_for = mixings(48, fresh=True)
    assert not shared_shifts(rows(under(drawn_for, FACES.originals))).surely
    drawn_for[40] = drawn_for[3]
    shared = shared_shifts(rows(under(drawn_for, FACES.originals)))
    assert shared.surely and shared.comparisons == 48 * 47 // 2


def test_values_at_their_limits_are_no_shared_mixing() -> None:
    draw = np.random.default_rng(11)
    stored = draw.integers(0, 256, (40, VALUES)).astype(np.float32)
    limits = draw.random(stored.shape) < 0.1  # of a tenth of the values, as after the optimisation
    stored[limits] = 255 * draw.integers(0, 2, int(limits.sum()))
    assert not shared_shifts(stored).surely
    stored[7] = (stored[21] + draw.integers(0, 40, VALUES)) % 256
    assert shared_shifts(stored).surely


def test_link_is_the_share_of_pairs_in_the_right_order() -> None:
    stored = np.random.default_rng(3).integers(0, 256, (3, 4, 50), dtype=np.uint8)
    same, different = [], []
    for one in range(3):
        for other in range(one):
            table = np.corrcoef(stored[one], stored[other])[:4, 4:]
            same += list(np.diag(table))
            different += list(table[~np.eye(4, dtype=bool)])
    expected = np.mean([[first > second for second in different] for first in same])
    assert version_link(stored).auc == pytest.approx(expected) and not version_link(stored).surely
    stored[1:] = stored[0]
    assert version_link(stored).auc == 1 and version_link(stored).surely


def test_histograms_name_photos_where_values_are_not_shifted(monkeypatch: pytest.MonkeyPatch) -> None:
    photo, _ = histogram_match(FACES.with_inputs(under(mixings(48, fresh=True), FACES.originals)))
    assert photo.level == "pass" and photo.chance == 1 / 48
    monkeypatch.setattr(Mixing, "draw", drawn(places=True, shifts=False))
    photo, _ = histogram_match(FACES.with_inputs(under(mixings(48, fresh=True), FACES.originals)))
    assert photo.level == "fail" and photo.rate > 0.9
    # Every person's photos are one photo, with noise.
    noise = np.random.default_rng(4).integers(0, 9, FACES.originals.shape, dtype=np.uint8)
    pairs = replace(FACES, originals=np.repeat(FACES.originals[::6], 6, axis=0) // 2 + noise)
    _, person = histogram_match(pairs.with_inputs(under(mixings(48, fresh=True), pairs.originals)))
    assert person is not None and person.level == "fail" and person.tries == 48 and person.chance < 0.2
