"""The activation gate, on real small generators and the bundled recogniser."""

import secrets

import numpy as np
import pytest
import torch
from torch import nn

from avih import key_gate
from avih.evaluation.metrics import ssim
from avih.generators import build_generator
from avih.generators.none import NoGenerator
from avih.key_gate import GateFigures, GateKey, GateSettings, PairFigure, drawn_faces, judge, measure
from avih.recognisers import Recogniser, load_recogniser
from avih.settings import Recovery

QUICK = GateSettings(images=2, steps=3)


@pytest.fixture(scope="module")
def recogniser() -> Recogniser:
    return load_recogniser(card="synthetic")


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


class Blur(nn.AvgPool2d):
    """An unmixed generator that needs no training: it hides noise and shows what is large."""

    def __init__(self) -> None:
        super().__init__(5, stride=1, padding=2)


def codec(name: str = "new", secret: bytes | None = None) -> GateKey:
    with torch.random.fork_rng(devices=[]):
        generator = build_generator(architecture="codec", options={"width": 4, "blocks": 1}).eval()
    return GateKey(name, secret or secrets.token_bytes(32), generator.requires_grad_(False), "keyed")


def plain(name: str, generator: nn.Module) -> GateKey:
    return GateKey(name, secrets.token_bytes(32), generator, "unmixed")


def reasons(
    key: GateKey, *live: GateKey, recogniser: Recogniser, settings: GateSettings = QUICK
) -> list[str]:
    figures = measure(new=key, live=live, recogniser=recogniser, settings=settings)
    keyed = frozenset(one.key_id for one in (key, *live) if one.recovery == "keyed")
    return judge(figures, key=key, keyed=keyed, settings=settings)


def test_drawn_faces_are_faces_of_different_persons_and_always_the_same() -> None:
    faces = drawn_faces(images=3, template="112x96")
    assert [face.shape for face in faces] == [(112, 96, 3)] * 3
    assert all(face.dtype == np.uint8 for face in faces)
    assert max(ssim(faces[i], faces[j]) for i, j in ((0, 1), (0, 2), (1, 2))) < 0.6
    again = drawn_faces(images=2, template="112x96")
    assert all(np.array_equal(a, b) for a, b in zip(faces, again, strict=False))
    assert drawn_faces(images=1, template="112x112")[0].shape == (112, 112, 3)


def test_keyed_keys_with_secrets_of_their_own_pass_in_every_ordered_pair(recogniser: Recogniser) -> None:
    new, old, older = codec("new"), codec("old"), codec("older")
    counted: list[int] = []
    figures = measure(
        new=new, live=[old, older], recogniser=recogniser, settings=QUICK, progress=counted.append
    )
    assert sum(counted) == 6
    ordered = {(pair.protecting, pair.recovering) for pair in figures.pairs}
    assert ordered == {("new", "old"), ("old", "new"), ("new", "older"), ("older", "new")}
    assert figures.ssim_d > 0.9
    assert all(abs(pair.ssim) < 0.05 and abs(pair.advantage) < 0.05 for pair in figures.pairs)
    assert figures.worst is max(figures.pairs, key=lambda pair: pair.advantage)
    assert judge(figures, key=new, keyed=frozenset({"new", "old", "older"}), settings=QUICK) == []


def test_without_live_keys_recovery_alone_counts(recogniser: Recogniser) -> None:
    figures = measure(new=codec(), live=[], recogniser=recogniser, settings=QUICK)
    assert (figures.pairs, figures.worst) == ((), None)


@pytest.mark.parametrize(("recovery", "least"), [("sealed", 1.0), ("inverse", 1.0), ("veil", 0.95)])
def test_a_key_without_a_generator_brings_its_own_pictures_back(
    recogniser: Recogniser, recovery: Recovery, least: float
) -> None:
    key = GateKey("new", secrets.token_bytes(32), NoGenerator(), recovery)
    figures = measure(new=key, live=[], recogniser=recogniser, settings=QUICK)
    assert QUICK.least_ssim_d(recovery) == least <= figures.ssim_d
    assert judge(figures, key=key, keyed=frozenset(), settings=QUICK) == []


def test_a_live_key_with_the_same_secret_is_found(recogniser: Recogniser) -> None:
    secret = secrets.token_bytes(32)
    found = reasons(codec("new", secret), codec("old", secret), recogniser=recogniser)
    assert len(found) == 2
    assert "key old recovers what key new protects: advantage 0.9" in found[0]
    assert "key new recovers what key old protects: advantage 0.9" in found[1]


