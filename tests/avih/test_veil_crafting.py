"""Crafting veils: Algorithm 1 step by step, what the terms do, the veil as bytes, and a real recogniser."""

import numpy as np
import pytest
import safetensors.torch
import torch
from pydantic import ValidationError

from avih.errors import UsageError
from avih.images import decode_photo, to_tensor
from avih.keys.canonical import canonical_safetensors
from avih.methods import person_veil, v_uap
from avih.methods.person_veil import Veil, VeilSettings, craft_veil, read_veil, start_noise, veil_bytes
from avih.methods.v_uap import craft_v_uap
from avih.veils.apply import put_on
from avih.veils.veil import pink_noise
from real_data import REAL_DATA, REAL_WEIGHTS, needs_real_weights

SECRET = bytes(range(32))
DRAW = torch.Generator().manual_seed(31)
SHAPE = (3, 16, 12)
WEIGHTS = torch.randn(576, 16, generator=DRAW) / 10
COMMON = torch.rand(SHAPE, generator=DRAW)
PHOTOS = (0.8 * COMMON + 0.2 * torch.rand(5, *SHAPE, generator=DRAW)).clamp(0, 1)


def recogniser(images: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.normalize(((images - 0.5).flatten(1) @ WEIGHTS).tanh(), dim=1)


def craft(settings: VeilSettings, *, secret: bytes = SECRET, label: str = "ann") -> Veil:
    return craft_veil(photos=PHOTOS, recogniser=recogniser, secret=secret, label=label, settings=settings)


def mean_loss(d: torch.Tensor, settings: VeilSettings) -> torch.Tensor:
    """Equation 13 for a hull of one corner, where the nearest point is that corner."""
    photo = PHOTOS[:1]
    protected = settings.alpha * photo + (1 - settings.alpha) * d
    stored = protected + ((protected * 255).round() / 255 - protected).detach()
    distance = (recogniser(stored) - recogniser(photo)).square().sum().sqrt()
    visual = (stored - photo).square().mean().sqrt()
    sums = torch.nn.functional.conv2d(stored[0].unsqueeze(1), torch.ones(1, 1, 3, 3)).flatten(1)
    variance = (sums.var(dim=1, unbiased=False) + (sums / 9).var(dim=1, unbiased=False)).sum()
    return distance - settings.visual_weight * visual + settings.variance_weight * variance


def test_algorithm_1_written_out() -> None:
    settings = VeilSettings(steps=12, step_size=0.02, momentum=0.9)
    d, g, best = (
        start_noise(secret=SECRET, label="ann", like=PHOTOS[0]),
        torch.zeros(SHAPE),
        (torch.inf, 0, None),
    )
    for step in range(1, 13):
        d = d.detach().requires_grad_(True)
        loss = mean_loss(d, settings)
        if loss < best[0]:
            best = (float(loss.detach()), step, d.detach())
        (slope,) = torch.autograd.grad(loss, d)
        g = 0.9 * g + slope / slope.abs().sum()
        d = (d - 0.02 * g.sign()).clamp(0, 1)
    seen: list[tuple[int, float]] = []
    veil = craft_veil(
        photos=PHOTOS[:1], recogniser=recogniser, secret=SECRET, label="ann", settings=settings,
        progress=lambda step, loss: seen.append((step, loss)),
    )  # fmt: skip
    assert veil.steps == best[1]
    # The sign of a gradient of nearly 0 depends on the order of sums.
    assert (veil.d - best[2]).abs().gt(1e-5).float().mean() < 0.01
    assert [step for step, _ in seen] == list(range(1, 13))
    assert min(loss for _, loss in seen) == pytest.approx(best[0], abs=1e-3)


def test_crafting_brings_the_features_near_and_keeps_the_veil_in_range() -> None:
    start = start_noise(secret=SECRET, label="ann", like=PHOTOS[0])
    features = recogniser(PHOTOS)
    before = (recogniser(0.2 * PHOTOS + 0.8 * start) * features).sum(dim=1)
    veil = craft(VeilSettings(steps=120))
    assert veil.d.min() >= 0 and veil.d.max() <= 1 and veil.d.dtype == torch.float32
    assert before.max() < 0.8 < 0.9 < veil.cosines.min()
    # The cosines are those of the pictures that will be stored.
    photos = (PHOTOS.permute(0, 2, 3, 1) * 255).round().to(torch.uint8).numpy()
    stored = put_on(photos, veil=veil.pixels, alpha=veil.alpha)
    pictures = torch.from_numpy(stored.pictures).permute(0, 3, 1, 2) / 255
    found = (recogniser(pictures) * features).sum(dim=1)
    assert stored.clipped == 0
    torch.testing.assert_close(found, veil.cosines, atol=5e-3, rtol=0)


def test_the_visual_weight_moves_pictures_away_and_the_variance_weight_flattens_them() -> None:
    def far_and_rough(**weights: float) -> tuple[float, float]:
        veil = craft(VeilSettings(steps=60, feature_weight=0.0, **weights))
        protected = 0.2 * PHOTOS + 0.8 * veil.d
        sums = torch.nn.functional.avg_pool2d(protected, 3, 1)
        return float((protected - PHOTOS).square().mean().sqrt()), float(sums.var())

    neither = far_and_rough(visual_weight=0.0, variance_weight=0.0)
    far = far_and_rough(visual_weight=1.0, variance_weight=0.0)
    flat = far_and_rough(visual_weight=0.0, variance_weight=1.0)
    assert far[0] > neither[0] * 1.2
    assert flat[1] < neither[1] * 0.5


def test_portions_of_photos_change_nothing_but_rounding() -> None:
    whole = craft(VeilSettings(steps=5))
    parts = craft(VeilSettings(steps=5, batch_size=2))
    assert (whole.d - parts.d).abs().gt(1e-6).float().mean() < 0.01


def test_secret_and_label_decide_the_start_and_nothing_else_does() -> None:
    settings = VeilSettings(steps=3)
    again, other, elsewhere = craft(settings), craft(settings, secret=bytes(32)), craft(settings, label="bob")
    assert torch.equal(craft(settings).d, again.d)
    assert not torch.equal(again.d, other.d) and not torch.equal(again.d, elsewhere.d)
    noise = start_noise(secret=SECRET, label="x", like=torch.zeros(3, 64, 64))
    counts = torch.bincount((noise * 255).round().long().flatten(), minlength=256).double()
    assert ((counts - 48).square() / 48).sum() < 340  # chi squared, 255 degrees: 1 in 4,000


def test_the_baseline_matches_vectors_and_has_no_block_variance() -> None:
    veil = craft_v_uap(photos=PHOTOS, recogniser=recogniser, secret=SECRET, label="ann",
                       settings=VeilSettings(steps=80))  # fmt: skip
    assert veil.cosines.min() > 0.9 and veil.d.min() >= 0 and veil.d.max() <= 1
    flat = craft_v_uap(photos=PHOTOS, recogniser=recogniser, secret=SECRET, label="ann",
                       settings=VeilSettings(steps=80, variance_weight=9.0))  # fmt: skip
    assert torch.equal(veil.d, flat.d)
    assert person_veil.FACTS.name == "person_veil" and v_uap.FACTS.name == "v_uap"


def test_a_veil_comes_back_from_its_bytes_as_it_was() -> None:
    veil = craft(VeilSettings(steps=2, alpha=0.3))
    content = veil_bytes(veil)
    back = read_veil(content)
    assert torch.equal(back.d, veil.d) and torch.equal(back.cosines, veil.cosines)
    assert (back.alpha, back.steps) == (0.3, veil.steps)
    assert veil_bytes(back) == content
    np.testing.assert_array_equal(veil.pixels[4, 5], veil.d[:, 4, 5].numpy())
    assert "tensor(" not in repr(veil).split("cosines")[0]  # a log of the record must not hold the veil


def test_other_bytes_are_no_veil() -> None:
    content = veil_bytes(Veil(torch.zeros(SHAPE), 0.2, torch.ones(2), 1))
    generator = canonical_safetensors({"w": torch.zeros(2)}, {"kind": "generator"})
    outside = canonical_safetensors(
        {"d": torch.full(SHAPE, 1.5), "cosines": torch.ones(1)},
        {"kind": person_veil.KIND, "alpha": "0.2", "steps": "1"},
    )
    plain = safetensors.torch.save({"d": torch.zeros(SHAPE)})
    for bad in (b"", content[:-4], content + b"\0", generator, outside, plain):
        with pytest.raises(UsageError, match="Expected a veil"):
            read_veil(bad)


@pytest.mark.parametrize(
    ("photos", "match"),
    [
        (PHOTOS[0], "floating point"),
        (PHOTOS[:0], "floating point"),
        (PHOTOS[:, :2], "floating point"),
        ((PHOTOS * 255).to(torch.uint8), "floating point"),
        (PHOTOS * 255, "divide"),
        (PHOTOS * torch.nan, "divide"),
    ],
)
@pytest.mark.parametrize("method", [craft_veil, craft_v_uap])
def test_what_are_no_photos_is_refused(method, photos, match) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UsageError, match=match):
        method(photos=photos, recogniser=recogniser, secret=SECRET, label="ann")


