"""From figures to levels: each limit, luck allowed for, controls that do not behave, and the leak budget."""

import pytest

from avih.lab.budget import leak_budget
from avih.lab.result import AttackEntry, ControlResult, Measured, Told
from avih.lab.settings import LabLimits
from avih.lab.verdict import attack_verdict, level_of, named_level, verdict_of, worst
from avih.lab.words import summary_of

LIMITS = LabLimits()


def figures(**changes: object) -> Measured:
    """Sixty-four pictures on which the attack did just as the prior."""
    plain: dict[str, object] = {
        "label": "try", "kind": "key", "level": "pass", "facts": {}, "images": 64, "ssim": 0.4, "prior_ssim": 0.4,
        "ssim_advantage": 0.0, "ssim_advantage_ci": (-0.01, 0.01), "id_images": 64, "id_rate": 0.05,
        "id_ci": (0.0, 0.1), "prior_id_rate": 0.05, "id_advantage": 0.0, "id_advantage_ci": (-0.05, 0.05),
        "tar": 0.001, "tar_ci": (0.0, 0.002), "prior_tar": 0.001,
    }  # fmt: skip
    return Measured.model_validate(plain | changes)


def level(chance: float = 0.03, identity: bool = True, **changes: object) -> str:
    return level_of(figures(**changes), limits=LIMITS, chance=chance, identity=identity)


@pytest.mark.parametrize(
    ("advantage", "expected"),
    [(-0.2, "pass"), (0.05, "pass"), (0.051, "warn"), (0.149, "warn"), (0.15, "fail")],
)
def test_similarity_counts_above_the_prior(advantage, expected):
    assert level(ssim_advantage=advantage) == expected


@pytest.mark.parametrize(
    ("rate", "images", "expected"),
    [
        (0.11, 64, "pass"),  # twice chance
        (0.14, 1600, "warn"),
        (0.14, 64, "pass"),  # as much, but of so few pictures luck does that
        (0.16, 640, "fail"),
        (0.50, 64, "fail"),
        (0.50, 2, "pass"),  # one of two says nothing
    ],
)
def test_identification_has_to_be_surely_above_the_prior(rate, images, expected):
    assert level(id_rate=rate, id_images=images) == expected
    assert level(id_rate=rate, id_images=images, identity=False) == "pass"


@pytest.mark.parametrize(
    ("tar", "low", "prior", "expected"),
    [
        (0.049, 0.04, 0.0, "pass"),
        (0.05, 0.01, 0.001, "fail"),
        (0.05, 0.01, 0.02, "warn"),
        (0.05, 0.05, 0.05, "pass"),  # the guess without the picture gets as far
        (0.3, 0.001, 0.0, "warn"),
        (0.3, 0.0, 0.0, "pass"),  # one person of a few
    ],
)
def test_acceptance_at_a_false_match_rate(tar, low, prior, expected):
    assert level(tar=tar, tar_ci=(low, 0.4), prior_tar=prior) == expected


def test_what_was_not_measured_does_not_count():
    nothing = dict.fromkeys(("id_rate", "prior_id_rate", "tar", "tar_ci", "prior_tar"))
    assert level(**nothing, id_images=0) == "pass"


def entry(verdict: str, *, kind: str = "key", **more: object) -> AttackEntry:
    return AttackEntry.model_validate(
        {"name": "a", "title": verdict, "claim": "", "holds": "", "kind": kind, "verdict": verdict} | more
    )


def control(ok: bool) -> ControlResult:
    return ControlResult(name="weak", ok=ok, expected="", got="", figures=figures())


@pytest.mark.parametrize(
    ("verdicts", "ok", "expected"),
    [
        (("pass", "pass"), True, "pass"),
        (("pass", "warn"), True, "warn"),
        (("warn", "fail"), True, "fail"),
        (("fail",), False, "fail"),  # what got through needs no control
        (("pass",), False, "attack too weak"),
        (("warn",), False, "attack too weak"),
        (("pass", "does not apply"), True, "pass"),
        (("pass", "error"), True, "attack too weak"),
        (("does not apply",), True, "attack too weak"),  # nothing that counts was tried
        ((), True, "attack too weak"),
    ],
)
def test_the_verdict_rests_on_attacks_and_controls(verdicts, ok, expected):
    entries = [entry(one) for one in verdicts]
    entries.append(entry("by design", kind="by design", id_rate=1.0))
    assert verdict_of(entries, [control(True), control(ok)]) == expected
    said = summary_of(expected, entries, [control(True), control(ok)])
    assert all(one.title in said for one in entries if one.verdict == "fail")
    assert said.endswith(".") and ("proves nothing" in said) == (expected == "attack too weak")
    assert ok or expected == "fail" or "control weak" in said


