"""The lab's second recogniser names persons, also from imperfect pictures, and nobody from noise."""

import numpy as np
import pytest
import torch
from skimage.filters import gaussian

from avih.attack.pairs import Pairs, Pictures
from avih.attack.second import Embed, Identifier
from avih.errors import UsageError
from avih.evaluation.metrics import unit_rows
from avih.lab import second
from avih.lab.second import fit_second
from small_attack import small_faces


@pytest.fixture(scope="module")
def faces() -> Pairs:
    return small_faces()


@pytest.fixture(scope="module")
def parts(faces: Pairs) -> tuple[Pairs, Pairs]:
    """References, and one photo of each person that is asked about."""
    asked = [image for image in faces.images if image.endswith("_2")]
    return faces.named([image for image in faces.images if image not in asked]), faces.named(asked)


@pytest.fixture(scope="module")
def embed(parts: tuple[Pairs, Pairs]) -> Embed:
    references, _ = parts
    return fit_second(references.originals, references.persons)


def rate(embed: Embed, references: Pairs, pictures: Pictures, persons: tuple[str, ...]) -> float:
    identifier = Identifier.build(embed=embed, pictures=references.originals, persons=references.persons)
    found, true = identifier.identify(pictures, persons)
    return float((found == true).mean())


def blurred(pictures: Pictures, sigma: float) -> Pictures:
    soft = [gaussian(one, sigma=sigma, channel_axis=2, preserve_range=True) for one in pictures]
    return np.stack(soft).round().astype(np.uint8)


def test_persons_are_named_from_other_photos(embed: Embed, parts: tuple[Pairs, Pairs]) -> None:
    references, asked = parts
    assert rate(embed, references, asked.originals, asked.persons) >= 0.75  # chance is 0.125


def test_faded_and_blurred_photos_are_named_as_well(embed: Embed, parts: tuple[Pairs, Pairs]) -> None:
    references, _ = parts
    faded = (references.originals // 2 + 64).astype(np.uint8)
    assert rate(embed, references, faded, references.persons) >= 0.9
    assert rate(embed, references, blurred(references.originals, 1.0), references.persons) >= 0.9


def test_noise_names_nobody(embed: Embed, parts: tuple[Pairs, Pairs]) -> None:
    references, _ = parts
    noise = np.random.default_rng(0).integers(0, 256, size=references.originals.shape, dtype=np.uint8)
    assert rate(embed, references, noise, references.persons) < 0.3


def test_scores_stand_for_persons_in_the_order_of_their_names(
    embed: Embed, parts: tuple[Pairs, Pairs]
) -> None:
    references, _ = parts
    scores = embed(references.originals)
    names = np.unique(references.persons)
    assert scores.shape == (len(references), len(names))
    assert (names[scores.argmax(axis=1)] == np.array(references.persons)).mean() > 0.95


def test_the_mirror_image_is_the_same_person(embed: Embed, parts: tuple[Pairs, Pairs]) -> None:
    _, asked = parts
    np.testing.assert_allclose(embed(asked.originals), embed(asked.originals[:, :, ::-1]), atol=1e-3)


def test_a_second_fit_is_the_same_and_leaves_global_chance_alone(faces: Pairs) -> None:
    few = faces.named([f"{person}_{photo}" for person in range(3) for photo in range(2)])
    before = torch.random.get_rng_state()
    first, again = (fit_second(few.originals, few.persons)(few.originals) for _ in range(2))
    assert torch.equal(before, torch.random.get_rng_state())
    np.testing.assert_array_equal(first, again)


def test_one_photo_of_each_person_is_enough(faces: Pairs) -> None:
    single = faces.named([f"{person}_0" for person in range(8)])
    embed = fit_second(single.originals, single.persons)
    assert rate(embed, single, blurred(single.originals, 0.7), single.persons) == 1.0


def test_any_size_is_brought_to_one(faces: Pairs) -> None:
    two = faces.named(["0_0", "0_1", "1_0", "1_1"])
    large = np.repeat(np.repeat(two.originals, 2, axis=1), 2, axis=2)
    scores = fit_second(two.originals, two.persons)(large)
    assert scores.argmax(axis=1).tolist() == [0, 0, 1, 1]


def test_too_little_is_refused(faces: Pairs) -> None:
    pictures = faces.originals[:4]
    with pytest.raises(UsageError, match="2 persons at least, got 1 persons"):
        fit_second(pictures, ["p0"] * 4)
    with pytest.raises(UsageError, match="3 names and 4 photos"):
        fit_second(pictures, ["p0", "p1", "p2"])
    with pytest.raises(UsageError, match="at least 24x24"):
        fit_second(pictures[:, :20, :20], ["p0", "p0", "p1", "p1"])
    with pytest.raises(UsageError, match="got float64"):
        fit_second(pictures / 255, ["p0", "p0", "p1", "p1"])  # type: ignore[arg-type]


def test_pictures_without_content_have_finite_features(embed: Embed) -> None:
    flat = np.full((2, 56, 48, 3), 128, dtype=np.uint8)
    assert np.isfinite(unit_rows(embed(flat))).all()


def test_stripes_answer_in_their_direction() -> None:
    across = torch.sin(2 * torch.pi / 4 * torch.arange(96.0)).expand(1, 1, 112, 96)
    down = torch.sin(2 * torch.pi / 4 * torch.arange(112.0))[:, None].expand(1, 1, 112, 96)
    finest = second.DIRECTIONS * 13 * 10
    for picture, wanted in ((across, 0), (down, second.DIRECTIONS // 2)):
        cells = second.waves(picture)[0, :finest].view(second.DIRECTIONS, -1)
        assert (cells.argmax(dim=0) == wanted).all()


def test_flat_skin_makes_no_waves() -> None:
    assert second.waves(torch.full((1, 1, 112, 96), 0.7)).abs().max() < 1e-2


def test_an_edge_counts_for_the_directions_beside_it() -> None:
    edge = (torch.arange(96) >= 50).float().expand(1, 1, 112, 96)  # brighter to the right: an angle of 0
    found = second.gradients(edge).view(4, second.BINS, -1).amax(dim=(0, 2))
    assert torch.nonzero(found > 1e-3).flatten().tolist() == [0, second.BINS - 1]
    assert found[0] == pytest.approx(float(found[-1]))


def test_gray_pictures_have_no_colours_and_red_ones_have() -> None:
    gray = torch.rand(1, 1, 112, 96, generator=torch.Generator().manual_seed(0)).expand(1, 3, 112, 96)
    red = gray * torch.tensor([1.0, 0.5, 0.5]).view(1, 3, 1, 1)
    assert second.colours(gray).abs().max() < 1e-5
    assert (second.colours(red).view(3, -1)[0] > 0).all()


def test_blur_is_a_gaussian() -> None:
    picture = torch.rand(1, 3, 40, 30, generator=torch.Generator().manual_seed(0))
    expected = gaussian(picture[0].numpy(), sigma=1.5, channel_axis=0, mode="nearest", truncate=10 / 3)
    np.testing.assert_allclose(second.blurred(picture, 1.5)[0].numpy(), expected, atol=1e-4)
