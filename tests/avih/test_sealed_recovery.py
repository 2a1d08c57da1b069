"""Sealed protection with a toy recogniser: the optimiser sees f(x) and never x; recovery is exact."""

from dataclasses import fields, replace
from inspect import signature
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from avih import protection
from avih.criteria import StillRecognised
from avih.errors import IntegrityError, KeyRefused
from avih.evaluation.metrics import ssim
from avih.generators import build_generator, load_generator, save_generator
from avih.generators.codec import CodecGenerator
from avih.generators.none import NoGenerator
from avih.images import to_tensor
from avih.jobs import Ticket, sealed_job, start_noise
from avih.loop import Job
from avih.losses import FeatureDistance
from avih.protection import Protected, Protector
from avih.recovery import Stored, check_recovery, recover
from avih.settings import SEALED_PROTECT

SECRET = bytes(range(50, 82))
FEATURES = 8
SETTINGS = SEALED_PROTECT.model_copy(update={"steps": 100, "stop_cosine": 0.99, "precision": "float32"})
IMAGES = ["anna__1", "anna__2", "bert__1"]


class Toy(nn.Module):
    """A convolution and a projection to unit features, drawn from a seed."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(4)
            self.body = nn.Sequential(nn.Conv2d(3, 8, 4, stride=4), nn.Tanh(), nn.Flatten())
            self.project = nn.Linear(8 * 64, FEATURES)
        self.card = SimpleNamespace(feature_size=FEATURES)
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        return functional.normalize(self.project(self.body(images - 0.5)), dim=1)


RECOGNISER: Any = Toy()


def pictures() -> list[np.ndarray]:
    """Three pictures that nobody mistakes for noise: a ramp, rings, and even black."""
    rows, columns = np.mgrid[0:32, 0:32]
    rings = 127 + 127 * np.sin(np.hypot(rows - 16, columns - 12))
    grey = (rows * 8, rings, np.zeros((32, 32)))
    return [np.stack([plane, plane[::-1], plane.T], axis=2).astype(np.uint8) for plane in grey]


def protector(**changes: Any) -> Protector:
    parts: dict[str, Any] = {"secret": SECRET, "generator": NoGenerator(), "recogniser": RECOGNISER,
                             "settings": SETTINGS, "version": "v0001"}  # fmt: skip
    return Protector(**(parts | changes))


@pytest.fixture(scope="module")
def protected() -> list[Protected]:
    return protector().protect(pictures=pictures(), images=IMAGES)


def stored(protected: list[Protected]) -> list[Stored]:
    return [Stored(i, p.pixels, p.nonce, p.sealed) for i, p in zip(IMAGES, protected, strict=True)]


def opened(samples: list[Stored], secret: bytes = SECRET) -> list[np.ndarray]:
    return recover(samples, secret=secret, generator=NoGenerator(), recovery="sealed")


def test_the_recogniser_still_matches_and_nobody_sees_the_picture(protected: list[Protected]) -> None:
    with torch.no_grad():
        before, after = (RECOGNISER(to_tensor(x)) for x in (pictures(), [one.pixels for one in protected]))
    cosines = (before * after).sum(dim=1).tolist()
    assert min(cosines) >= 0.99 and [one.cosine for one in protected] == pytest.approx(cosines, abs=1e-5)
    for picture, one in zip(pictures(), protected, strict=True):
        assert ssim(picture, one.pixels) < 0.1
        assert 1 <= one.steps < 100


def test_recovery_is_exact_and_needs_neither_x_nor_a_network(protected: list[Protected]) -> None:
    samples = stored(protected)
    for given in (samples, [replace(one, pixels=np.zeros_like(one.pixels)) for one in samples]):
        assert all(np.array_equal(a, b) for a, b in zip(opened(given), pictures(), strict=True))
    assert opened([]) == []


def test_a_wrong_key_a_swap_or_a_missing_file_gives_no_picture_at_all(protected: list[Protected]) -> None:
    first, second, _ = stored(protected)
    with pytest.raises(KeyRefused, match="key is another one"):
        opened([first], secret=bytes(32))
    for swapped in (replace(first, sealed=second.sealed), replace(first, image=second.image),
                    replace(first, nonce=second.nonce)):  # fmt: skip
        with pytest.raises(KeyRefused, match="altered"):
            opened([swapped])
    for damaged in (None, (first.sealed or b"")[:100]):
        with pytest.raises(IntegrityError, match="backup"):
            opened([replace(first, sealed=damaged)])


def test_the_same_input_gives_the_same_bytes(protected: list[Protected]) -> None:
    again = protector().protect(pictures=pictures(), images=IMAGES)
    assert [(p.pixels.tobytes(), p.sealed, p.nonce) for p in again] == [
        (p.pixels.tobytes(), p.sealed, p.nonce) for p in protected
    ]
    renewed = protector(secret=bytes(32)).protect(pictures=pictures(), images=IMAGES)
    next_version = protector(version="v0002").protect(pictures=pictures(), images=IMAGES)
    copies = [p.sealed for p in (*protected, *renewed, *next_version)]
    assert len(set(copies)) == 9 and len({len(copy or b"") for copy in copies}) == 1


def jobs(given: list[np.ndarray], **changes: Any) -> list[Job]:
    return list(protector(**changes).jobs((f"image{i}", picture) for i, picture in enumerate(given)))


def forced(target: Tensor) -> Any:
    """A recogniser that says ``target`` of the first picture it is shown, whatever that is: the original."""

    class Forced(Toy):
        calls = 0

        def forward(self, images: Tensor) -> Tensor:
            self.calls += 1
            return target.expand(len(images), -1) if self.calls == 1 else super().forward(images)

    return Forced()


def test_two_pictures_with_the_same_features_give_the_same_protected_picture(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """x' is a function of the start noise and f(x): with both forced to be equal, x makes no difference."""
    target = functional.normalize(torch.ones(1, FEATURES), dim=1)
    monkeypatch.setattr(protection, "make_nonce", lambda **_: "one nonce")
    done = [
        protector(recogniser=forced(target)).protect(pictures=[picture], images=["one"])[0]
        for picture in pictures()
    ]
    assert len({one.pixels.tobytes() for one in done}) == 1
    assert done[0].steps == done[1].steps == done[2].steps > 1
    assert done[0].pixels.tobytes() != start_noise(SECRET, "one nonce", (32, 32, 3)).tobytes()
    assert len({one.sealed for one in done}) == 3  # the copies are of three pictures


