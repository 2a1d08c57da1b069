from dataclasses import replace
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from avih.evaluation.metrics import ssim
from avih.generators.codec import CodecGenerator, encode, free_mask
from avih.images import to_tensor
from avih.lab.attacks import gradient
from avih.lab.subject import Subject
from avih.lab.tools.inversion import total_variation
from avih.mixing import Mixing
from avih.settings import KeySettings
from small_attack import SmallService
from small_attack import small_faces as drawn_faces
from small_lab import SMALL, lab_of, protect_settings

SETTINGS = SMALL.model_copy(update={"fit_steps": 40})


class Turned(nn.Module):
    """A key whose pictures are negatives, upside down."""

    def forward(self, images):
        return 1 - images.flip(2)


@cache
def small_faces():
    return drawn_faces()


def lab_about(protected, recovery, generator=None, surrogate=None):
    pairs = small_faces()
    subject = Subject(
        gallery="people", version="v0001", pairs=pairs.with_inputs(protected),
        nonces=tuple(f"v0001/{image}" for image in pairs.images), others=None, recogniser=SmallService(),
        protect=protect_settings("avih", recovery), key=KeySettings(architecture="none"), generator=generator,
        recover=lambda names, pictures: pictures, data="drawn faces",
    )  # fmt: skip
    key = SimpleNamespace(generator=surrogate)
    return replace(lab_of(subject, SETTINGS), scheme=SimpleNamespace(key=lambda number: key))


def advantages(lab):
    """SSIM of every variant over the best guess without the key's picture."""
    told = {}
    for guess in gradient.run(lab):
        true = guess.targets.originals
        tries = [guess.pictures, *guess.blind, np.broadcast_to(lab.blank, true.shape)]
        means = [np.mean([ssim(a, b) for a, b in zip(one, true, strict=True)]) for one in tries]
        told[guess.label] = means[0] - max(means[1:])
    return told


def turned():
    return 255 - small_faces().originals[:, ::-1]


def mixed_codes(shifts):
    """Codes of the faces under a mixing of their own each, with or without its shifts."""
    stored = []
    for row, face in enumerate(small_faces().originals):
        whole = Mixing.draw(secret=bytes(range(32)), nonce=f"v0001/{row}", values=face.size)
        mixing = whole if shifts else replace(whole, shifts=np.zeros_like(whole.shifts))
        stored.append(mixing.invert(encode(face)))
    return np.stack(stored)


def test_a_surrogate_that_is_the_key_brings_the_picture_back():
    lab = lab_about(turned(), "unmixed", surrogate=Turned())
    told = advantages(lab)
    assert set(told) == {"total variation, 2 surrogate keys", "deep image prior, 2 surrogate keys"}
    assert min(told.values()) > 0.15, told


def test_a_surrogate_that_is_another_key_does_not():
    assert max(advantages(lab_about(turned(), "unmixed", surrogate=nn.Identity())).values()) < 0.05


def test_a_code_that_was_not_mixed_comes_back_through_the_public_generator():
    faces = small_faces().originals
    codes = np.stack([encode(face) for face in faces])
    told = advantages(lab_about(codes, "keyed", generator=CodecGenerator(width=8, blocks=1)))
    assert told["total variation, the generator on stored pixels"] > 0.15


def test_a_mixed_code_does_not():
    lab = lab_about(mixed_codes(shifts=True), "keyed", generator=CodecGenerator(width=8, blocks=1))
    assert max(advantages(lab).values()) < 0.05


def test_folded_values_tell_the_code_only_where_nothing_was_shifted():
    faces = small_faces().originals
    others = np.roll(faces, 12, axis=0)
    for shifts in (False, True):
        loss = gradient.folded_values(mixed_codes(shifts=shifts))
        own, other = loss(to_tensor(faces)), loss(to_tensor(others))
        if shifts:
            assert float(own.mean()) > 0.02 and abs(float(own.mean() - other.mean())) < 0.01
        else:
            assert float(own.max()) < 0.002 < float(other.mean())


def test_free_values_are_further_from_grey_than_any_code():
    """What the lower half of the folded values rests on."""
    face = small_faces().originals[0]
    free = free_mask(*face.shape[:2])
    folded = np.abs(encode(face).astype(float) - 127.5)
    assert folded[~free].max() < folded[free].min() and free.sum() * 2 == face.size


def test_surrogate_mixings_use_no_secret_of_the_owner():
    lab = lab_about(mixed_codes(shifts=True), "keyed", generator=nn.Identity())
    first, second = (gradient.surrogate_mixings(lab, lab.targets) for _ in range(2))
    assert len(first) == SETTINGS.own_keys and not np.array_equal(first[0], first[1])
    assert np.array_equal(first, second)  # from the settings' seed alone
    original = encode(lab.targets.originals[0])
    assert all(not np.array_equal(view[0], original) for view in first)


def test_total_variation_is_the_mean_step_to_the_neighbours():
    picture = torch.rand(2, 3, 5, 4, generator=torch.Generator().manual_seed(1))
    rows = picture.numpy()
    wanted = [np.abs(np.diff(one, axis=1)).mean() + np.abs(np.diff(one, axis=2)).mean() for one in rows]
    assert total_variation(picture).tolist() == pytest.approx(wanted, rel=1e-5)


def test_it_makes_sense_for_pictures_that_a_generator_recovers():
    assert gradient.FACTS.fits(method="avih", recovery="keyed")
    assert not gradient.FACTS.fits(method="avih", recovery="sealed")
    assert not gradient.FACTS.fits(method="lie", recovery="inverse")
