"""What methods implement for galleries: hiders in memory, with a toy recogniser."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from avih.errors import UsageError
from avih.generators.codec import CodecGenerator
from avih.generators.none import NoGenerator
from avih.methods.pipeline import AT_ONCE, Entry, Portrait, Work
from avih.methods.registry import pipeline_of
from avih.protection import Protector
from avih.recovery import Opening, Stored
from avih.settings import preset
from avih.veils.veil import NoiseVeils

SECRET = bytes(range(60, 92))
SIDE = 24


class ToyRecogniser(nn.Module):
    """A projection to unit features, drawn from a seed; it takes any size."""

    def __init__(self) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(5)
        self.weight = nn.Parameter(torch.randn(8, 3 * SIDE * SIDE, generator=draw), requires_grad=False)
        self.card = SimpleNamespace(feature_size=8)

    def forward(self, images: Tensor) -> Tensor:
        return functional.normalize((images - 0.5).flatten(1) @ self.weight.T, dim=1)


RECOGNISER: Any = ToyRecogniser()


def pictures(count: int) -> list[np.ndarray]:
    return [
        np.random.default_rng(number).integers(0, 256, (SIDE, SIDE, 3), np.uint8) for number in range(count)
    ]


def portraits(count: int) -> list[Portrait]:
    return [Portrait(f"i{number:02d}", f"p{number % 3}", x) for number, x in enumerate(pictures(count))]


def work(method: str, *, veils: Any = None, generator: nn.Module | None = None, **changes: Any) -> Work:
    protect = preset("fast", method=method, options=changes.pop("options", None)).protect
    protect = protect.model_copy(update=changes)
    return Work(SECRET, generator or NoGenerator(), RECOGNISER, protect, "v0001", veils=veils)


class Counted(NoiseVeils):
    """Noise veils under which two photos of everybody were let."""

    def admitted(self, person: str) -> tuple[str, ...]:
        return "m1", "m2"


@pytest.mark.parametrize(("most", "left_out"), [(1, {"b", "c", "d"}), (2, {"c", "d"})])
def test_photos_beyond_those_that_may_share_a_veil_are_refused_by_name(most: int, left_out: set[str]) -> None:
    given = work("person_veil", veils=Counted(SECRET), options={"photos_per_veil": most})
    entries = [
        Entry("a", "ann", "m1"),
        Entry("b", "ann", "m2"),
        Entry("c", "ann", "m3"),
        Entry("d", "", "m1"),
    ]
    refused = pipeline_of("person_veil").hider(given).refused(entries)
    assert set(refused) == left_out
    assert refused["c"].startswith(f"photos_per_veil {most} ") and refused["d"].startswith("no_person ")


@pytest.mark.parametrize("method", ["person_veil", "lie"])
def test_a_picture_comes_back_and_its_figures_do_not_depend_on_its_neighbours(method: str) -> None:
    veils = NoiseVeils(SECRET) if method == "person_veil" else None
    given = work(method, veils=veils)
    hider = pipeline_of(method).hider(given)
    some = portraits(AT_ONCE + 3)
    together = {one.portrait.image: one.protected for one in hider.hide(iter(some))}
    (alone,) = hider.hide(iter(some[-1:]))
    assert len(together) == len(some)
    last = together[some[-1].image]
    assert np.array_equal(alone.protected.pixels, last.pixels) and alone.protected.cosine == last.cosine
    for portrait in some:
        done = together[portrait.image]
        expected = RECOGNISER(as_batch(portrait.pixels)) @ RECOGNISER(as_batch(done.pixels)).T
        assert done.cosine == pytest.approx(float(expected), abs=1e-5)
        stored = Stored(portrait.image, done.pixels, done.nonce, done.sealed, portrait.person)
        key = Opening(SECRET, given.generator, veils)
        (back,) = key.recover([stored], given.settings.recovery)
        worst = np.abs(back.astype(int) - portrait.pixels).max()
        assert worst <= (3 if method == "person_veil" else 0)  # half a level over alpha = 0.2 is 2.5


def as_batch(pixels: np.ndarray) -> Tensor:
    return torch.from_numpy(pixels.astype(np.float32) / 255).permute(2, 0, 1)[None]


def test_avih_hides_as_its_protector_does() -> None:
    generator = CodecGenerator(width=4, blocks=1).eval()
    given = work("avih", generator=generator, steps=12, precision="float32", batch_size=2)
    some = portraits(5)
    done = {one.portrait.image: one.protected for one in pipeline_of("avih").hider(given).hide(iter(some))}
    protector = Protector(SECRET, generator, RECOGNISER, given.settings, "v0001")
    expected = protector.protect(pictures=[one.pixels for one in some], images=[one.image for one in some])
    for portrait, wanted in zip(some, expected, strict=True):
        assert np.array_equal(done[portrait.image].pixels, wanted.pixels)
        assert (done[portrait.image].nonce, done[portrait.image].steps) == (wanted.nonce, wanted.steps)


def test_flipped_pictures_carry_their_originals_sealed() -> None:
    given = work("veil_privacy", options={"steps": 2})
    some = portraits(3)
    for one in pipeline_of("veil_privacy").hider(given).hide(iter(some)):
        stored = Stored(one.portrait.image, one.protected.pixels, one.protected.nonce, one.protected.sealed)
        (back,) = Opening(SECRET, NoGenerator()).recover([stored], "sealed")
        assert np.array_equal(back, one.portrait.pixels)
        assert not np.array_equal(one.protected.pixels, one.portrait.pixels)


def test_what_is_missing_is_told() -> None:
    with pytest.raises(UsageError, match="veils of the gallery"):
        pipeline_of("person_veil").hider(work("person_veil"))
    stored = Stored("i", pictures(1)[0], "nonce", person="ann")
    with pytest.raises(UsageError, match="veils"):
        Opening(SECRET, NoGenerator()).recover([stored], "veil")
    with pytest.raises(UsageError, match="person_veil"):
        Protector(SECRET, NoGenerator(), RECOGNISER, work("person_veil").settings, "v0001")
