"""Networks of other people behind a card: what a card may say, the owner's Python, timm and TorchScript."""

import io
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image
from torch import Tensor, nn

from avih.align import TEMPLATES, Aligner
from avih.datasets.synthetic import SyntheticFaces
from avih.errors import IntegrityError, UsageError
from avih.face_templates import template_named
from avih.recognisers import load_recogniser, probe_picture, read_card
from avih.recognisers.registry import build_network
from avih.recognisers.state import fingerprint_of
from own_recogniser import Own, about
from recogniser_files import sha256_of


@pytest.fixture
def own(tmp_path: Path) -> Own:
    made = Own(tmp_path)
    made.module()
    return made


# --- cards and templates ---


@pytest.mark.parametrize(
    ("name", "fingerprint"),
    [
        ("synthetic", "9301cc4984c700c2"),
        ("mobilefacenet", "099ae8dede3a5052"),
        ("sphereface_sphere20", "62a20b014744ce39"),
    ],
)
def test_fingerprints_of_cards_stay_what_they_were(name: str, fingerprint: str) -> None:
    card, network = read_card(name), build_network(read_card(name).architecture)
    with torch.no_grad():
        for values in network.state_dict().values():
            values.fill_(0.5)
    assert fingerprint_of(card=card, network=network) == fingerprint


def test_three_equal_numbers_are_one_number(own: Own) -> None:
    one, three = (load_recogniser(card=own.card(mean=mean)) for mean in (127.5, [127.5, 127.5, 127.5]))
    assert read_card(own.card(mean=[127.5] * 3)).mean == 127.5
    assert one.fingerprint == three.fingerprint
    assert load_recogniser(card=own.card(mean=[1, 2, 3])).fingerprint != one.fingerprint


