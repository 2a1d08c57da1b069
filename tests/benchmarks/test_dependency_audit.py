"""The audit of our dependencies: it finds what is known to be bad, and our pins are not among it."""

from datetime import date, timedelta

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from benchmarks.dependency_audit import (
    OLD_DAYS,
    ROOT,
    KnownBad,
    Weakness,
    needed_by,
    problems,
    read_list,
    read_pins,
    read_requirements,
    warnings,
)

TODAY = date(2026, 11, 22)
BAD = KnownBad(
    TODAY, (Weakness("Pillow", SpecifierSet("<12.3.0"), ("CVE-1",), "heap write"),), ("x: unclear",)
)


def found(*, pins="pillow==12.3.0", requires=("pillow>=12.3",), installed=("pillow==12.3.0",)) -> list[str]:
    return problems(
        bad=BAD, pins=read_pins(pins), requirements=[Requirement(line) for line in requires],
        installed=read_pins("\n".join(installed)),
    )  # fmt: skip


def test_nothing_is_found_where_all_is_well():
    assert found() == []


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"pins": "Pillow==12.2.0", "installed": ()}, "pinned: pillow 12.2.0: CVE-1: heap write"),
        ({"requires": ("pillow>=10.3",)}, "allowed by pyproject.toml: pillow 10.3: CVE-1"),
        ({"requires": ("pillow>=12.3", "numpy>=2")}, "numpy: a direct dependency without a pin"),
        ({"installed": ("pillow==12.3.1",)}, "pillow: 12.3.1 is installed, 12.3.0 is pinned"),
        (
            {"installed": ("pillow==12.3.0", "rich==15.0"), "requires": ("rich",)},
            "rich 15.0: needed and installed",
        ),
    ],
)
def test_what_must_not_be_is_named(given, words):
    assert any(words in line for line in found(**given)), found(**given)


def test_what_nobody_needs_may_be_installed():
    assert found(installed=("pillow==12.3.0", "ipython==9.0")) == []


def test_what_needs_what_is_followed_through_extras():
    assert {"requests", "urllib3"} <= needed_by([Requirement("requests")])
    assert "pysocks" not in needed_by([Requirement("requests")])
    assert "pysocks" in needed_by([Requirement("requests[socks]")])


def test_an_old_list_warns_and_does_not_fail():
    assert warnings(BAD, today=TODAY + timedelta(days=OLD_DAYS)) == ["unclear: x: unclear"]
    old = warnings(BAD, today=TODAY + timedelta(days=OLD_DAYS + 1))
    assert len(old) == 2 and f"{OLD_DAYS + 1} days old" in old[0]


def test_our_own_pins_are_none_of_the_known_bad_ones_and_every_direct_dependency_has_one():
    bad, pins = read_list(), read_pins((ROOT / "constraints.txt").read_text())
    requirements = read_requirements((ROOT / "pyproject.toml").read_text())
    assert problems(bad=bad, pins=pins, requirements=requirements, installed={}) == []
    assert len(bad.known) > 50 and len(pins) > 150
    assert {one.package.lower() for one in bad.known} <= set(pins)  # a typing mistake would never match


def test_every_entry_of_the_list_takes_an_older_version_and_not_our_pin():
    pins = read_pins((ROOT / "constraints.txt").read_text())
    for one in read_list().known:
        name = one.package.lower()
        lowest = next(
            (Version(part.version) for part in one.affected if part.operator == ">="), Version("0.0.1")
        )
        assert one.holds(name, lowest) and not one.holds(name, pins[name]), one
