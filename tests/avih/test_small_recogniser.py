"""The small recogniser: its loss against hand-worked numbers, its training, and the weights that ship."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional

import avih.recognisers.small as small
from avih.align import AlignedFace, Aligner
from avih.datasets.synthetic import SyntheticFaces
from avih.errors import UsageError
from avih.recognisers import train
from avih.recognisers.small import SmallFaceNet, normalised, parameter_count
from avih.recognisers.train import ArcFaceLoss, save_weights, train_small_recogniser, vary

WEIGHTS = Path(small.__file__).with_name("weights") / "synthetic.safetensors"


def shipped_network() -> SmallFaceNet:
    """Build the network with the weights that ship with the package."""
    network = SmallFaceNet()
    network.load_state_dict(load_file(WEIGHTS), strict=True)
    return network.eval()


def loss_of(
    features: list[list[float]], *, centres: list[list[float]], scale: float, margin: float
) -> ArcFaceLoss:
    """Make a loss with the given centres."""
    loss = ArcFaceLoss(features=len(centres[0]), persons=len(centres), scale=scale, margin=margin)
    loss.centres.data = torch.tensor(centres)
    return loss


def coloured_faces(*, persons: int, each: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Make bright pictures that differ little: every person has a faint tint of its own in the upper half."""
    numbers = np.repeat(np.arange(persons) * 10, each)
    images = np.random.default_rng(0).integers(190, 211, size=(len(numbers), 112, 96, 3))
    tints = np.asarray([(30, -30, 0), (-30, 0, 30), (0, 30, -30), (-30, 30, 0)])[:persons]
    images[:, :56] += np.repeat(tints, each, axis=0)[:, None, None]
    return images.astype(np.uint8), numbers


def test_arcface_equals_a_plain_loop_over_its_equation() -> None:
    generator = np.random.default_rng(3)
    features, centres = generator.normal(size=(6, 5)), generator.normal(size=(4, 5))
    persons, scale, margin = [0, 3, 1, 2, 2, 0], 7.0, 0.35
    expected = []
    for feature, person in zip(features, persons, strict=True):
        terms = []
        for number, centre in enumerate(centres):
            cosine = sum(a * b for a, b in zip(feature, centre, strict=True))
            cosine /= math.sqrt(sum(a * a for a in feature)) * math.sqrt(sum(b * b for b in centre))
            angle = math.acos(cosine) + (margin if number == person else 0.0)
            terms.append(math.exp(scale * math.cos(angle)))
        expected.append(-math.log(terms[person] / sum(terms)))
    loss = loss_of(features.tolist(), centres=centres.tolist(), scale=scale, margin=margin)
    got = loss(torch.tensor(features, dtype=torch.float32), torch.tensor(persons))
    np.testing.assert_allclose(got.detach().numpy(), expected, rtol=1e-4)


def test_arcface_worked_by_hand() -> None:
    # The feature lies 30 degrees from its own centre and 60 from the other; 30 more make both 60: log 2.
    feature = torch.tensor([[3 * math.cos(math.pi / 6), 3 * math.sin(math.pi / 6)]])
    loss = loss_of(feature.tolist(), centres=[[2.0, 0.0], [0.0, 5.0]], scale=11.0, margin=math.pi / 6)
    assert loss(feature, torch.tensor([0])).item() == pytest.approx(math.log(2), abs=1e-4)


def test_arcface_never_falls_while_the_angle_to_the_own_centre_grows() -> None:
    angles = torch.linspace(0, math.pi, 181)
    # The other centre is at a right angle to all features, so that only the own angle changes.
    features = torch.stack([angles.cos(), angles.sin(), torch.zeros(181)], dim=1)
    loss = loss_of(features.tolist(), centres=[[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]], scale=8.0, margin=0.5)
    losses = loss(features, torch.zeros(181, dtype=torch.int64))
    assert (losses.diff() > -1e-5).all()
    assert losses[-1] > losses[0] + 7.9


