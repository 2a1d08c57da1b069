"""Protection and recovery with a toy recogniser; what the optimiser is given, and what it is not."""

from dataclasses import fields
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from skimage import data
from torch import Tensor, nn
from torch.nn import functional

from avih import jobs as jobs_module
from avih import protection
from avih.criteria import Never
from avih.errors import AvihError, KeyRefused
from avih.evaluation.metrics import ssim
from avih.generators.codec import CodecGenerator, encode, free_mask
from avih.generators.resnet import ResnetGenerator
from avih.images import to_pixels, to_tensor
from avih.jobs import Ticket
from avih.loop import Job
from avih.losses import FeatureDistance
from avih.mixing import Mixing
from avih.precision import InPrecision
from avih.protection import Protected, Protector
from avih.recovery import Stored, check_recovery, recover
from avih.settings import FAST_UNMIXED_PROTECT, PAPER_PROTECT, ProtectSettings
from avih.steps import AdaptiveMomentum, ClosingMomentum, DecayingMomentum

SECRET = bytes(range(100, 132))
FEATURES = 8
KEYED = ProtectSettings(stop_cosine=0.99, steps=100, precision="float32")
UNMIXED = PAPER_PROTECT.model_copy(update={"steps": 12})


class ToyRecogniser(nn.Module):
    """Two convolutions and a projection to unit features, drawn from a seed."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(4)
            self.body = nn.Sequential(
                nn.Conv2d(3, 8, 4, stride=4), nn.Tanh(), nn.Conv2d(8, 16, 3, padding=1), nn.Tanh()
            )
            self.project = nn.LazyLinear(FEATURES)
            self.project(self.body(torch.zeros(1, 3, 32, 32)).flatten(1))
        self.card = SimpleNamespace(feature_size=FEATURES)
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        return functional.normalize(self.project(self.body(images - 0.5).flatten(1)), dim=1)


RECOGNISER: Any = ToyRecogniser()


def pictures() -> list[np.ndarray]:
    faces = data.astronaut(), data.coffee()
    return [np.ascontiguousarray(faces[i][y : y + 160 : 5, x : x + 160 : 5]) for i, y, x in SPOTS]


SPOTS = [(0, 40, 150), (0, 300, 150), (1, 100, 200)]
IMAGES = ["anna__1", "anna__2", "bert__1"]


def protector(**changes: Any) -> Protector:
    parts: dict[str, Any] = {
        "secret": SECRET,
        "generator": CodecGenerator(width=4, blocks=1).eval(),
        "recogniser": RECOGNISER,
        "settings": KEYED,
        "version": "v0001",
    }
    return Protector(**(parts | changes))


@pytest.fixture(scope="module")
def protected() -> list[Protected]:
    return protector().protect(pictures=pictures(), images=IMAGES)


def recovered(
    protected: list[Protected], nonces: list[str] | None = None, **changes: Any
) -> list[np.ndarray]:
    given = [one.nonce for one in protected] if nonces is None else nonces
    stored = [Stored("image", one.pixels, nonce) for one, nonce in zip(protected, given, strict=True)]
    parts: dict[str, Any] = {
        "secret": SECRET,
        "generator": CodecGenerator(width=4, blocks=1).eval(),
        "recovery": "keyed",
    }
    return recover(stored, **(parts | changes))


def test_the_recogniser_still_matches_the_stored_pixels(protected: list[Protected]) -> None:
    with torch.no_grad():
        before = RECOGNISER(to_tensor(pictures()))
        after = RECOGNISER(to_tensor([one.pixels for one in protected]))
    cosines = (before * after).sum(dim=1).tolist()
    assert min(cosines) >= 0.99
    assert [one.cosine for one in protected] == pytest.approx(cosines, abs=1e-5)
    assert all(1 <= one.steps <= 100 for one in protected)


def test_the_right_key_recovers_the_pictures(protected: list[Protected]) -> None:
    back = recovered(protected)
    assert [picture.dtype for picture in back] == [np.uint8] * 3
    assert min(ssim(a, b) for a, b in zip(pictures(), back, strict=True)) > 0.95


@pytest.mark.parametrize("wrong", ["secret", "nonce", "exchanged nonces"])
def test_a_wrong_key_or_nonce_recovers_nothing(protected: list[Protected], wrong: str) -> None:
    nonces = [one.nonce for one in protected]
    changes: dict[str, Any] = {
        "secret": {"secret": bytes([SECRET[0] ^ 1]) + SECRET[1:]},
        "nonce": {"nonces": [nonce.replace("v0001", "v0002") for nonce in nonces]},
        "exchanged nonces": {"nonces": nonces[1:] + nonces[:1]},
    }[wrong]
    back = recovered(protected, **changes)
    with torch.no_grad():  # the generator without any mixing
        back += list(to_pixels(CodecGenerator()(to_tensor([one.pixels for one in protected]))))
    assert max(ssim(a, b) for a, b in zip(pictures() * 2, back, strict=True)) < 0.1


def test_stored_pictures_tell_nothing_by_correlation(protected: list[Protected]) -> None:
    for original, one in zip(pictures(), protected, strict=True):
        assert one.pixels.shape == original.shape
        assert one.pixels.dtype == np.uint8
        assert abs(np.corrcoef(original.reshape(-1), one.pixels.reshape(-1))[0, 1]) < 0.08  # 3072 values
        assert ssim(original, one.pixels) < 0.1


def test_protection_is_repeatable_and_free_of_the_batch(protected: list[Protected]) -> None:
    counted: list[int] = []
    again = protector().protect(pictures=pictures(), images=IMAGES, progress=counted.append)
    assert sum(counted) == 3
    assert [one.pixels.tobytes() for one in again] == [one.pixels.tobytes() for one in protected]
    assert [one.nonce for one in again] == [one.nonce for one in protected]
    assert [one.nonce.rsplit("/", 1)[0] for one in again] == [f"v0001/{image}" for image in IMAGES]
    alone = protector().protect(pictures=pictures()[1:2], images=IMAGES[1:2])
    assert np.array_equal(alone[0].pixels, protected[1].pixels)


def test_only_free_values_are_moved(protected: list[Protected]) -> None:
    for original, one in zip(pictures(), protected, strict=True):
        mixing = Mixing.draw(secret=SECRET, nonce=one.nonce, values=original.size)
        code = mixing.apply(one.pixels)
        assert np.array_equal(code[~free_mask(32, 32)], encode(original)[~free_mask(32, 32)])


def test_bfloat16_is_finished_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.dtype] = []

    def spy(self: InPrecision, images: Tensor) -> Tensor:
        seen.append(self.dtype)
        return self.network(images)

    monkeypatch.setattr(InPrecision, "__call__", spy)
    for precision, expected in (("bfloat16", {torch.bfloat16, torch.float32}), ("float32", {torch.float32})):
        seen.clear()
        settings = KEYED.model_copy(update={"precision": precision})
        done = protector(settings=settings).protect(pictures=pictures(), images=IMAGES)
        assert set(seen) == expected and seen[-1] == torch.float32
        assert min(one.cosine for one in done) >= 0.99 - 1e-6


def jobs(given: list[np.ndarray], **changes: Any) -> list[Job]:
    return list(protector(**changes).jobs((f"image{i}", picture) for i, picture in enumerate(given)))


def test_the_optimiser_starts_from_uniform_noise() -> None:
    black = np.zeros((32, 32, 3), np.uint8)
    many = [np.roll(pictures()[0], shift, axis=1) for shift in range(4)]
    for batch in ([black] * 4, many):
        starts = torch.cat([job.start for job in jobs(batch)])
        start = (starts * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
        counts = np.bincount(start.reshape(-1), minlength=256)
        expected = start.size / 256
        assert ((counts - expected) ** 2 / expected).sum() < 400  # 255 +- 23 for uniform noise
        pairs = np.corrcoef(start.reshape(4, -1))
        assert np.abs(pairs[~np.eye(4, dtype=bool)]).max() < 0.09  # equal pictures, unlike noise


def test_the_optimiser_is_given_noise_mask_and_features_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two pictures, forced to one start and one target, cannot be told apart by the optimisation."""
    fixed = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    target = functional.normalize(torch.ones(1, FEATURES), dim=1)

    class Forced(ToyRecogniser):
        calls = 0

        def forward(self, images: Tensor) -> Tensor:
            self.calls += 1
            return target.expand(len(images), -1) if self.calls == 1 else super().forward(images)

    monkeypatch.setattr(jobs_module, "encode", lambda _: fixed)
    monkeypatch.setattr(protection, "make_nonce", lambda **_: "one nonce")
    results, given = [], []
    for picture in pictures()[:2]:
        results.append(protector(recogniser=Forced()).protect(pictures=[picture], images=["one"])[0])
        given += jobs([picture], recogniser=Forced())
    assert np.array_equal(results[0].pixels, results[1].pixels)
    assert results[0].steps == results[1].steps > 1
    first, second = given
    given_fields = {"start", "objective", "movable", "ticket", "spent", "seconds"}
    assert {field.name for field in fields(Job)} == given_fields and first.spent == first.seconds == 0
    assert torch.equal(first.start, second.start) and torch.equal(first.movable, second.movable)
    assert first.ticket == second.ticket == Ticket("image0", "one nonce")
    for job in given:
        (term,) = job.objective.terms
        assert isinstance(term, FeatureDistance)
        assert torch.equal(term.target, target)
        assert set(vars(term)) <= {"recogniser", "target", "weight", "name"}


