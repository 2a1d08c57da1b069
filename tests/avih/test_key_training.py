"""Training a generator: it learns, it is repeatable from its seed, and it leaves no trace of the seed."""

import numpy as np
import pytest
import torch
from skimage import data

from avih import key_training, precision
from avih.errors import UsageError
from avih.evaluation.metrics import ssim
from avih.generators import build_generator
from avih.generators.codec import CodecGenerator
from avih.generators.resnet import ResnetGenerator
from avih.images import to_tensor
from avih.key_training import PictureSampler, TrainedGenerator, structural_similarity, train_generator
from avih.settings import FAST_UNMIXED_KEY, PAPER_KEY, KeySettings

CODEC = KeySettings(width=8, blocks=1, steps=3, batch_size=2)
RESNET = KeySettings(
    architecture="resnet", width=4, blocks=1, steps=3, batch_size=2, trunk_norm_only=True, noise_levels=0.0
)
ADVERSARIAL = RESNET.model_copy(update={"adversarial_weight": 1.0, "l1_weight": 100.0, "ssim_weight": 0.0})
BFLOAT16 = ADVERSARIAL.model_copy(update={"precision": "bfloat16"})
RECIPES = {"codec": CODEC, "resnet": RESNET, "adversarial": ADVERSARIAL, "bfloat16": BFLOAT16}