def test_a_seed_is_no_secret_and_no_setting_is_out_of_range() -> None:
    with pytest.raises(UsageError, match="32 bytes"):
        craft(VeilSettings(), secret=b"7")
    for bad in ({"alpha": 0.0}, {"alpha": 1.0}, {"steps": 0}, {"momentum": 2.0}, {"colour": 1}):
        with pytest.raises(ValidationError):
            VeilSettings(**bad)
    with pytest.raises(UsageError, match="lost"):
        Veil(torch.full(SHAPE, 1.01), 0.2, torch.ones(1), 1)


@needs_real_weights
@pytest.mark.skipif(not (REAL_DATA / "data" / "lfw-gray").is_dir(), reason="no lfw-gray under AVIH_REAL_DATA")
def test_a_few_steps_on_a_real_person_approach_the_real_features() -> None:
    from avih.align import AlignedFace, Aligner
    from avih.recognisers.load import load_recogniser

    folder = REAL_DATA / "data" / "lfw-gray" / "Colin_Powell"
    raw = [decode_photo(path.read_bytes()).pixels for path in sorted(folder.iterdir())[:3]]
    faces = [face.pixels for face in Aligner().align(raw) if isinstance(face, AlignedFace)]
    photos = to_tensor(faces)
    network = load_recogniser(card="mobilefacenet", weights=REAL_WEIGHTS)
    with torch.no_grad():
        features = network(photos)
        start = start_noise(secret=SECRET, label="c", like=photos[0])
        before = (network(0.2 * photos + 0.8 * start) * features).sum(dim=1)
    veil = craft_veil(
        photos=photos, recogniser=network, secret=SECRET, label="c", settings=VeilSettings(steps=12)
    )
    assert bool((veil.cosines > before + 0.05).all())


