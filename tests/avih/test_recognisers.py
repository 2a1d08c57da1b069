"""The recogniser wrapper: its input contract, its frozen weights, its fingerprint, and the real weights."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from avih.errors import UsageError
from avih.recognisers import Recogniser, load_recogniser, probe_picture, read_card
from avih.recognisers.registry import build_network
from avih.recognisers.state import fingerprint_of, fit_state
from real_data import REAL_DATA, REAL_WEIGHTS, needs_real_weights
from recogniser_files import seeded_network


def wrapped(*, card_name: str, network: nn.Module) -> Recogniser:
    card = read_card(card_name)
    return Recogniser(card=card, network=network, fingerprint=fingerprint_of(card=card, network=network))


# --- the wrapper's contract ---


class Recorder(nn.Module):
    """A stand-in network that keeps what it was given and returns its first values."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, images: Tensor) -> Tensor:
        self.given = images
        return images.flatten(1)[:, :128] * self.scale


@pytest.mark.parametrize(
    ("card_name", "order", "mean", "std"),
    [("mobilefacenet", [0, 1, 2], 127.5, 128.0), ("sphereface_sphere20", [2, 1, 0], 127.5, 128.0)],
)
def test_network_gets_the_cards_colour_order_and_range(
    card_name: str, order: list[int], mean: float, std: float
) -> None:
    network = Recorder()
    recogniser = wrapped(card_name=card_name, network=network)
    pixels = np.random.default_rng(5).integers(0, 256, size=(2, 112, 96, 3), dtype=np.uint8)
    recogniser(torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255)
    expected = (pixels[..., order].astype(np.float64) - mean) / std
    np.testing.assert_allclose(network.given.permute(0, 2, 3, 1).numpy(), expected, atol=1e-5)


@pytest.fixture(scope="module")
def small_recogniser() -> Recogniser:
    return wrapped(card_name="mobilefacenet", network=seeded_network())


def faces(*, batch: int) -> Tensor:
    steps = [probe_picture(height=112, width=96, step=step) for step in range(1, batch + 1)]
    return torch.cat(steps)


def test_features_have_unit_length(small_recogniser: Recogniser) -> None:
    features = small_recogniser(faces(batch=3))
    assert features.shape == (3, 128)
    torch.testing.assert_close(features.norm(dim=1), torch.ones(3), rtol=0, atol=1e-6)


def test_a_feature_does_not_depend_on_its_neighbours(small_recogniser: Recogniser) -> None:
    pictures = faces(batch=4)
    together = small_recogniser(pictures)
    alone = torch.cat([small_recogniser(picture[None]) for picture in pictures])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)


def test_gradient_reaches_the_images_and_not_the_weights(small_recogniser: Recogniser) -> None:
    images = faces(batch=2).requires_grad_(True)
    target = small_recogniser(faces(batch=2).flip(0)).detach()
    loss = (small_recogniser(images) - target).pow(2).sum()
    loss.backward()
    assert images.grad is not None
    assert all(float(gradient.abs().max()) > 0 for gradient in images.grad)
    assert not any(parameter.requires_grad for parameter in small_recogniser.parameters())
    # The gradient is the slope: a step along it changes the loss by the step times its squared length.
    step = 1e-2 / float(images.grad.norm())
    with torch.no_grad():
        up = (small_recogniser(images + step * images.grad) - target).pow(2).sum()
        down = (small_recogniser(images - step * images.grad) - target).pow(2).sum()
    assert float(up - down) == pytest.approx(2 * step * float(images.grad.pow(2).sum()), rel=0.02)


def test_stays_in_evaluation_mode(small_recogniser: Recogniser) -> None:
    before = {name: tensor.clone() for name, tensor in small_recogniser.state_dict().items()}
    assert small_recogniser.train() is small_recogniser
    assert not any(module.training for module in small_recogniser.modules())
    small_recogniser(faces(batch=2))
    after = small_recogniser.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_parent_in_training_mode_leaves_it_frozen(small_recogniser: Recogniser) -> None:
    nn.Sequential(small_recogniser).train()
    assert not any(module.training for module in small_recogniser.modules())


def test_works_under_autocast(small_recogniser: Recogniser) -> None:
    images = faces(batch=2)
    exact = small_recogniser(images)
    images.requires_grad_(True)
    with torch.autocast(device_type="cpu", dtype=torch.bfloat16):
        features = small_recogniser(images)
    assert features.dtype == torch.float32
    torch.testing.assert_close(features.norm(dim=1), torch.ones(2), rtol=0, atol=1e-5)
    assert float((features.detach() * exact).sum(dim=1).min()) > 0.99
    features[:, 0].sum().backward()
    assert images.grad is not None
    assert torch.isfinite(images.grad).all()