def test_a_generator_that_ruins_pictures_is_refused(recogniser: Recogniser) -> None:
    key = codec()
    head = key.generator.get_submodule("head")
    nn.init.normal_(head.weight, std=0.5)
    (reason,) = reasons(key, recogniser=recogniser)
    assert "recovers drawn faces with SSIM_d" in reason
    assert reason.endswith("below 0.88")


def test_two_unmixed_keys_of_one_generator_recover_each_other(recogniser: Recogniser) -> None:
    """A new secret changes nothing there: the generator is the key."""
    settings = GateSettings(images=2, steps=60)
    new, old = plain("new", Blur()), plain("old", Blur())
    figures = measure(new=new, live=[old], recogniser=recogniser, settings=settings)
    found = [r for r in judge(figures, key=new, keyed=frozenset(), settings=settings) if "advantage" in r]
    assert len(found) == 2
    # In the other's pictures each sees as much as in its own.
    assert all(pair.ssim == pytest.approx(figures.ssim_d, abs=0.05) for pair in figures.pairs)


def test_a_mixed_picture_tells_an_unmixed_key_nothing(recogniser: Recogniser) -> None:
    settings = GateSettings(images=2, steps=60)
    found = reasons(plain("new", Blur()), codec("old"), recogniser=recogniser, settings=settings)
    assert not any("key old" in reason for reason in found)


def test_the_advantage_leaves_out_what_any_face_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    """Against a slow loop over pairs of pictures."""
    faces = drawn_faces(images=3, template="112x96")
    rng = np.random.default_rng(1)
    foggy = [(face * 0.5 + rng.integers(0, 128, face.shape)).astype(np.uint8) for face in faces]
    monkeypatch.setattr(key_gate, "recover", lambda *_, **__: foggy)
    scores = key_gate.recovered_scores(faces, [], codec())
    own = [ssim(faces[n], foggy[n]) for n in range(3)]
    others = [ssim(faces[m], foggy[n]) for n in range(3) for m in range(3) if m != n]
    pair = key_gate._pair(codec("a"), codec("b"), scores)
    assert pair.ssim == pytest.approx(sum(own) / 3)
    prior = sum(others) / 6
    assert pair.advantage == pytest.approx((pair.ssim - prior) / (1 - prior))
    # One and the same grey picture for every face is worth nothing, whatever SSIM it has.
    monkeypatch.setattr(key_gate, "recover", lambda *_, **__: [np.full_like(faces[0], 120)] * 3)
    grey = key_gate._pair(codec("a"), codec("b"), key_gate.recovered_scores(faces, [], codec()))
    assert grey.ssim > 0.3
    assert abs(grey.advantage) < 1e-9


@pytest.mark.parametrize(
    ("recovery", "ssim_d", "pair", "refused"),
    [
        ("keyed", 0.88, None, 0),
        ("keyed", 0.879, None, 1),
        ("unmixed", 0.5, None, 0),
        ("unmixed", 0.499, None, 1),
        ("keyed", float("nan"), None, 1),
        ("keyed", 0.9, PairFigure("new", "old", 0.15, 0.15), 0),
        ("keyed", 0.9, PairFigure("new", "old", 0.1, 0.151), 1),
        ("keyed", 0.9, PairFigure("new", "old", 0.1, float("nan")), 1),
        ("keyed", 0.9, PairFigure("new", "old", 0.151, 0.0), 1),
        ("keyed", 0.9, PairFigure("new", "papers", 0.151, 0.0), 0),
        ("unmixed", 0.9, PairFigure("papers", "new", 0.4, 0.1), 0),
        ("unmixed", 0.4, PairFigure("papers", "new", 0.4, 0.2), 2),
    ],
)
def test_limits(recovery: Recovery, ssim_d: float, pair: PairFigure | None, refused: int) -> None:
    key = GateKey("new", bytes(32), Blur(), recovery)
    keyed = frozenset({"old"} | ({"new"} if recovery == "keyed" else set()))
    figures = GateFigures(ssim_d, (pair,) if pair else ())
    assert len(judge(figures, key=key, keyed=keyed, settings=GateSettings())) == refused


def test_a_gate_key_shows_no_secret() -> None:
    secret = secrets.token_bytes(32)
    key = codec(secret=secret)
    assert secret.hex() not in repr(key)
    assert repr(secret) not in repr(key)
