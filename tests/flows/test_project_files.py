"""What people and machines look for beside the code: the version is said once, and the other files agree."""

import re
import tomllib

import yaml

import avih
from command import ROOT


def test_the_version_is_that_of_the_package_everywhere() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), flags=re.MULTILINE)

    assert project["project"]["dynamic"] == ["version"]
    assert project["tool"]["hatch"]["version"]["path"] == "avih/__init__.py"
    assert newest and cited["version"] == newest[1] == avih.__version__


def test_the_citation_names_every_paper_with_its_authors() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert len(cited["references"]) == 4
    assert all(paper["title"] and paper["authors"] for paper in cited["references"])
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    said = " ".join(readme.split())
    assert all(paper["title"] in said for paper in cited["references"])


def test_issue_forms_can_be_read_and_ask_for_something() -> None:
    forms = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
    read = {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in forms}
    assert set(read) == {"attack", "config", "fault", "idea"}
    asked = [form for name, form in read.items() if name != "config"]
    assert all(any(part.get("validations", {}).get("required") for part in form["body"]) for form in asked)


def test_make_help_lists_every_word_that_people_may_say() -> None:
    lines = (ROOT / "Makefile").read_text(encoding="utf-8").splitlines()
    phony = next(line for line in lines if line.startswith(".PHONY:")).split()[1:]
    explained = {line.split(":")[0] for line in lines if re.match(r"^[a-z-]+:.*## ", line)}
    assert set(phony) == explained