def test_pink_noise_has_the_spectrum_of_photos_and_any_value() -> None:
    like = torch.empty(3, 64, 48)
    draws = torch.stack([pink_noise(secret=SECRET, label=str(turn), like=like) for turn in range(60)])
    levels = torch.histc(draws, bins=10, min=0, max=1) / draws.numel()
    assert torch.allclose(levels, torch.full((10,), 0.1), atol=0.03) and draws.min() >= 0 and draws.max() <= 1
    means = draws[:, 0].mean(dim=(1, 2))
    assert means.std() > 0.05  # its mean tells the mean of nothing; white noise has 0.005 here
    power = (
        torch.fft.fft2(torch.special.ndtri(draws.double().clamp(1e-6, 1 - 1e-6)))
        .abs()
        .square()
        .mean(dim=(0, 1))
    )
    halves = [power[1:9, 0].sum() / 8, power[9:17, 0].sum() / 8]
    frequencies = torch.arange(1.0, 17.0)
    wanted = [(1 / frequencies[part].square()).mean() for part in (slice(0, 8), slice(8, 16))]
    assert halves[0] / halves[1] == pytest.approx(float(wanted[0] / wanted[1]), rel=0.3)
    channels = torch.corrcoef(draws.permute(1, 0, 2, 3).flatten(1))
    assert channels[0, 1] == pytest.approx(0.8, abs=0.05)


def test_pink_noise_is_drawn_from_secret_and_label() -> None:
    def draw(secret: bytes, label: str) -> torch.Tensor:
        return pink_noise(secret=secret, label=label, like=torch.empty(3, 16, 12))

    one = draw(SECRET, "ann")
    assert torch.equal(one, draw(SECRET, "ann"))
    others = (draw(SECRET, "bob"), draw(bytes(32), "ann"), start_noise(secret=SECRET, label="ann", like=one))
    assert all((one - other).abs().mean() > 0.1 for other in others)
    with pytest.raises(UsageError, match="32 bytes"):
        draw(b"short", "ann")
    pink = craft(VeilSettings(steps=1, start="pink"))
    assert torch.equal(pink.d, one)  # the first look is at the start itself
