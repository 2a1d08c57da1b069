"""The check of a recogniser's card: it says in words what is wrong, and which other card would be right."""

from pathlib import Path

import pytest
import safetensors.torch
import torch
from PIL import Image

from avih.datasets.synthetic import SyntheticFaces
from avih.recognisers.check import check_recogniser
from avih.recognisers.registry import build_network
from own_recogniser import WEIGHTS, Own, about, altered


@pytest.fixture
def own(tmp_path: Path) -> Own:
    made = Own(tmp_path)
    made.module()
    return made


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("people")
    SyntheticFaces(persons=8, photos_per_person=3, first_person=300).write(folder)
    return folder


# --- the check ---


def test_a_right_card_needs_a_probe_only_once(own: Own) -> None:
    first = own.check()
    assert {finding.what: finding.state for finding in first.findings if finding.state != "ok"} == {
        "probe": "warning"
    }
    assert first.exit_code == 0
    path = own.card()
    path.write_text(f"{path.read_text()}\n{first.probe}")
    second = check_recogniser(card=path)
    assert [finding.state for finding in second.findings] == ["ok"] * len(second.findings)
    assert second.probe == ""


@pytest.mark.parametrize(
    ("module", "what", "words"),
    [
        ({"after": "features.detach()"}, "gradient", "no_grad"),
        ({"after": "features * 0 + 1"}, "gradient", "rounding"),
        ({"after": "torch.dropout(features, 0.5, True)"}, "deterministic", "Dropout or random numbers"),
        ({"options": "{'track_running_stats': False}"}, "batch", "(norm has no running mean)"),
        ({"after": "features * 0 + self.fc.bias"}, "contrast", "value range"),
        ({"before": "raise KeyError('lost')"}, "features", "Correct the network's forward()"),
        ({"after": "features / 0"}, "features", "fetch them again"),
        ({"after": "features[:, :5]"}, "features", "correct feature_size in the card"),
        ({"seed": "torch.manual_seed(torch.initial_seed())"}, "weights", "load the weights in the factory"),
    ],
)
def test_faults_of_a_network_are_named(own: Own, module: dict[str, str], what: str, words: str) -> None:
    own.module(**module)
    checked = own.check()
    finding = about(checked, what)
    assert finding.state == ("warning" if what == "contrast" else "wrong")
    assert words in finding.text + finding.do
    assert what == "contrast" or checked.exit_code in (2, 3)


def test_an_archive_made_in_training_mode_is_named(own: Own) -> None:
    network = build_network("python:tiny:build", folder=own.folder).train()
    torch.jit.save(
        torch.jit.trace(network, torch.rand(4, 3, 64, 64), check_trace=False), own.folder / "own.pt"
    )
    finding = about(own.check("torchscript", weights="own.pt"), "batch")
    assert finding.state == "wrong" and "call eval() before it is exported" in finding.do


def test_weights_of_a_training_program(own: Own) -> None:
    network = build_network("python:tiny:build", folder=own.folder)
    state = {f"module.{name}": values for name, values in network.state_dict().items() if values.ndim}
    safetensors.torch.save_file({**state, "module.head.weight": torch.zeros(4)}, own.folder / "w.safetensors")
    finding = about(own.check(weights="w.safetensors"), "architecture")
    hint = 'state_prefix = "module." and ignored = ["module.head."]'
    assert finding.state == "wrong" and hint in finding.do
    right = own.check(weights="w.safetensors", state_prefix="module.", ignored=["module.head."])
    assert about(right, "architecture").state == "ok"
    assert "sha256 = " in about(right, "weights").do


SWAPPED = {'colour_order = "RGB"': 'colour_order = "BGR"'}
RANGE = {"mean = 127.5\nstd = 127.5": "mean = 0\nstd = 255"}
SIZE = {"input_width = 96": "input_width = 112", 'template = "112x96"': 'template = "112x112"'}


@pytest.mark.parametrize(
    ("changes", "what", "fix"),
    [
        (SWAPPED, "probe", 'With colour_order = "RGB" the probe is met'),
        (RANGE, "probe", "With mean = 127.5, std = 127.5 the probe is met"),
        ({"std = 127.5": "std = 128"}, "probe", "With std = 127.5 the probe is met"),
        (
            {**SWAPPED, **RANGE},
            "probe",
            'With colour_order = "RGB", mean = 127.5, std = 127.5 the probe is met',
        ),
        (SIZE, "features", 'template = "112x96", input_height = 112, input_width = 96'),
        (
            {"expected = [0.077311": "expected = [0.7"},
            "probe",
            "No other colour order, usual range or template",
        ),
    ],
)
def test_what_would_meet_the_probe(tmp_path: Path, changes: dict[str, str], what: str, fix: str) -> None:
    checked = check_recogniser(card=altered(tmp_path, changes, probe=True))
    assert fix in about(checked, what).do
    assert checked.exit_code == (2 if what == "features" else 3)
    assert checked.probe == ""


@pytest.mark.parametrize(
    ("changes", "said", "fix"),
    [
        (SWAPPED, "colours swapped names 100%", 'Set colour_order = "RGB"'),
        (RANGE, "range -1 to 1 names 100%", "Set mean = 127.5, std = 127.5"),
        ({}, "no alternative does better", ""),
    ],
)
def test_photos_tell_what_a_card_without_a_probe_should_say(
    tmp_path: Path, people: Path, changes: dict[str, str], said: str, fix: str
) -> None:
    checked = check_recogniser(card=altered(tmp_path, changes, probe=False), photos=people)
    finding = about(checked, "photos")
    assert said in finding.text and fix in finding.do
    assert checked.exit_code == (2 if changes else 0)
    assert [score["name"] for score in checked.scores][:2] == ["as in the card", "colours swapped"]


def test_gray_photos_do_not_judge_colours(tmp_path: Path, people: Path) -> None:
    for photo in sorted(people.glob("*/*.png"))[:15]:
        target = tmp_path / "gray" / photo.parent.name / photo.name
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.open(photo).convert("L").save(target)
    checked = check_recogniser(card=altered(tmp_path, SWAPPED, probe=False), photos=tmp_path / "gray")
    assert "colour order BGR cannot be judged" in about(checked, "colours").text
    assert all("swapped" not in score["name"] for score in checked.scores)


def test_too_few_persons_are_no_judges(tmp_path: Path) -> None:
    SyntheticFaces(persons=2, photos_per_person=2).write(tmp_path / "few")
    finding = about(check_recogniser(card="synthetic", photos=tmp_path / "few"), "photos")
    assert finding.state == "warning" and "at least 5 persons" in finding.do


@pytest.mark.parametrize(
    ("changes", "what", "code"),
    [
        ({'sha256 = "98371fc5': 'sha256 = "00000000'}, "weights", 3),
        ({f'weights = "{WEIGHTS}"': 'weights = "gone.safetensors"'}, "weights", 2),
        ({'architecture = "small_facenet"': 'architecture = "mobilefacenet"'}, "architecture", 2),
        ({"mean = 127.5\n": ""}, "card", 2),
    ],
)
def test_a_check_goes_as_far_as_it_can(tmp_path: Path, changes: dict[str, str], what: str, code: int) -> None:
    checked = check_recogniser(card=altered(tmp_path, changes, probe=True))
    assert [finding.state for finding in checked.findings][-1] == "wrong"
    assert checked.findings[-1].what == what and checked.exit_code == code