def test_variation_keeps_shape_and_range_and_is_drawn_from_its_generator() -> None:
    images = torch.rand(5, 3, 112, 96, generator=torch.Generator().manual_seed(0)) * 2 - 1
    first, again, other = (vary(images, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert first.shape == images.shape
    assert first.min() >= -1
    assert first.max() <= 1
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_variation_moves_a_face_by_few_pixels_only() -> None:
    images = torch.full((64, 3, 112, 96), -1.0)
    images[:, :, 54:58, 46:50] = 1.0  # a spot in the middle, where zoom and turn hardly move it
    varied = vary(images, torch.Generator().manual_seed(0)).mean(1)
    spots = varied.flatten(1).argmax(1)
    rows, columns = spots // 96 - 55.5, spots % 96 - 47.5
    assert rows.abs().max() <= 7
    assert columns.abs().max() <= 7
    assert rows.std() > 0.5
    assert columns.std() > 0.5


class ColourNet(nn.Module):
    """Stands in for the real network where only the training loop is under test: it sees mean colours."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3 * 4, 128)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.layer(functional.adaptive_avg_pool2d(images, 2).flatten(1))


def test_training_learns_to_tell_persons_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "SmallFaceNet", ColourNet)
    monkeypatch.setattr(train, "PEAK_RATE", 0.01)
    images, persons = coloured_faces(persons=4, each=8)
    options = {"images": images, "persons": persons, "batch_size": 16, "seed": 3}
    inputs, same = normalised(torch.from_numpy(images).permute(0, 3, 1, 2)), persons[:, None] == persons[None]
    gaps = []
    for epochs in (0, 25):
        network = train_small_recogniser(**options, epochs=epochs)
        with torch.inference_mode():
            features = functional.normalize(network(inputs))
        cosines = (features @ features.T).numpy()
        gaps.append(cosines[same].mean() - cosines[~same].mean())
    assert gaps[0] < 0.1
    assert gaps[1] > 0.4


def test_training_repeats_itself_and_leaves_the_global_random_state_alone() -> None:
    images, persons = coloured_faces(persons=2, each=4)
    seen: list[tuple[int, int]] = []
    torch.manual_seed(5)
    expected_next = torch.rand(1)
    torch.manual_seed(5)
    options = {"images": images, "persons": persons, "epochs": 1, "batch_size": 4, "seed": 3}
    network = train_small_recogniser(**options, progress=lambda step, steps: seen.append((step, steps)))
    assert torch.equal(torch.rand(1), expected_next)
    assert seen == [(1, 2), (2, 2)]
    assert not network.training
    again = train_small_recogniser(**options)
    for value, repeated in zip(network.parameters(), again.parameters(), strict=True):
        assert torch.equal(value, repeated)


def test_training_refuses_faces_of_another_shape_or_type() -> None:
    images, persons = coloured_faces(persons=2, each=2)
    with pytest.raises(UsageError, match="112x96"):
        train_small_recogniser(images=images[:, :, :90], persons=persons)
    with pytest.raises(UsageError, match="uint8"):
        train_small_recogniser(images=images.astype(np.float32), persons=persons)  # type: ignore[arg-type]


@pytest.mark.parametrize("persons", [[0, 1, 2], [4, 4, 4, 4]])
def test_training_refuses_wrong_or_single_persons(persons: list[int]) -> None:
    images, _ = coloured_faces(persons=2, each=2)
    with pytest.raises(UsageError, match="two persons"):
        train_small_recogniser(images=images, persons=np.asarray(persons))


def test_training_refuses_steps_of_one_image() -> None:
    images, persons = coloured_faces(persons=2, each=2)
    with pytest.raises(UsageError, match="at least 2 images per step"):
        train_small_recogniser(images=images, persons=persons, batch_size=1)


def test_training_persons_are_not_in_the_default_gallery() -> None:
    images, numbers = train.training_faces(persons=2, photos_per_person=2)
    assert images.shape[1:] == (112, 96, 3)
    assert images.dtype == np.uint8
    gallery = range(SyntheticFaces().first_person, SyntheticFaces().first_person + SyntheticFaces().persons)
    assert set(numbers.tolist()) == {1000, 1001}
    assert not set(numbers.tolist()) & set(gallery)


def test_saved_weights_give_nearly_the_same_features(tmp_path: Path) -> None:
    network = shipped_network()
    with torch.no_grad():
        for value in network.parameters():
            value += 1e-5  # so that rounding to float16 has something to round
    save_weights(network, tmp_path / "deep" / "weights.safetensors")
    loaded = SmallFaceNet()
    loaded.load_state_dict(load_file(tmp_path / "deep" / "weights.safetensors"), strict=True)
    images = normalised(torch.randint(0, 256, (3, 3, 112, 96), generator=torch.Generator().manual_seed(0)))
    with torch.inference_mode():
        cosines = functional.cosine_similarity(network(images), loaded.eval()(images))
    assert cosines.min() > 0.999
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["weights.safetensors"]


def test_shipped_weights_are_small_and_finite() -> None:
    assert WEIGHTS.stat().st_size <= 2 * 2**20
    network = shipped_network()
    assert parameter_count(network) > 100_000
    assert all(torch.isfinite(value).all() for value in network.state_dict().values())


def test_shipped_network_returns_raw_features_that_do_not_depend_on_neighbours() -> None:
    network = shipped_network()
    images = normalised(torch.randint(0, 256, (4, 3, 112, 96), generator=torch.Generator().manual_seed(1)))
    with torch.inference_mode():
        together, alone = network(images), network(images[2:3])
    assert together.shape == (4, 128)
    torch.testing.assert_close(together[2:3], alone, rtol=1e-4, atol=1e-4)
    assert (together.norm(dim=1) - 1).abs().min() > 0.1


def test_shipped_network_recognises_persons_it_was_not_trained_on() -> None:
    persons, each = 24, 4
    photos = [SyntheticFaces().photo(person, index) for person in range(persons) for index in range(each)]
    found = [
        (face.pixels, number // each)
        for number, face in enumerate(Aligner(template="112x96").align(photos))
        if isinstance(face, AlignedFace)
    ]
    assert len(found) >= 0.95 * len(photos)
    images = torch.from_numpy(np.stack([pixels for pixels, _ in found])).permute(0, 3, 1, 2)
    owner = torch.tensor([person for _, person in found])
    with torch.inference_mode():
        features = functional.normalize(shipped_network()(normalised(images)))
    similarity = features @ features.T
    similarity.fill_diagonal_(-2.0)
    assert (owner[similarity.argmax(1)] == owner).float().mean() >= 0.95