@pytest.mark.parametrize("shape", [(1, 3, 112, 112), (3, 112, 96), (1, 1, 112, 96), (1, 112, 96, 3)])
def test_refuses_another_shape(small_recogniser: Recogniser, shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match=r"expected images of shape \(batch, 3, 112, 96\), got") as caught:
        small_recogniser(torch.zeros(shape))
    assert str(shape) in str(caught.value)


def test_refuses_whole_number_pixels(small_recogniser: Recogniser) -> None:
    with pytest.raises(UsageError, match="divide 8-bit pixels by 255"):
        small_recogniser(torch.zeros((1, 3, 112, 96), dtype=torch.uint8))


def test_building_leaves_the_random_state_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    build_network("mobilefacenet")
    assert torch.equal(torch.rand(4), expected)


def test_unknown_architecture_names_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"mobilefacenet.*got 'resnet'"):
        build_network("resnet")


# --- the fingerprint ---


def test_fingerprint_follows_weights_and_facts_and_nothing_else() -> None:
    card = read_card("mobilefacenet")
    network = seeded_network()
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    first = fingerprint_of(card=card, network=network)
    assert len(first) == 16
    assert int(first, 16) >= 0
    renamed = card.model_copy(update={"name": "other", "description": "same network", "probe": None})
    assert fingerprint_of(card=renamed, network=network) == first
    for change in ({"colour_order": "BGR"}, {"mean": 0.0}, {"std": 127.5}):
        assert fingerprint_of(card=card.model_copy(update=change), network=network) != first
    for name in ("conv1.bn.bias", "blocks.7.conv.3.weight", "linear1.bn.running_var"):
        changed = {**state, name: state[name] * 1.001 + 1e-6}
        other = build_network("mobilefacenet")
        fit_state(network=other, state=changed, card=card)
        assert fingerprint_of(card=card, network=other) != first, name


# --- the real recogniser ---


@pytest.fixture(scope="module")
def real_recogniser() -> Recogniser:
    return load_recogniser(card="mobilefacenet", weights=REAL_WEIGHTS)


@needs_real_weights
def test_real_weights_fill_the_network(real_recogniser: Recogniser) -> None:
    state = real_recogniser.network.state_dict()
    assert len(state) == 333
    assert sum(tensor.numel() for tensor in state.values()) == 1_019_186


@needs_real_weights
def test_real_recogniser_tells_persons_apart(real_recogniser: Recogniser) -> None:
    """Photos of one person are closer than photos of two: colours, range and alignment are as trained."""
    photos = REAL_DATA / "data" / "lfw-gray"
    persons = [folder for folder in sorted(photos.glob("*")) if len(list(folder.glob("*.jpg"))) >= 3][:5]
    if len(persons) < 5:
        pytest.skip("no data/lfw-gray with five persons of three photos under AVIH_REAL_DATA")
    paths = [path for person in persons for path in sorted(person.glob("*.jpg"))[:3]]
    labels, faces_seen = aligned_faces(paths)
    features = real_recogniser(torch.from_numpy(np.stack(faces_seen)).permute(0, 3, 1, 2).float() / 255)
    cosines = features @ features.T
    same = torch.tensor([[a == b for b in labels] for a in labels])
    pairs = torch.ones_like(cosines).triu(1).bool()
    assert len(labels) >= 12
    assert float(cosines[same & pairs].mean()) > 0.4
    assert float(cosines[~same & pairs].mean()) < 0.15


def aligned_faces(paths: list[Path]) -> tuple[list[str], list[np.ndarray]]:
    """Align photos to the 112x96 template by MTCNN's five points, as the published training did."""
    from facenet_pytorch import MTCNN
    from PIL import Image
    from skimage.transform import SimilarityTransform, warp

    template = np.array(
        [(30.2946, 51.6963), (65.5318, 51.5014), (48.0252, 71.7366), (33.5493, 92.3655), (62.7299, 92.2041)]
    )
    detector = MTCNN(keep_all=True, post_process=False)
    labels, faces_seen = [], []
    for path in paths:
        photo = Image.open(path).convert("RGB")
        boxes, _, points = detector.detect(photo, landmarks=True)
        if boxes is None:
            continue
        corners = np.asarray(boxes, dtype=float)
        distances = (corners[:, :2] + corners[:, 2:]) / 2 - np.array(photo.size) / 2
        nearest = int(np.argmin((distances**2).sum(axis=1)))
        move = SimilarityTransform.from_estimate(np.asarray(points[nearest], dtype=float), template)
        face = warp(np.asarray(photo), move.inverse, output_shape=(112, 96), order=1)
        labels.append(path.parent.name)
        faces_seen.append((face * 255).round().astype(np.uint8))
    return labels, faces_seen