def test_only_what_counts_decides_about_an_attack():
    seen = figures(level="fail")
    assert attack_verdict([seen], [], kind="key") == "fail"
    assert attack_verdict([figures(level="fail", kind="by design")], [], kind="by design") == "by design"
    assert attack_verdict([figures(level="fail", kind="owner")], [], kind="owner") == "measured"
    # A part of such an attack that does without the recogniser counts.
    assert attack_verdict([figures(level="fail", kind="by design")], ["warn"], kind="by design") == "warn"
    assert attack_verdict([figures(level="fail", kind="no evidence"), figures()], [], kind="key") == "pass"
    assert attack_verdict([figures()], ["warn"], kind="key") == "warn"
    assert attack_verdict([], [], kind="key") == "measured"


def test_the_leak_budget_takes_the_best_network_of_every_size():
    curve = [(8, 0.02, "pass"), (8, 0.12, "warn"), (32, 0.3, "fail"), (96, 0.55, "fail")]
    variants = tuple(
        figures(facts={"pairs": pairs}, id_advantage=rate, id_rate=0.05 + rate, level=reached)
        for pairs, rate, reached in curve
    )
    found = leak_budget([entry("fail", name="same_key_network", variants=variants)])
    assert found is not None
    assert [point.pairs for point in found.points] == [8, 32, 96] and found.points[0].level == "warn"
    assert (found.n10, found.n50, found.most) == (8, 96, 96)
    assert leak_budget([entry("pass", name="other", variants=variants)]) is None
    # Each figure comes from the network that is best at it, and luck reaches nothing.
    named = figures(facts={"pairs": 8}, id_advantage=0.12, ssim_advantage=-0.3)
    alike = figures(facts={"pairs": 8}, id_advantage=0.03, ssim_advantage=-0.09)
    (point,) = leak_budget([entry("pass", name="same_key_network", variants=(named, alike))]).points
    assert (point.id_advantage, point.ssim_advantage) == (0.12, -0.09)
    assert leak_budget([entry("pass", name="same_key_network", variants=(named,))]).n10 is None
    sure = named.model_copy(update={"level": "fail"})
    assert leak_budget([entry("fail", name="same_key_network", variants=(alike, sure))]).n10 == 8
    none = leak_budget([entry("pass", name="same_key_network", variants=variants[:1])])
    assert none is not None and (none.n10, none.n50) == (None, None)


def test_the_worst_variant_is_the_one_that_got_furthest():
    low, high = figures(ssim_advantage=0.2, level="warn"), figures(ssim_advantage=-0.1, level="fail")
    assert worst([low, high]) is high
    assert worst([figures(), low]) is low


@pytest.mark.parametrize(
    ("rate", "prior", "tries", "expected"),
    [
        (0.9, 0.1, 30, "fail"),
        (0.12, 0.1, 30, "pass"),
        (0.2, 0.02, 5, "pass"),
        (0.08, 0.02, 2000, "warn"),
        (1.0, 1 / 6, 4, "fail"),
        (1.0, 1 / 4, 4, "warn"),
        (0.75, 1 / 4, 4, "pass"),
        (1.0, 1 / 2, 2, "pass"),
    ],
)
def test_levels_allow_for_luck(rate: float, prior: float, tries: int, expected: str) -> None:
    assert named_level(rate, prior, tries=tries, chance=0.01, limits=LIMITS) == expected


def test_what_a_finding_decided_is_told_apart_from_the_best_picture():
    shown = figures(kind="by design", level="fail")
    decided = Told(label="linked", values={"rate": 0.4}, text="By pixels.", level="fail")
    fine = Told(label="fine", values={}, text="Nothing.", level="pass")
    beside = entry("fail", kind="by design", variants=(shown,), findings=(fine, decided))
    assert beside.counts and beside.decided_by == decided
    assert not entry("by design", kind="by design", variants=(shown,)).counts
    # As bad as the finding: the picture speaks for itself.
    assert entry("fail", variants=(figures(level="fail"),), findings=(decided,)).decided_by is None
    assert entry("fail", variants=(figures(),), findings=(decided,)).decided_by == decided
    assert entry("pass", variants=(figures(),)).decided_by is None