@pytest.mark.parametrize(("order", "channels"), [("RGB", [0, 1, 2]), ("BGR", [2, 1, 0])])
def test_mean_and_std_per_channel_are_in_the_networks_order(
    own: Own, order: str, channels: list[int]
) -> None:
    recogniser = load_recogniser(
        card=own.card(colour_order=order, mean=[123.675, 116.28, 103.53], std=[58.0, 57.0, 56.0])
    )
    given: list[Tensor] = []
    recogniser.network.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
    picture = probe_picture(height=64, width=64)
    recogniser(picture)
    pixels = picture[0, channels].double() * 255
    mean, std = torch.tensor([123.675, 116.28, 103.53]), torch.tensor([58.0, 57.0, 56.0])
    torch.testing.assert_close(
        given[0][0].double(), (pixels - mean[:, None, None]) / std[:, None, None], atol=1e-5, rtol=0
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"mean": [1.0, 2.0]}, r"mean: .*one number, or three in the network's colour order"),
        ({"std": [1.0, 0.0, 1.0]}, r"std: .*greater than 0"),
        ({"mean": "127.5"}, r"mean: .*one number"),
        ({"template": "63x64", "input_height": 63}, r"template: .*sides divide by 4 .*got '63x64'"),
        ({"template": "1024x1024"}, r"template: .*32 to 512 pixels .*got '1024x1024'"),
        ({"template": "64"}, r"template: .*HEIGHTxWIDTH"),
    ],
)
def test_what_a_card_cannot_say(own: Own, changes: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        read_card(own.card(**changes))


def test_other_sizes_show_the_same_part_of_the_face() -> None:
    wide, doubled = TEMPLATES["112x112"], template_named("224x224")
    np.testing.assert_allclose(doubled.points, np.array(wide.points) * 2)
    # As much of the face as 112x96, with more above and below.
    tall = np.add(TEMPLATES["112x96"].points, [0, 56])
    np.testing.assert_allclose(template_named("224x96").points, tall)
    assert list(TEMPLATES) == ["112x112", "112x96"] and "299x299" not in TEMPLATES
    for name in ("32x512", "512x32", "160x160"):
        found = template_named(name)
        inside = (np.array(found.points) > 0) & (np.array(found.points) < [found.width, found.height])
        assert inside.all()


def test_a_face_aligned_finer_is_the_same_face() -> None:
    photo = SyntheticFaces(size=320).photo(3, 0)
    small, large = (Aligner(template=name).align([photo])[0].pixels for name in ("112x112", "224x224"))
    shrunk = np.asarray(Image.fromarray(large).resize((112, 112), Image.Resampling.BOX)).astype(float)
    assert large.shape == (224, 224, 3)
    assert np.abs(shrunk - small).mean() < 4


# --- the owner's Python ---


def test_the_owners_module_beside_the_card(own: Own) -> None:
    recogniser = load_recogniser(card=own.card())
    assert recogniser(probe_picture(height=64, width=64)).shape == (1, 16)
    own.module(after="features * 2")  # other code is another recogniser, whatever its weights
    assert load_recogniser(card=own.card()).fingerprint != recogniser.fingerprint
    own.module()
    assert load_recogniser(card=own.card()).fingerprint == recogniser.fingerprint


def test_two_cards_may_call_their_module_alike(own: Own, tmp_path: Path) -> None:
    other = Own(tmp_path / "other")
    other.folder.mkdir()
    other.module(after="-features")
    mine, theirs = (
        load_recogniser(card=one.card())(probe_picture(height=64, width=64)) for one in (own, other)
    )
    torch.testing.assert_close(mine, -theirs)


def test_a_module_on_the_python_path(own: Own, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    package = tmp_path / "elsewhere"
    package.mkdir()
    (tmp_path / "tiny.py").rename(package / "tiny_of_ours.py")
    monkeypatch.syspath_prepend(str(package))
    try:
        assert load_recogniser(card=own.card("python:tiny_of_ours:build")).card.name == "own"
    finally:
        sys.modules.pop("tiny_of_ours", None)


@pytest.mark.parametrize(
    ("architecture", "words"),
    [
        ("python:gone:build", r"Expected gone\.py beside the card .*found no file"),
        ("python:tiny:nothing", r"function nothing\(\) of tiny\.py beside the card .*AttributeError"),
        ("python:tiny:Tiny.forward", r"Expected an architecture python:MODULE:FACTORY"),
        ("python:../tiny:build", r"Expected an architecture python:MODULE:FACTORY"),
        ("python:tiny:torch", r"function torch\(\).*TypeError"),
        ("torchvision:no_net", r"Expected a classifier of torchvision, got 'no_net'"),
        ("torchvision:squeezenet1_0", r"ends in a linear layer"),
        ("timm:no_net", r"Expected a model of timm"),
        ("timm:hf-hub:somebody/net", r"Expected a model of timm"),
        ("resnet:18", r"Expected one of the architectures .*timm:NAME"),
    ],
)
def test_architectures_that_cannot_be_built(own: Own, architecture: str, words: str) -> None:
    safetensors.torch.save_file({"x": torch.zeros(1)}, own.folder / "w.safetensors")
    more = {} if architecture.startswith("python:") else {"weights": "w.safetensors"}
    with pytest.raises(UsageError, match=words):
        load_recogniser(card=own.card(architecture, **more))


def test_code_is_not_run_from_a_store(own: Own, tmp_path: Path) -> None:
    (tmp_path / "tiny.py").write_text("raise SystemExit('this was run')")
    with pytest.raises(UsageError, match="outside of the store"):
        load_recogniser(card=own.card(), cache=tmp_path / "0_sources")


def test_timm_that_is_not_installed(own: Own, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UsageError, match=r"pip install 'avih\[timm\]'"):
        build_network("timm:resnet18")


def test_a_tiny_classifier_of_timm(own: Own) -> None:
    import timm

    whole = timm.create_model("test_resnet", pretrained=False, num_classes=7).eval()
    torch.save(whole.state_dict(), own.folder / "w.pth")
    size = whole.num_features
    spare = own.check("timm:test_resnet", weights="w.pth", feature_size=size)
    assert about(spare, "architecture").do == 'It may fit with ignored = ["fc."] in the card.'
    card = own.card("timm:test_resnet", weights="w.pth", feature_size=size, ignored=["fc."])
    picture = probe_picture(height=64, width=64)
    expected = whole.forward_head(whole.forward_features((picture * 255 - 127.5) / 127.5), pre_logits=True)
    torch.testing.assert_close(load_recogniser(card=card)(picture), nn.functional.normalize(expected))


# --- TorchScript ---


@pytest.fixture
def script(own: Own) -> Path:
    network = build_network("python:tiny:build", folder=own.folder).eval()
    path = own.folder / "own.pt"
    torch.jit.save(torch.jit.trace(network, torch.zeros(1, 3, 64, 64)), path)
    return path


def test_an_archive_gives_what_the_network_gave(own: Own, script: Path) -> None:
    plain = load_recogniser(card=own.card())
    recogniser = load_recogniser(card=own.card("torchscript", weights="own.pt", sha256=sha256_of(script)))
    picture = probe_picture(height=64, width=64).requires_grad_()
    torch.testing.assert_close(recogniser(picture), plain(picture))
    recogniser(picture)[:, 0].sum().backward()
    assert picture.grad is not None and float(picture.grad.abs().sum()) > 0
    assert recogniser.fingerprint != plain.fingerprint


def test_a_frozen_archive_says_where_it_is(own: Own, script: Path) -> None:
    torch.jit.save(torch.jit.freeze(torch.jit.load(script).eval()), script)
    recogniser = load_recogniser(card=own.card("torchscript", weights="own.pt"))
    assert recogniser.device.type == "cpu"
    assert next(iter(recogniser.parameters())).device.type == "cpu"
    assert "frozen" in about(own.check("torchscript", weights="own.pt"), "architecture").text


def test_archives_that_are_refused(own: Own, script: Path, tmp_path: Path) -> None:
    whole = script.read_bytes()
    with pytest.raises(IntegrityError, match="expected SHA-256 0000"):
        load_recogniser(card=own.card("torchscript", weights="own.pt", sha256="0" * 64))
    with pytest.raises(UsageError, match='architecture = "torchscript"'):
        load_recogniser(card=own.card(weights="own.pt"))
    script.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UsageError, match="Expected a TorchScript archive"):
        load_recogniser(card=own.card("torchscript", weights="own.pt"))
    with zipfile.ZipFile(io.BytesIO(whole)) as old, zipfile.ZipFile(script, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
        new.writestr("own/extra", bytes(100 * 2**20))
    with pytest.raises(IntegrityError, match="cannot be read"):
        load_recogniser(card=own.card("torchscript", weights="own.pt"))
    damaged = bytearray(whole)
    damaged[damaged.index(b"PK", 10) : damaged.index(b"PK", 10) + 40] = bytes(40)
    script.write_bytes(damaged)
    with pytest.raises(IntegrityError, match="cannot be read"):
        load_recogniser(card=own.card("torchscript", weights="own.pt"))