def resnet() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        return ResnetGenerator(width=4, blocks=1, trunk_norm_only=True).eval().requires_grad_(False)


def test_unmixed_protection_follows_the_papers_and_recovers_better_with_every_step() -> None:
    errors, cosines = [], []
    for steps in (1, 8, 24):
        settings = UNMIXED.model_copy(update={"steps": steps})
        hidden = protector(generator=resnet(), settings=settings).protect(pictures=pictures(), images=IMAGES)
        back = recovered(hidden, generator=resnet(), recovery="unmixed", secret=b"not needed")
        errors.append(np.mean((np.stack(back) / 255 - np.stack(pictures()) / 255) ** 2))
        cosines.append(min(one.cosine for one in hidden))
    assert errors[0] > errors[1] > errors[2]
    assert cosines[0] < cosines[1] < cosines[2]


@pytest.mark.parametrize("recovery", ["keyed", "unmixed"])
def test_a_generator_of_the_other_kind_is_refused(recovery: str) -> None:
    generator = resnet() if recovery == "keyed" else CodecGenerator(width=4, blocks=1)
    settings = KEYED if recovery == "keyed" else UNMIXED
    with pytest.raises(KeyRefused, match=recovery):
        protector(generator=generator, settings=settings)
    with pytest.raises(KeyRefused, match=recovery):
        recover([], secret=SECRET, generator=generator, recovery=settings.recovery)
    check_recovery("unmixed" if recovery == "keyed" else "keyed", generator)


