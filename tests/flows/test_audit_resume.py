"""Audits that are cut off: what attacks had found is kept, signed, and nothing of another audit is believed."""

import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from avih.lab import registry
from avih.lab.attacks import classical, same_key_network
from avih.lab.result import AttackEntry
from small_audit import TINY, copied, light_gallery, tiny_lab
from small_methods import Gallery
from tasks.audit_begun import BegunAudit
from tasks.audit_gallery import audit_gallery
from tasks.audit_record import REPORT, AuditRecord, audit_folder
from tasks.erase_person import erase_person
from tasks.unchanged import VersionChanged

BOTH = ("same_key_network", "classical")
KEY = bytes(range(32))


class Counted:
    """Counts how often an attack runs, and lets it end the process' work once."""

    def __init__(self, patch: pytest.MonkeyPatch, module: ModuleType) -> None:
        self.runs, self.cut_off, self.real = 0, False, module.run
        patch.setattr(module, "run", self)

    def __call__(self, lab: object) -> Iterator[object]:
        self.runs += 1
        if self.cut_off:
            raise KeyboardInterrupt
        yield from self.real(lab)


@pytest.fixture(scope="module")
def light(tmp_path_factory: pytest.TempPathFactory) -> Gallery:
    return light_gallery(tmp_path_factory.mktemp("light"))


@pytest.fixture
def counted(light: Gallery) -> Iterator[tuple[Counted, Counted]]:
    with tiny_lab() as patch:
        patch.setattr(registry, "NAMES", BOTH)
        yield Counted(patch, same_key_network), Counted(patch, classical)


def audit(gallery: Gallery, **more: object) -> AuditRecord:
    given = {"place": gallery.place(), "key_id": gallery.key_id, "recovery": "inverse", "settings": TINY}
    return audit_gallery(**given | more)


def begun(gallery: Gallery) -> Path:
    return audit_folder(gallery.store, gallery="people", version="v0001") / "begun"


def test_an_audit_that_was_cut_off_goes_on_with_the_next_attack(light, counted):
    first, second = counted
    second.cut_off = True
    with pytest.raises(KeyboardInterrupt):
        audit(light, data="one")
    assert [path.name for path in begun(light).iterdir()] == ["same_key_network.json"]
    kept = json.loads((begun(light) / "same_key_network.json").read_text())["entry"]
    second.cut_off = False
    done = audit(light, data="one")
    assert (first.runs, second.runs) == (1, 2)
    assert [one.name for one in done.result.attacks] == [*BOTH]
    assert json.loads(done.result.attacks[0].model_dump_json()) == kept
    assert done.result.seconds > done.result.attacks[0].cost_s
    assert not begun(light).exists()
    assert audit(light, data="one").made is False and (first.runs, second.runs) == (1, 2)


def test_another_audit_begins_anew(light, counted):
    first, second = counted
    second.cut_off = True
    with pytest.raises(KeyboardInterrupt):
        audit(light, data="two")
    second.cut_off = False
    audit(light, data="three")
    assert (first.runs, second.runs) == (2, 2)


def test_an_audit_that_shows_pictures_keeps_nothing_half_done(light, counted):
    _, second = counted
    second.cut_off = True
    with pytest.raises(KeyboardInterrupt):
        audit(light, data="four", consenting=True)
    assert not begun(light).exists()


def test_what_was_altered_or_broke_is_tried_again(tmp_path: Path):
    held = BegunAudit(tmp_path, inputs="a", mac_key=KEY)
    facts = {name: "x" for name in ("title", "claim", "holds")} | {"kind": "key"}
    held.keep(AttackEntry(name="fell", verdict="fail", **facts))
    held.keep(AttackEntry(name="broke", verdict="error", **facts))
    assert set(held.known()) == {"fell"} and held.known()["fell"].verdict == "fail"
    assert BegunAudit(tmp_path, inputs="b", mac_key=KEY).known() == {}
    assert BegunAudit(tmp_path, inputs="a", mac_key=bytes(32)).known() == {}
    path = tmp_path / "begun" / "fell.json"
    path.write_text(path.read_text().replace('"fail"', '"pass"'))
    assert held.known() == {}
    path.write_text("{")
    assert held.known() == {}
    held.end()
    assert not path.parent.exists()
    held.end()  # nothing left to forget


def test_a_report_never_brings_back_whoever_was_erased_meanwhile(light, tmp_path, counted):
    first, _ = counted
    gallery = copied(light, tmp_path)
    person = gallery.rows().person.iloc[0]
    real = first.real

    def erasing(lab: object) -> Iterator[object]:
        erase_person(store=gallery.store, gallery="people", person=person)
        return real(lab)

    first.real = erasing
    with pytest.raises(VersionChanged, match="erased from it meanwhile"):
        audit(gallery, consenting=True)
    folder = audit_folder(gallery.store, gallery="people", version="v0001")
    assert not (folder / REPORT).exists()  # an earlier one went with the erasure
