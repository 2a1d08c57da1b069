"""``python -m benchmarks.dependency_audit``: our dependencies against a dated list of weaknesses, offline.

Fails (exit code 1) where a pinned version, or the lowest that ``pyproject.toml`` allows, is in
``known_bad.toml``; where a direct dependency has no pin in ``constraints.txt``; and where something else is
installed than is pinned. An old list is a warning only.
"""

import argparse
import json
import re
import sys
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT: Final = Path(__file__).parents[1]
LIST: Final = Path(__file__).parent / "known_bad.toml"
OLD_DAYS: Final = 90
OURS_AND_INSTALLERS: Final = frozenset({"avih", "pip", "setuptools", "wheel", "uv"})


@dataclass(frozen=True)
class Weakness:
    """An entry of the list: versions of a package with a published weakness."""

    package: str
    affected: SpecifierSet
    ids: tuple[str, ...]
    what: str

    def holds(self, package: str, version: Version) -> bool:
        """Tell whether a version of a package has it."""
        return canonicalize_name(self.package) == package and self.affected.contains(
            version, prereleases=True
        )


@dataclass(frozen=True)
class KnownBad:
    """The whole list."""

    dated: date
    known: tuple[Weakness, ...]
    unclear: tuple[str, ...]


def read_list(path: Path = LIST) -> KnownBad:
    """Read the list of known weaknesses."""
    content = tomllib.loads(path.read_text(encoding="utf-8"))
    known = tuple(
        Weakness(one["package"], SpecifierSet(one["affected"]), tuple(one["ids"]), one["what"])
        for one in content["known"]
    )
    unclear = tuple(f"{one['package']}: {', '.join(one['ids'])}: {one['what']}" for one in content["unclear"])
    return KnownBad(content["dated"], known, unclear)


def read_pins(text: str) -> dict[str, Version]:
    """Return the version of each package that ``constraints.txt`` pins."""
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    pairs = (re.fullmatch(r"([A-Za-z0-9._-]+)==(\S+)", line) for line in lines if line)
    return {canonicalize_name(pair[1]): Version(pair[2]) for pair in pairs if pair}


def read_requirements(text: str) -> list[Requirement]:
    """Return all direct dependencies of ``pyproject.toml``, extras included."""
    project = tomllib.loads(text)["project"]
    extras = project.get("optional-dependencies", {})
    lines = [*project["dependencies"], *(line for extra in extras.values() for line in extra)]
    return [Requirement(line) for line in lines]


def installed_versions() -> dict[str, Version]:
    """Return what is installed in this environment."""
    found = ((one.metadata["Name"], one.version) for one in metadata.distributions())
    return {canonicalize_name(name): Version(version) for name, version in found if name}


def needed_by(requirements: Iterable[Requirement]) -> set[str]:
    """Return the names of everything that is installed because some requirements need it."""
    found: set[str] = set()
    waiting = list(requirements)
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        extras = {"", *requirement.extras}
        if name in found and not requirement.extras:
            continue
        found.add(name)
        lines = _requires(name)
        waiting += [
            one for one in lines if not one.marker or any(one.marker.evaluate({"extra": x}) for x in extras)
        ]
    return found


def _applies(requirement: Requirement, extras: set[str]) -> bool:
    marker = requirement.marker
    return marker is None or any(marker.evaluate({"extra": extra}) for extra in extras)


def _requires(name: str) -> list[Requirement]:
    try:
        return [Requirement(line) for line in metadata.requires(name) or ()]
    except metadata.PackageNotFoundError:
        return []


def problems(
    *,
    bad: KnownBad,
    pins: Mapping[str, Version],
    requirements: list[Requirement],
    installed: Mapping[str, Version],
) -> list[str]:
    """Name everything that must not be."""
    found = []
    for name, version in sorted(pins.items()):
        found += [f"pinned: {_told(name, version, one)}" for one in bad.known if one.holds(name, version)]
    for requirement in requirements:
        name = canonicalize_name(requirement.name)
        if name not in pins and name not in OURS_AND_INSTALLERS:
            found.append(f"{name}: a direct dependency without a pin in constraints.txt")
        lowest = _lowest(requirement)
        allowed = [one for one in bad.known if lowest and one.holds(name, lowest)]
        found += [f"allowed by pyproject.toml: {_told(name, lowest, one)}" for one in allowed[-1:]]
    needed = needed_by(requirements)
    for name, version in sorted(installed.items()):
        if name not in pins and name in needed - OURS_AND_INSTALLERS:
            found.append(f"{name} {version}: needed and installed, and not pinned in constraints.txt")
        elif name in pins and pins[name] != version:
            found.append(f"{name}: {version} is installed, {pins[name]} is pinned")
    return found


def _told(name: str, version: Version | None, weakness: Weakness) -> str:
    return f"{name} {version}: {', '.join(weakness.ids)}: {weakness.what} (affected: {weakness.affected})"


def _lowest(requirement: Requirement) -> Version | None:
    """Return the lowest version that a requirement allows, where it names one."""
    named = [Version(one.version) for one in requirement.specifier if one.operator in (">=", "==", "~=")]
    return max(named, default=None)


def warnings(bad: KnownBad, *, today: date) -> list[str]:
    """Name what is worth knowing and no reason to fail."""
    age = (today - bad.dated).days
    old = f"the list of known weaknesses is {age} days old; bring benchmarks/known_bad.toml up to date"
    return [*([old] if age > OLD_DAYS else []), *(f"unclear: {one}" for one in bad.unclear)]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.dependency_audit", description=__doc__)
    parser.add_argument("--json", action="store_true", help="Print one JSON object.")
    arguments = parser.parse_args()
    bad, pins = read_list(), read_pins((ROOT / "constraints.txt").read_text())
    requirements = read_requirements((ROOT / "pyproject.toml").read_text())
    found = problems(bad=bad, pins=pins, requirements=requirements, installed=installed_versions())
    told: dict[str, Any] = {
        "dated": bad.dated.isoformat(),
        "known": len(bad.known),
        "pinned": len(pins),
        "problems": found,
        "warnings": warnings(bad, today=datetime.now(UTC).date()),
    }
    if arguments.json:
        print(json.dumps(told, indent=2))
    else:
        for kind in ("warnings", "problems"):
            print("\n".join(f"{kind[:-1]}: {line}" for line in told[kind]), end="\n" if told[kind] else "")
        print(f"{len(pins)} pins against {len(bad.known)} entries of {bad.dated}: {len(found)} problems")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