@pytest.fixture(autouse=True)
def narrow_judge(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same judge with fewer channels: the tests do not need its full size."""
    full = key_training.PatchDiscriminator
    monkeypatch.setattr(key_training, "PatchDiscriminator", lambda: full(width=8))


def sampler(seed: int = 0, side: int = 32) -> PictureSampler:
    pictures = [data.astronaut()[::4, ::4], data.coffee()[::4, ::4]]
    return PictureSampler(pictures=pictures, height=side, width=side, rng=np.random.default_rng(seed))


def train(settings: KeySettings, *, seed: int = 1, **changes: object) -> TrainedGenerator:
    return train_generator(settings=settings.model_copy(update=changes), sampler=sampler(), seed=seed)


def weights(trained: TrainedGenerator) -> torch.Tensor:
    return torch.cat([value.reshape(-1) for value in trained.generator.state_dict().values()])


@pytest.mark.parametrize("recipe", RECIPES)
def test_training_is_finite_and_gives_a_frozen_generator(recipe: str) -> None:
    counted: list[int] = []
    trained = train_generator(settings=RECIPES[recipe], sampler=sampler(), seed=1, progress=counted.append)
    assert counted == [1, 1, 1]
    assert set(trained.losses) == {"l1"}
    assert 0 < trained.losses["l1"] < 1
    assert bool(weights(trained).isfinite().all())
    assert not trained.generator.training
    assert not any(parameter.requires_grad for parameter in trained.generator.parameters())
    before = build_generator(architecture=RECIPES[recipe].architecture, options=RECIPES[recipe].options())
    assert set(trained.generator.state_dict()) == set(before.state_dict())


def test_the_codec_learns_to_remove_noise() -> None:
    """Its start is the linear inverse, which hands noise on; a short training under much noise helps."""
    settings = {"noise_levels": 60.0, "learning_rate": 3e-3, "width": 16, "batch_size": 4}
    trained = train(CODEC, steps=60, **settings).generator
    start = train(CODEC, steps=1, learning_rate=1e-12, **{"width": 16}).generator
    pictures = sampler(seed=99).batch(8)
    draw = torch.Generator().manual_seed(5)
    code = key_training.encode_images(pictures)
    code = code + 40 / 255 * torch.randn(code.shape, generator=draw)
    errors = [float((generator.decode(code) - pictures).abs().mean()) for generator in (start, trained)]
    assert errors[1] < 0.9 * errors[0]


@pytest.mark.parametrize("recipe", ["resnet", "adversarial", "bfloat16"])
def test_the_resnet_comes_nearer_to_the_identity(recipe: str) -> None:
    pictures = sampler(seed=99).batch(8)
    changes = {"learning_rate": 3e-3, "steps": 40, "width": 8}
    start = train(RECIPES[recipe], **(changes | {"steps": 1, "learning_rate": 1e-12})).generator
    trained = train(RECIPES[recipe], **changes).generator
    errors = [float((generator(pictures) - pictures).abs().mean()) for generator in (start, trained)]
    assert errors[1] < 0.7 * errors[0]


def test_the_adversarial_term_takes_part() -> None:
    plain = ADVERSARIAL.model_copy(update={"adversarial_weight": 1e-9})
    assert not torch.equal(weights(train(ADVERSARIAL)), weights(train(plain)))


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_seed_alone_decides_the_weights(recipe: str) -> None:
    first = weights(train(RECIPES[recipe], seed=1))
    torch.manual_seed(77)  # what the program drew before must not matter
    assert torch.equal(first, weights(train(RECIPES[recipe], seed=1)))
    assert not torch.equal(first, weights(train(RECIPES[recipe], seed=2)))


def test_training_leaves_no_trace_of_the_seed() -> None:
    before, seed_before = torch.get_rng_state(), torch.initial_seed()
    numpy_before = np.random.get_state()[1].copy()  # noqa: NPY002 - the global state is what is watched
    train(ADVERSARIAL, seed=123_456_789)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.initial_seed() == seed_before
    assert np.array_equal(np.random.get_state()[1], numpy_before)  # noqa: NPY002


def test_the_seed_reaches_no_other_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the CPU's generator is put back afterwards, so no other may be given the secret seed."""
    given: list[int] = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", given.append)
    train(CODEC, seed=123_456_789, steps=1)
    assert 123_456_789 not in given


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_training_leaves_no_trace_of_the_seed_on_a_gpu() -> None:
    before = torch.cuda.get_rng_state()
    train_generator(settings=ADVERSARIAL, sampler=sampler(), seed=123_456_789, device="cuda")
    assert torch.equal(torch.cuda.get_rng_state(), before)
    assert torch.cuda.initial_seed() != 123_456_789


def test_number_formats_differ_and_weights_stay_float32() -> None:
    coarse = weights(train(RESNET, precision="bfloat16"))
    assert coarse.dtype == torch.float32
    assert not torch.equal(coarse, weights(train(RESNET, precision="float32")))


@pytest.mark.parametrize("instructions", [True, False])
def test_auto_is_bfloat16_for_a_resnet_on_a_machine_that_computes_in_it(
    monkeypatch: pytest.MonkeyPatch, instructions: bool
) -> None:
    monkeypatch.setattr(precision, "computes_bfloat16", lambda device: instructions)
    found = [
        key_training.number_format(settings, torch.device("cpu"), generator)
        for settings, generator in (
            (RESNET, ResnetGenerator(width=4, blocks=1)),
            (PAPER_KEY, ResnetGenerator(width=4, blocks=1)),
            (CODEC, CodecGenerator(width=4, blocks=1)),
        )
    ]
    assert found == [torch.bfloat16 if instructions else torch.float32, torch.float32, torch.float32]


def test_the_watcher_ends_the_training() -> None:
    seen: list[int] = []

    def watch(step: int, generator: torch.nn.Module) -> bool:
        assert generator.training
        generator.eval()  # whoever looks at it need not put this back
        seen.append(step)
        return step == 2

    trained = train_generator(
        settings=RESNET.model_copy(update={"steps": 5}), sampler=sampler(), seed=1, watch=watch
    )
    assert seen == [1, 2]
    assert not trained.generator.training
    assert all(value.is_contiguous() for value in trained.generator.state_dict().values())


@pytest.mark.parametrize("recipe", RECIPES)
def test_no_step_waits_for_a_value(recipe: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A value that is read makes the host wait for the device; it is read at the end, however many steps."""
    read: list[str] = []
    for name in ("item", "__float__", "__bool__", "tolist", "numpy"):
        true = getattr(torch.Tensor, name)

        def reading(self: torch.Tensor, *more: object, name: str = name, true: object = true) -> object:
            read.append(name)
            return true(self, *more)  # type: ignore[operator]

        monkeypatch.setattr(torch.Tensor, name, reading)
    counts = []
    for steps in (2, 6):
        read.clear()
        train(RECIPES[recipe], steps=steps)
        counts.append(len(read))
    assert counts[0] == counts[1] >= 1


def test_the_step_size_rises_and_then_falls_along_half_a_cosine() -> None:
    plain = RESNET.model_copy(update={"steps": 8})
    warm = RESNET.model_copy(update={"steps": 12, "warm_up": 4})
    falling = [(1 + np.cos(np.pi * step / 8)) / 2 for step in range(8)]
    assert [key_training.step_share(step, plain) for step in range(8)] == pytest.approx(falling)
    rising = [0.25, 0.5, 0.75, 1.0]
    assert [key_training.step_share(step, warm) for step in range(12)] == pytest.approx(rising + falling)
    assert not torch.equal(weights(train(RESNET)), weights(train(RESNET, warm_up=2)))


@pytest.mark.parametrize(("dropout", "repeatable"), [(0.0, True), (0.5, False)])
def test_dropout_is_the_recipes(dropout: float, repeatable: bool) -> None:
    picture, same = sampler(seed=99).batch(1), []

    def watch(step: int, generator: torch.nn.Module) -> bool:
        same.append(torch.equal(generator(picture), generator(picture)))
        return True

    settings = RESNET.model_copy(update={"dropout": dropout})
    train_generator(settings=settings, sampler=sampler(), seed=1, watch=watch)
    assert same == [repeatable]


def test_the_fast_recipe_trains_the_papers_network_and_does_not_begin_at_the_identity() -> None:
    """Keys that begin alike would recover each other's pictures."""
    paper, fast = (
        sum(weight.numel() for name, weight in build_generator(
            architecture=recipe.architecture, options=recipe.options()).named_parameters() if weight.ndim == 4)
        for recipe in (PAPER_KEY, FAST_UNMIXED_KEY)
    )  # fmt: skip
    assert paper == fast
    pictures, outputs = sampler(seed=99).batch(4), []
    for seed in (1, 2):
        start = train(FAST_UNMIXED_KEY, seed=seed, steps=1, learning_rate=1e-12, batch_size=1, crop=16)
        outputs.append(start.generator(pictures))
    assert float(structural_similarity(outputs[0], pictures).mean()) < 0.3
    assert float(structural_similarity(outputs[0], outputs[1]).mean()) < 0.3


def test_similarity_agrees_with_the_metric() -> None:
    rng = np.random.default_rng(3)
    first = rng.integers(0, 256, (4, 24, 20, 3), dtype=np.uint8)
    second = np.clip(first + rng.normal(0, [[[[10]]], [[[40]]], [[[90]]], [[[0]]]], first.shape), 0, 255)
    second = second.astype(np.uint8)
    found = structural_similarity(to_tensor(first), to_tensor(second))
    assert found.tolist() == pytest.approx([ssim(a, b) for a, b in zip(first, second, strict=True)], abs=1e-3)
    assert found[3].item() == pytest.approx(1.0, abs=1e-6)
    assert found[2].item() < 0.8


def test_similarity_can_be_trained_through() -> None:
    draw = torch.Generator().manual_seed(0)
    images = torch.rand(1, 3, 12, 12, generator=draw, dtype=torch.float64, requires_grad=True)
    target = torch.rand(1, 3, 12, 12, generator=draw, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: structural_similarity(x, target), (images,), fast_mode=True)


def test_the_sampler_gives_varied_pictures_in_range() -> None:
    batch = sampler().batch(40)
    assert batch.shape == (40, 3, 32, 32)
    assert 0 <= float(batch.min()) < float(batch.max()) <= 1
    assert torch.equal(batch, sampler().batch(40))
    assert not torch.equal(batch, sampler(seed=1).batch(40))
    assert len({tuple(picture.reshape(-1)[:12].tolist()) for picture in batch}) == 40
    grey = [bool((picture == picture[:1]).all()) for picture in batch]
    assert 0 < sum(grey) < 30


def test_smaller_crops_are_squares_of_the_asked_side() -> None:
    batch = sampler().batch(5, side=16)
    assert batch.shape == (5, 3, 16, 16)
    assert float(batch.std()) > 0.05
    with pytest.raises(UsageError, match="within 32x32 pixels, got a side of 36"):
        sampler().batch(1, side=36)


def test_the_recipe_decides_the_crops() -> None:
    shapes: list[tuple[int, ...]] = []

    def watch(step: int, generator: torch.nn.Module) -> bool:
        if step == 1:
            generator.register_forward_pre_hook(lambda _, inputs: shapes.append(tuple(inputs[0].shape)))
        return False

    settings = RESNET.model_copy(update={"crop": 20, "steps": 2})
    train_generator(settings=settings, sampler=sampler(), seed=1, watch=watch)
    assert shapes == [(2, 3, 20, 20)]


def test_a_picture_of_exactly_the_size_is_used_whole() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (32, 40, 3), dtype=np.uint8)
    exact = PictureSampler(pictures=[picture], height=32, width=40, rng=np.random.default_rng(1))
    assert exact.batch(4).shape == (4, 3, 32, 40)


@pytest.mark.parametrize("shape", [(31, 64, 3), (64, 31, 3)])
def test_pictures_below_the_size_are_left_out(shape: tuple[int, int, int]) -> None:
    small, good = np.zeros(shape, np.uint8), np.full((64, 64, 3), 128, np.uint8)
    with pytest.raises(UsageError, match="at least 32x32"):
        PictureSampler(pictures=[small], height=32, width=32, rng=np.random.default_rng(0))
    kept = PictureSampler(pictures=[small, good], height=32, width=32, rng=np.random.default_rng(0))
    assert len(kept.pictures) == 1
