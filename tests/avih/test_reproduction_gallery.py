"""The tables of one protected gallery: drawn faces, few steps, and everything read back from files."""

import numpy as np
import pytest
import torch

from avih.evaluation.metrics import ssim
from avih.reproduction.context import Context, DataFolders
from avih.reproduction.faces import faces
from avih.reproduction.hiding import gallery as tables
from avih.reproduction.hiding.gallery_set import features, gallery_set, quality_of
from avih.reproduction.hiding.natural_key import natural_key, pictures_without_people
from avih.reproduction.hiding.protected import protected_faces, recovered, with_noise


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Context:
    return Context(profile="smoke", data=DataFolders(), work=tmp_path_factory.mktemp("work"))


def figures(outcome, metric):
    return {row.label: row.ours for row in outcome.rows if row.metric == metric and row.ours is not None}


def test_persons_of_the_parts_are_different_and_single_persons_have_one_photo(context):
    parts = faces(context).parts
    names = [set(parts[part]) for part in ("test", "single", "second")]
    assert all(names) and not (names[0] & names[1] or names[0] & names[2] or names[1] & names[2])
    assert {len(photos) for photos in parts["single"].values()} == {1}


def test_quality_and_identification_come_from_the_stored_files(context):
    gallery = gallery_set(context)
    found = tables.quality(context)
    hidden = figures(found, "ssim_e")[tables.OUR_KEYED]
    assert hidden == pytest.approx(np.mean([ssim(one.face.pixels, one.pixels) for one in gallery.kept]))
    assert hidden < 0.1 and figures(found, "ssim_d")[tables.OUR_KEYED] > 0.8
    assert figures(found, "wrong_key_ssim_d")[tables.OUR_KEYED] < 0.1
    assert np.allclose(np.linalg.norm(gallery.protected, axis=1), 1)
    again = features([one.pixels for one in gallery.kept], gallery.faces.recogniser)
    assert np.array_equal(again, gallery.protected)
    rates = tables.identification(context)
    assert all(0 <= row.ours <= 100 for row in rates.rows if row.ours is not None)
    assert found.mark == rates.mark == "substitute" and "drawn" in found.data


def test_what_is_protected_already_is_read_and_one_lost_file_is_made_again_alike(context):
    gallery = gallery_set(context)
    shown, way = [one.face for one in gallery.kept], gallery.way
    folder = context.work / "protected" / f"gallery-{way.digest()}"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    lost = sorted(folder.glob("*.json"))[0]
    lost.unlink()
    kept = protected_faces(context, "gallery", shown, way)
    assert [one.face.name for one in kept] == [face.name for face in shown]
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_noise_on_the_stored_picture_costs_recovery_and_not_the_hiding(context):
    gallery = gallery_set(context)
    noise = torch.Generator().manual_seed(1)
    noisy = [with_noise(one, sigma=10, noise=noise) for one in gallery.kept[:4]]
    assert all(one.pixels.dtype == np.uint8 for one in noisy)
    spread = np.std(
        [one.pixels.astype(float) - kept.pixels for one, kept in zip(noisy, gallery.kept, strict=False)]
    )
    assert 7 < spread < 11  # clipped at both ends, so a little below 10
    clean = np.mean(quality_of(context, gallery).ssim_d[:4])
    back = [
        ssim(one.face.pixels, picture)
        for one, picture in zip(noisy, recovered(noisy, gallery.way), strict=True)
    ]
    assert np.mean(back) < clean
    found = tables.noise(context)
    assert [row.paper for row in found.rows[:5]] == [0.93, 0.92, 0.89, 0.84, 0.81]


def test_neighbours_and_levels_of_protected_pictures_look_like_noise(context):
    correlation = figures(tables.correlation(context), "correlation")
    assert correlation["original, horizontal"] > 0.8 > 0.2 > abs(correlation["protected, horizontal"])
    entropy = figures(tables.histogram(context), "entropy_bits")
    assert entropy["protected"] > entropy["original"]


def test_another_recogniser_is_compared_with_what_it_knows_of_originals(context):
    found = tables.other_recogniser(context)
    labels = [row.label for row in found.rows[:3]]
    assert "original" in labels[2] and any("Other recogniser" in text for text in found.findings)


def test_a_key_without_faces_is_another_key_and_recovers(context):
    assert len(pictures_without_people()) == 12
    found = natural_key(context)
    assert figures(found, "ssim_d")["key without faces, keyed"] > 0.8
    assert figures(found, "ssim_e")["key without faces, keyed"] < 0.1
