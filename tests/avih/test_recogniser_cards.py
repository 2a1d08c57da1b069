"""Recogniser cards and their probes: what is read, what is refused, and what the refusal says."""

import logging
import math
import tomllib
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor

from avih.errors import IntegrityError, UsageError
from avih.recognisers import (
    Recogniser,
    bundled_cards,
    load_recogniser,
    probe_picture,
    probe_values,
    read_card,
)
from avih.recognisers.card import CARDS_FOLDER
from avih.recognisers.registry import ARCHITECTURES, build_network
from avih.recognisers.state import fit_state
from real_data import REAL_WEIGHTS, needs_real_weights
from recogniser_files import CardWriter, card_writer, seeded_state, sha256_of


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    return seeded_state()


@pytest.fixture(scope="module")
def expected(state: dict[str, Tensor]) -> list[float]:
    card = read_card("mobilefacenet")
    network = build_network("mobilefacenet")
    fit_state(network=network, state=state, card=card)
    return probe_values(recogniser=Recogniser(card=card, network=network, fingerprint=""), card=card)


@pytest.fixture
def weights(tmp_path: Path, state: dict[str, Tensor]) -> Path:
    path = tmp_path / "weights.safetensors"
    safetensors.torch.save_file(state, path)
    return path


@pytest.fixture
def write_card(tmp_path: Path) -> CardWriter:
    return card_writer(tmp_path)


# --- cards ---


@pytest.mark.parametrize("path", sorted(CARDS_FOLDER.glob("*.toml")), ids=lambda path: path.stem)
def test_bundled_card_says_what_its_file_says(path: Path) -> None:
    card = read_card(path.stem)
    assert card.name == path.stem
    assert card.architecture in ARCHITECTURES
    fields = tomllib.loads(path.read_text(encoding="utf-8"))
    shown = ("input_height", "input_width", "colour_order", "mean", "std", "feature_size", "template")
    assert [getattr(card, name) for name in shown] == [fields[name] for name in shown]
    assert read_card(path) == card


@pytest.mark.parametrize(
    ("name", "order", "std", "size", "features"),
    [
        ("mobilefacenet", "RGB", 128.0, (112, 96), 128),
        ("arcface_irse50", "RGB", 127.5, (112, 112), 512),
        ("adaface_ir50", "BGR", 127.5, (112, 112), 512),
        ("adaface_ir101", "BGR", 127.5, (112, 112), 512),
        ("cosface_sphere20", "RGB", 128.0, (112, 96), 512),
        ("sphereface_sphere20", "BGR", 128.0, (112, 96), 512),
    ],
)
def test_published_facts(name: str, order: str, std: float, size: tuple[int, int], features: int) -> None:
    card = read_card(name)
    assert (card.colour_order, card.mean, card.std) == (order, 127.5, std)
    assert (card.input_height, card.input_width) == size
    assert card.feature_size == features


def test_unknown_name_lists_the_bundled_ones() -> None:
    with pytest.raises(UsageError, match=r"'facenet9'.*arcface_irse50.*sphereface_sphere20"):
        read_card("facenet9")
    assert "mobilefacenet" in bundled_cards()


def test_missing_card_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"Expected a recogniser card at .*nowhere\.toml, found no file"):
        read_card(tmp_path / "nowhere.toml")