def test_other_features_give_another_protected_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protection, "make_nonce", lambda **_: "one nonce")
    targets = functional.normalize(torch.tensor([[1.0] * 8, [1.0, -1.0] * 4]), dim=1)
    first, second = (
        protector(recogniser=forced(target[None])).protect(pictures=pictures()[:1], images=["one"])[0]
        for target in targets
    )
    assert first.pixels.tobytes() != second.pixels.tobytes()


def test_what_reaches_the_loop_is_noise_a_mask_of_ones_and_features(monkeypatch: pytest.MonkeyPatch) -> None:
    with torch.no_grad():
        seen = RECOGNISER(to_tensor(pictures()))
    for number, job in enumerate(jobs(pictures())):
        ticket = job.ticket
        assert isinstance(ticket, Ticket) and {f.name for f in fields(ticket)} == {"image", "nonce"}
        assert torch.equal(job.start, to_tensor(start_noise(SECRET, ticket.nonce, (32, 32, 3))))
        assert torch.equal(job.movable, torch.ones(1, 3, 32, 32))
        (term,) = job.objective.terms
        assert isinstance(term, FeatureDistance)
        torch.testing.assert_close(term.target, seen[number : number + 1], rtol=0, atol=1e-6)
        assert set(vars(term)) <= {"recogniser", "target", "weight", "name"}
        assert {f.name for f in fields(job)} - {"start", "movable", "objective", "ticket"} <= {
            "spent",
            "seconds",
        }


def test_the_start_is_uniform_noise_whatever_the_picture() -> None:
    starts = torch.cat([job.start for job in jobs([np.zeros((32, 32, 3), np.uint8)] * 4)])
    values = (starts * 255).round().to(torch.uint8).numpy()
    counts = np.bincount(values.reshape(-1), minlength=256)
    expected = values.size / 256
    assert ((counts - expected) ** 2 / expected).sum() < 400  # 255 +- 23 for uniform noise
    pairs = np.corrcoef(values.reshape(4, -1))
    assert np.abs(pairs[~np.eye(4, dtype=bool)]).max() < 0.09  # equal pictures, unlike noise


def test_the_job_is_built_without_the_picture_at_hand() -> None:
    """The original is no argument of the function that builds what the loop gets."""
    assert list(signature(sealed_job).parameters) == ["shape", "ticket", "target", "secret", "recogniser"]


def test_features_alone_stop_it_and_the_copy_is_not_watched() -> None:
    assert isinstance(protection.stop_rule(SETTINGS, FEATURES), StillRecognised)
    rough = protector(settings=SETTINGS.model_copy(update={"precision": "bfloat16"}))
    assert min(one.cosine for one in rough.protect(pictures=pictures(), images=IMAGES)) >= 0.99 - 1e-6


def test_a_sealed_key_has_no_generator_and_serves_nothing_else() -> None:
    codec, none = CodecGenerator(width=4, blocks=1), NoGenerator()
    check_recovery("sealed", none)
    for generator, recovery in (
        (codec, "sealed"),
        (none, "keyed"),
        (none, "unmixed"),
        (nn.Identity(), "sealed"),
    ):
        with pytest.raises(KeyRefused, match=f"--recovery {recovery}"):
            check_recovery(recovery, generator)  # type: ignore[arg-type]
    with pytest.raises(KeyRefused, match="sealed"):
        protector(generator=codec)


def test_the_generator_of_nothing_goes_to_bytes_and_back() -> None:
    made = build_generator(architecture="none", options={})
    data = save_generator(made, architecture="none", options={})
    assert isinstance(load_generator(data), NoGenerator)
    assert data == save_generator(NoGenerator(), architecture="none", options={})
    assert len(data) == 8 + int.from_bytes(data[:8], "little")  # a header, and not one weight


def test_no_text_shows_a_sealed_copy_or_the_secret(protected: list[Protected]) -> None:
    for shown in (*map(repr, protected), *map(repr, stored(protected)), repr(protector())):
        assert "sealed=" not in shown and SECRET.hex() not in shown and repr(SECRET)[2:-1] not in shown
