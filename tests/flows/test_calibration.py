"""The sample behind a plan: how many images and steps it takes, when it stops, and what counts as done."""

import numpy as np
import pytest
import torch

from avih.align import Aligner
from avih.datasets import open_source
from avih.errors import UsageError
from avih.images import encode_png
from avih.key_gate import drawn_faces
from avih.planning import ImageTrial
from avih.recognisers import load_recogniser
from avih.settings import FAST_UNMIXED_PROTECT, KeySettings, ProtectSettings
from memory_source import MemorySource
from tasks import calibrate, calibrate_protection
from tasks.calibrate import sample_faces, sample_training
from tasks.calibrate_protection import _affordable, sample_protection, throw_away_generator

CPU = torch.device("cpu")
KEY = KeySettings(steps=50, width=8, blocks=1, batch_size=2)


@pytest.fixture(scope="module")
def recogniser():
    return load_recogniser(card="synthetic")


def test_faces_are_taken_until_there_are_enough():
    source = open_source(source="synthetic")
    photos = list(source.photos())[:20]
    found = sample_faces(source=source, photos=photos, aligner=Aligner())
    assert len(found.faces) == calibrate.FACES <= found.found <= found.sampled < 20
    assert len(found.read) == len(found.align) == found.sampled
    assert all(face.shape == (112, 96, 3) for face in found.faces)
    assert "array" not in repr(found)


def test_photos_without_a_face_count_as_tried_and_broken_ones_too():
    wall = encode_png(np.full((120, 120, 3), 90, np.uint8))
    real = open_source(source="synthetic")
    face = real.read(next(real.photos()))
    source = MemorySource({"a/1.png": wall, "a/2.png": b"no photo", "a/3.png": None, "a/4.png": face})
    found = sample_faces(source=source, photos=list(source.photos()), aligner=Aligner())
    assert (found.sampled, found.found, len(found.faces)) == (4, 1, 1)
    del source.files["a/4.png"]
    with pytest.raises(UsageError, match=r"sample of 3 photos, got none \(.*no_face.*\)"):
        sample_faces(source=source, photos=list(source.photos()), aligner=Aligner())


def test_training_is_timed_for_some_steps_only(monkeypatch):
    monkeypatch.setattr(calibrate, "MOST_KEY_STEPS", 6)
    seconds = sample_training(settings=KEY, template="112x96", device=CPU)
    assert len(seconds) == 5 and min(seconds) > 0  # without the first
    monkeypatch.setattr(calibrate, "KEY_SECONDS", 0.0)
    assert len(sample_training(settings=KEY, template="112x96", device=CPU)) == calibrate.FEWEST_KEY_STEPS - 1
    for steps, expected in ((1, 1), (2, 1), (3, 2)):
        few = KEY.model_copy(update={"steps": steps})
        assert len(sample_training(settings=few, template="112x96", device=CPU)) == expected


@pytest.fixture
def time_enough(monkeypatch):
    """However slow the machine, the sample is as large as its batch and as long as its steps."""
    monkeypatch.setattr(calibrate_protection, "SECONDS", 1e6)


@pytest.mark.usefixtures("time_enough")
def test_keyed_images_are_done_at_the_stop_rule(recogniser):
    faces = drawn_faces(images=3, template="112x96")
    settings = ProtectSettings(batch_size=5)
    sample = sample_protection(
        faces=faces, generator=throw_away_generator(KEY, device=CPU), recogniser=recogniser, settings=settings
    )
    assert len(sample.trials) == 5  # some faces more than once, under nonces of their own
    assert all(trial.done and 1 < trial.steps < 200 for trial in sample.trials)
    assert sample.seconds > 0 and sample.finish > 0 and sample.evaluate > 0
    never = sample_protection(
        faces=faces,
        generator=throw_away_generator(KEY, device=CPU),
        recogniser=recogniser,
        settings=settings.model_copy(update={"stop_cosine": 1.0, "steps": 4}),
    )
    assert set(never.trials) == {ImageTrial(steps=4, done=False)}


@pytest.mark.usefixtures("time_enough")
@pytest.mark.parametrize("stop", [None, 0.5])
def test_unmixed_images_take_all_steps_whatever_the_untrained_generator_does(recogniser, stop):
    key = KeySettings(architecture="resnet", width=8, blocks=1)
    settings = FAST_UNMIXED_PROTECT.model_copy(update={"steps": 6, "stop_cosine": stop, "batch_size": 2})
    sample = sample_protection(
        faces=drawn_faces(images=2, template="112x96"),
        generator=throw_away_generator(key, device=CPU),
        recogniser=recogniser,
        settings=settings,
    )
    assert set(sample.trials) == {ImageTrial(steps=6, done=False)}


@pytest.mark.parametrize(
    ("each", "stop", "expected"),
    [
        # ``each`` is seconds per image and step, of which 8 s are to be spent.
        (0.001, 0.998, (16, 200)),  # 8000: a full batch to its end
        (0.020, 0.998, (4, 200)),  # 400: few images, but to their end
        (1.000, 0.998, (2, 8)),  # 8: too little for an end
        (9.000, 0.998, (2, 2)),
        (0.020, None, (16, 25)),  # a few steps of a full batch
        (0.300, None, (6, 4)),
        (9.000, None, (2, 2)),
        (0.001, None, (16, 200)),  # never more than one batch
    ],
)
def test_the_sample_is_as_large_as_the_time_allows(each, stop, expected):
    asked = []

    def run(images: int, steps: int) -> tuple[None, None, float]:
        asked.append((images, steps))
        return None, None, each * images * steps

    settings = ProtectSettings(stop_cosine=stop)
    assert _affordable(run, settings) == expected
    assert set(asked) == {(2, 2)}
    assert len(asked) == (1 if each * 4 >= calibrate_protection.SECONDS / 4 else 2)