def test_card_that_is_not_toml(tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text("name = ", encoding="utf-8")
    with pytest.raises(UsageError, match="Expected TOML"):
        read_card(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="Expected TOML"):
        read_card(path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"colour": "RGB"}, r"colour: Extra inputs"),
        ({"input_height": "112"}, r"input_height: .*integer \(got '112'\)"),
        ({"colour_order": "GBR"}, r"colour_order: .*'RGB' or 'BGR' \(got 'GBR'\)"),
        ({"std": 0.0}, r"std: .*greater than 0"),
        ({"mean": None}, r"mean: Field required"),
        ({"template": "112x112"}, r"template 112x112 and input 112x96 differ"),
        ({"sha256": "b6eab3"}, r"sha256: .*pattern"),
        ({"address": "http://example.org/w.safetensors", "sha256": "0" * 64}, r"address: .*pattern"),
        ({"address": "https://example.org/w.safetensors"}, r"needs the sha256"),
        ({"similarity_threshold": 2.0}, r"similarity_threshold: .*less than 1"),
        ({"probe": [0.1, 0.2]}, r"probe\.expected: .*at least 4"),
        ({"probe": [0.1] * 129}, r"expects 129 values of 128"),
    ],
)
def test_bad_card_says_which_field_and_why(
    write_card: CardWriter, changes: dict[str, object], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        read_card(write_card(**changes))


def test_a_card_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        read_card("mobilefacenet").mean = 0.0  # type: ignore[misc]


# --- the probe ---


def test_probe_picture_by_its_formula() -> None:
    picture = probe_picture(height=112, width=96, step=3)
    assert picture.shape == (1, 3, 112, 96)
    for row, column in ((0, 0), (17, 80), (111, 95), (56, 3)):
        u, v = (row + 0.5) / 112, (column + 0.5) / 96
        red = 0.5 + 0.3 * math.sin(2 * math.pi * 3 * u) + 0.2 * (2 * u - 1)
        green = 0.5 + 0.3 * math.sin(2 * math.pi * 4 * v) + 0.2 * (2 * v - 1)
        blue = 0.5 + 0.3 * math.sin(2 * math.pi * 5 * (u + v) / 2) + 0.2 * (1 - u - v)
        levels = [round(value * 255) / 255 for value in (red, green, blue)]
        assert picture[0, :, row, column].tolist() == pytest.approx(levels, abs=1e-7)
    assert 0.0 <= float(picture.min()) < 0.1
    assert 0.9 < float(picture.max()) <= 1.0


def test_right_card_passes(write_card: CardWriter, weights: Path, expected: list[float]) -> None:
    recogniser = load_recogniser(card=write_card(probe=expected, sha256=sha256_of(weights)), weights=weights)
    assert recogniser.card.name == "mine"
    assert len(recogniser.fingerprint) == 16


@pytest.mark.parametrize(
    "change", [{"colour_order": "BGR"}, {"mean": 0.0, "std": 1.0}, {"mean": 0.0, "std": 255.0}]
)
def test_probe_finds_a_wrong_colour_order_or_range(
    write_card: CardWriter, weights: Path, expected: list[float], change: dict[str, object]
) -> None:
    card = write_card(probe=expected[:8], **change)
    with pytest.raises(IntegrityError, match=r"colour order .* value range .* or the weights"):
        load_recogniser(card=card, weights=weights)


def test_probe_finds_other_weights(
    write_card: CardWriter, tmp_path: Path, state: dict[str, Tensor], expected: list[float]
) -> None:
    other = {**state, "linear1.conv.weight": state["linear1.conv.weight"].flip(0)}
    path = tmp_path / "other.safetensors"
    safetensors.torch.save_file(other, path)
    with pytest.raises(IntegrityError, match="does not give the feature that its card expects"):
        load_recogniser(card=write_card(probe=expected[:8]), weights=path)


def test_features_that_are_not_finite(
    write_card: CardWriter, tmp_path: Path, state: dict[str, Tensor]
) -> None:
    path = tmp_path / "nan.safetensors"
    safetensors.torch.save_file({**state, "conv1.bn.bias": torch.full((64,), math.nan)}, path)
    with pytest.raises(IntegrityError, match="not finite"):
        load_recogniser(card=write_card(), weights=path)


def test_card_without_a_probe_warns(
    write_card: CardWriter, weights: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="avih.recognisers.load"):
        load_recogniser(card=write_card(), weights=weights)
    assert "The card of mine has no probe" in caplog.text


def test_card_with_a_probe_does_not_warn(
    write_card: CardWriter, weights: Path, expected: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    load_recogniser(card=write_card(probe=expected[:8]), weights=weights)
    assert not caplog.records


def test_another_feature_size(write_card: CardWriter, weights: Path) -> None:
    with pytest.raises(UsageError, match=r"Expected features of size 256 from mine, got \(128,\)"):
        load_recogniser(card=write_card(feature_size=256), weights=weights)


# --- the weights that come with the package ---


def test_synthetic_recogniser_needs_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    recogniser = load_recogniser(card="synthetic")
    assert recogniser.card.probe is not None
    assert not caplog.records


@pytest.mark.parametrize("written", ['colour_order = "RGB"', "mean = 127.5", "std = 127.5"])
def test_synthetic_probe_finds_an_altered_card(tmp_path: Path, written: str) -> None:
    altered = {
        'colour_order = "RGB"': 'colour_order = "BGR"',
        "mean = 127.5": "mean = 0.0",
        "std = 127.5": "std = 128.0",
    }
    text = (CARDS_FOLDER / "synthetic.toml").read_text(encoding="utf-8")
    assert text.count(written) == 1
    path = tmp_path / "altered.toml"
    path.write_text(text.replace(written, altered[written]), encoding="utf-8")
    with pytest.raises(IntegrityError, match="or the weights"):
        load_recogniser(card=path, weights=read_card("synthetic").weights)


# --- the real weights ---


@needs_real_weights
def test_real_weights_pass_the_bundled_probe(caplog: pytest.LogCaptureFixture) -> None:
    recogniser = load_recogniser(card="mobilefacenet", weights=REAL_WEIGHTS)
    assert recogniser.card.probe is not None
    assert not caplog.records
    again = load_recogniser(card="mobilefacenet", weights=REAL_WEIGHTS)
    assert again.fingerprint == recogniser.fingerprint


@needs_real_weights
@pytest.mark.parametrize(
    ("written", "altered"),
    [
        ('colour_order = "RGB"', 'colour_order = "BGR"'),
        ("mean = 127.5\nstd = 128.0", "mean = 0.0\nstd = 1.0"),
        ("mean = 127.5\nstd = 128.0", "mean = 0.0\nstd = 255.0"),
        ("std = 128.0", "std = 127.5"),
    ],
)
def test_bundled_probe_finds_an_altered_card(tmp_path: Path, written: str, altered: str) -> None:
    text = (CARDS_FOLDER / "mobilefacenet.toml").read_text(encoding="utf-8")
    assert text.count(written) == 1
    path = tmp_path / "altered.toml"
    path.write_text(text.replace(written, altered), encoding="utf-8")
    with pytest.raises(IntegrityError, match=r"colour order .* value range .* or the weights"):
        load_recogniser(card=path, weights=REAL_WEIGHTS)