def test_no_text_shows_the_secret(protected: list[Protected]) -> None:
    made = protector()
    spellings = (SECRET.hex(), repr(SECRET)[2:-1], str(list(SECRET)))
    for text in (repr(made), str(made), f"{[made]}", *(repr(one) for one in protected)):
        assert not any(spelling in text for spelling in spellings)


def test_unpaired_input_is_refused() -> None:
    assert recovered([]) == []
    with pytest.raises((AvihError, ValueError)):
        protector().protect(pictures=pictures(), images=IMAGES[:2])


def test_the_settings_choose_rule_and_stop() -> None:
    closing = protection.step_rule(KEYED, 512, steps=50)
    assert isinstance(closing, ClosingMomentum)
    assert closing.full_loss == 2 / 512
    paper = protection.step_rule(PAPER_PROTECT, 512, steps=800)
    assert isinstance(paper, DecayingMomentum)
    assert (paper.step_size, paper.momentum) == (0.01, 0.3)
    fast = protection.step_rule(FAST_UNMIXED_PROTECT, 512, steps=70)
    assert isinstance(fast, AdaptiveMomentum)
    assert (fast.steps, fast.step_size) == (70, FAST_UNMIXED_PROTECT.step_size)
    assert isinstance(protection.stop_rule(PAPER_PROTECT, 512), Never)
    limit = protection.stop_rule(KEYED, 512)({"features": torch.tensor([0.019, 0.021]) / 512})
    assert limit.tolist() == [True, False]
