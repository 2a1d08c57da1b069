"""An audit as a whole, on a gallery that anybody undoes and on one that nobody can."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from avih.attack.pairs import Pairs
from avih.errors import SettingsMismatch, TooFew, UsageError
from avih.evaluation.metrics import ssim
from avih.lab import runner
from avih.lab.attack import Attack, AttackFacts, Finding, Guess
from avih.lab.lab import Lab
from avih.lab.registry import attacks
from avih.lab.runner import Audit, Second, audit
from avih.lab.settings import PROFILES, lab_settings
from avih.lab.subject import Subject, draw_parts
from small_attack import small_faces
from small_lab import SMALL, lab_of, protect_settings, subject

# Where it does not matter what the attacks reach.
HASTY = SMALL.model_copy(
    update={"network": SMALL.network.model_copy(update={"steps": 2, "minimum_steps": 1, "check_every": 2})}
)


def hidden_as(pictures: np.ndarray, **changes: object) -> Subject:
    """A gallery in which these pictures stand for the faces; its owner gets the faces back."""
    faces = small_faces()
    names = {name: row for row, name in enumerate(faces.images)}
    return replace(
        subject("lie"),
        pairs=faces.with_inputs(pictures),
        recover=lambda images, _: faces.originals[[names[image] for image in images]],
        **changes,
    )


@pytest.fixture(scope="module")
def open_gallery() -> Audit:
    """Pictures that lost half their grey levels and are turned into negatives: whoever has a pair sees how."""
    told: list[str] = []
    shown = 255 - small_faces().originals // 2
    found = audit(subject=hidden_as(shown), settings=SMALL, names=["same_key_network"], tell=told.append)
    assert any("8 pictures of other persons are attacked" in text for text in told)
    return found


@pytest.fixture(scope="module")
def noise_gallery() -> Audit:
    noise = np.random.default_rng(4).integers(0, 256, size=small_faces().originals.shape).astype(np.uint8)
    ticks: list[int] = []
    found = audit(
        subject=hidden_as(noise, consenting=False), settings=SMALL, names=["same_key_network"],
        done=lambda: ticks.append(1),
    )  # fmt: skip
    assert len(ticks) == 2  # the controls, and one attack
    return found


def test_the_controls_behave(noise_gallery):
    found = {control.name: control for control in noise_gallery.result.controls}
    assert list(found) == [
        "originals", "AES noise", "owner's key", "weak scheme: constant additive mask", "weak scheme: blurring",
    ]  # fmt: skip
    assert all(control.ok for control in found.values()), {name: one.got for name, one in found.items()}
    assert found["originals"].figures.id_rate >= 0.6 and found["owner's key"].figures.ssim == 1
    assert found["AES noise"].figures.level == "pass"
    assert found["weak scheme: blurring"].figures.level == "fail"


def test_pictures_that_anybody_undoes_fail(open_gallery):
    result = open_gallery.result
    (entry,) = result.attacks
    assert result.verdict == entry.verdict == "fail" and entry.title in result.summary
    assert entry.ssim_advantage >= 0.15 and entry.ci["ssim_advantage"][0] > 0 and entry.cost_s > 0
    assert entry.variants[0].ssim_advantage == entry.ssim_advantage  # the best comes first
    assert {one.facts["pairs"] for one in entry.variants} == {4, 16}
    assert result.leak_budget.most == 16 and result.leak_budget.points[-1].level == "fail"


def test_noise_passes(noise_gallery):
    result = noise_gallery.result
    assert result.verdict == "pass" and result.attacks[0].verdict == "pass", result.summary
    assert result.leak_budget.n10 is None
    assert "1 attacks" in result.summary
    assert result.chance == 1 / 8 and result.images == 48 and result.targets == 8


def test_reconstructions_leave_the_lab_for_consenting_data_sets_only(open_gallery, noise_gallery):
    (shown,) = open_gallery.shown
    assert shown.truth.shape == shown.guess.shape == shown.seen.shape == (2, 56, 48, 3)
    assert min(ssim(a, b) for a, b in zip(shown.truth, shown.guess, strict=True)) > 0.3
    assert noise_gallery.shown == ()


def with_attacks(monkeypatch: pytest.MonkeyPatch, **runs: object) -> None:
    """Let the registry hold these attacks alone."""
    facts = {name: AttackFacts(name, name, "none", "nothing") for name in runs}
    found = tuple(Attack(facts[name], run) for name, run in runs.items())
    monkeypatch.setattr(runner, "attacks", lambda names: found)


def test_an_attack_that_breaks_is_no_pass_and_leaves_the_others_alone(monkeypatch):
    def breaks(lab: Lab) -> Iterator[Guess]:
        raise ZeroDivisionError("by nothing")

    def too_few(lab: Lab) -> Iterator[Guess]:
        raise TooFew("Expected 99 pictures, got 12.")
        yield

    def tells(lab: Lab) -> Iterator[Finding]:
        yield Finding("rate", {"rate": np.float64(0.5), "none": None}, "Half.", level="warn")

    with_attacks(monkeypatch, breaks=breaks, too_few=too_few, tells=tells)
    noise = np.random.default_rng(4).integers(0, 256, size=small_faces().originals.shape).astype(np.uint8)
    result = audit(subject=hidden_as(noise), settings=HASTY).result
    found = {one.name: one for one in result.attacks}
    assert found["breaks"].verdict == "error" and found["breaks"].note == "ZeroDivisionError: by nothing"
    assert found["too_few"].verdict == "does not apply" and "99 pictures" in found["too_few"].note
    assert found["tells"].verdict == "warn" and found["tells"].findings[0].values == {
        "rate": 0.5,
        "none": None,
    }
    assert result.verdict == "attack too weak" and "attack breaks broke" in result.summary


@pytest.mark.parametrize("error", [UsageError, SettingsMismatch])
def test_only_too_few_pictures_excuse_an_attack(monkeypatch, error):
    def breaks_at_once(lab: Lab) -> Iterator[Finding]:
        raise error("Expected finite features, got NaN.")
        yield

    def breaks_later(lab: Lab) -> Iterator[Finding]:
        yield Finding("rate", {"rate": 0.0}, "Nothing.", level="pass")
        raise error("Expected pictures of one size, got two.")

    def breaks_after_it_got_through(lab: Lab) -> Iterator[Guess]:
        yield Guess("right", lab.targets, lab.targets.originals)
        raise error("Expected more, got this.")

    def runs_out(lab: Lab) -> Iterator[Finding]:
        yield Finding("rate", {"rate": 0.0}, "Nothing.", level="pass")
        raise TooFew("Expected 99 pictures, got 12.")

    with_attacks(
        monkeypatch, breaks_at_once=breaks_at_once, breaks_later=breaks_later, runs_out=runs_out,
        breaks_after_it_got_through=breaks_after_it_got_through,
    )  # fmt: skip
    noise = np.random.default_rng(4).integers(0, 256, size=small_faces().originals.shape).astype(np.uint8)
    result = audit(subject=hidden_as(noise), settings=HASTY).result
    found = {one.name: one for one in result.attacks}
    assert found["breaks_at_once"].verdict == found["breaks_later"].verdict == "error"
    assert found["breaks_later"].note == f"{error.__name__}: Expected pictures of one size, got two."
    assert found["runs_out"].verdict == "pass" and "99 pictures" in found["runs_out"].note
    through = found["breaks_after_it_got_through"]
    assert through.verdict == "fail" and through.variants[0].id_rate == 1 and "got this" in through.note
    assert found["breaks_later"].findings and result.verdict == "fail"


def test_a_network_without_pairs_has_too_few_of_them():
    lab = lab_of(hidden_as(small_faces().originals), HASTY)
    with pytest.raises(TooFew, match="at least 1 leaked pair"):
        lab.train(lab.leaked.named([]))


def test_a_weak_second_recogniser_does_not_count(monkeypatch):
    with_attacks(monkeypatch)
    blind = Second(lambda pictures: np.ones((len(pictures), 3)), "blind")
    result = audit(subject=hidden_as(small_faces().originals), settings=HASTY, second=blind).result
    assert result.verdict == "attack too weak" and "control originals" in result.summary
    assert any("too weak on originals" in note for note in result.notes)


def test_nobody_leaks_who_is_attacked_and_no_target_is_a_reference():
    faces = hidden_as(small_faces().originals)
    parts = draw_parts(faces, targets=8, leaked=20)
    again = draw_parts(faces, targets=8, leaked=20)
    assert parts.targets.images == again.targets.images and parts.leaked.images == again.leaked.images
    assert not set(parts.leaked.persons) & set(parts.targets.persons)
    assert (
        len(parts.targets) == 8 and len(set(parts.targets.persons)) == 4
    )  # in turns, not one person after another
    persons, pictures = parts.references
    assert len(persons) == len(pictures) == 48 - 8 and set(parts.targets.persons) <= set(persons)
    seen = {picture.tobytes() for picture in pictures}
    assert not seen & {picture.tobytes() for picture in parts.targets.originals}


def test_photos_that_are_not_protected_serve_as_references():
    faces = small_faces()
    first = [name for name in faces.images if name.endswith("_0")]
    others = faces.named([name for name in faces.images if not name.endswith("_0")])
    gallery = hidden_as(faces.originals, others=(others.persons, others.originals))
    one_each = replace(gallery, pairs=faces.named(first))
    parts = draw_parts(one_each, targets=8, leaked=20)
    assert len(parts.targets) == 4 and len(parts.leaked) == 4
    assert len(parts.references[0]) == 4 + len(others)
    with pytest.raises(UsageError, match="2 of them with several photos, got 8 and 0"):
        draw_parts(replace(one_each, others=None), targets=8, leaked=20)


@pytest.mark.parametrize(
    ("method", "recovery", "least"),
    [("avih", "keyed", 0.8), ("avih", "sealed", 1.0), ("person_veil", "", 0.9), ("veil_privacy", "", 1.0),
     ("lie", "", 1.0), ("v_uap", "", 0.9)],
)  # fmt: skip
def test_a_key_of_the_lab_hides_and_brings_back(method, recovery, least):
    faces = small_faces()
    few = faces.named(faces.images[:3])
    bare = replace(subject("lie"), protect=protect_settings(method, recovery), key=key_of(method, recovery))
    scheme = lab_of(bare).scheme
    one, two = scheme.key(1), scheme.key(2)
    assert scheme.key(1) is one and one.secret != two.secret
    hidden = one.hide(few)
    assert hidden.images == few.images and (hidden.protected != few.originals).any()
    assert (hidden.protected != two.hide(few).protected).any()
    back = one.recover(few.images)
    assert min(ssim(a, b) for a, b in zip(back, few.originals, strict=True)) >= least
    before = one.nonces(few.images)
    one.hide(few, version="other")
    assert not set(before) & set(one.nonces(few.images))


def key_of(method: str, recovery: str):
    from avih.settings import KeySettings

    if recovery != "keyed":
        return KeySettings(architecture="none")
    return KeySettings(width=8, blocks=1, steps=60, crop=48)


def test_profiles_and_attacks_are_named_in_errors():
    assert lab_settings("quick") is PROFILES["quick"]
    with pytest.raises(UsageError, match="Expected the profile quick or full, got 'fast'"):
        lab_settings("fast")
    with pytest.raises(UsageError, match=r"Expected attacks among same_key_network, .*, got nothing"):
        attacks(["same_key_network", "nothing"])


def test_pairs_need_no_name_to_be_attacked():
    faces = small_faces()
    nameless = Pairs(faces.images, ("",) * len(faces), faces.originals, faces.originals)
    with pytest.raises(UsageError, match="there is nobody to recognise"):
        draw_parts(replace(hidden_as(faces.originals), pairs=nameless), targets=4, leaked=4)
