"""A gallery's policy: no version goes live without the audit it asks for, whoever promotes it."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from avih.errors import IntegrityError, QualityBelowLimits
from avih.gallery import read_history
from avih.keys import Vault
from avih.lab.runner import Audit
from avih.lab.settings import PROFILES
from avih.lab.subject import draw_parts
from avih.shards import read_done
from flows.cli import lab as lab_commands  # noqa: F401  # it registers its commands
from flows.cli.main import app
from small_audit import TINY, copied, from_source, light_gallery, tiny_lab
from small_methods import Gallery
from tasks import audit_gallery as auditing
from tasks import opened
from tasks.audit_policy import PromotionPolicy, read_policy, save_policy
from tasks.audit_subject import read_subject
from tasks.promotion import audit_gate, promote_version
from tasks.protect_shard import protected_address
from unorchestrated import without_prefect


@pytest.fixture(scope="module")
def light(tmp_path_factory: pytest.TempPathFactory) -> Gallery:
    """A live version, and a night's version that waits for the audit that the policy asks for."""
    gallery = light_gallery(tmp_path_factory.mktemp("light"))
    ask(gallery, require_audit="pass", automatic=False)
    some, other = (sorted((gallery.photos / name).iterdir())[0] for name in ("person_0040", "person_0041"))
    shutil.copy(other, some.with_name("another.png"))
    with pytest.raises(
        QualityBelowLimits, match=r"none of this version; run avih lab people --version v0002\."
    ):
        gallery.nightly()
    return gallery


@pytest.fixture(scope="module")
def found(light: Gallery) -> Audit:
    """A real audit."""
    with tiny_lab():
        subject = read_subject(place=light.place("v0002"), key_id=light.key_id, recovery="inverse", most=100,
                               consenting=False, data="")  # fmt: skip
        return auditing.audit(subject=subject, settings=TINY)


@pytest.fixture
def copy(light: Gallery, tmp_path: Path) -> Gallery:
    return copied(light, tmp_path)


@pytest.fixture(autouse=True)
def lab(found: Audit):
    """What audits say from now on, in place of what they would find; and how many there were."""
    said = SimpleNamespace(verdict="pass", audits=0)

    def audit(**given: object) -> Audit:
        said.audits += 1
        draw_parts(given["subject"], targets=2, leaked=4)
        return Audit(found.result.model_copy(update={"verdict": said.verdict}), ())

    with tiny_lab() as patch:
        patch.setattr(auditing, "audit", audit)
        yield said


def audit(gallery: Gallery, version: str, **more: object):
    place = gallery.place(version)
    given = {"key_id": gallery.key_id, "recovery": "inverse", "settings": TINY, "place": place}
    return auditing.audit_gallery(**given | more)


def current(gallery: Gallery) -> str:
    mac_key = Vault(gallery.store.keys).mac_key()
    return read_history(store=gallery.store, gallery="people", mac_key=mac_key).current.version


def ask(gallery: Gallery, **policy: object) -> PromotionPolicy:
    return save_policy(gallery.store, "people", PromotionPolicy(**policy))


def promoted(gallery: Gallery, version: str, **more: object) -> None:
    promote_version(place=gallery.place(version), key_id=gallery.key_id, actor="test", reason="test", **more)


def test_without_an_audit_nothing_goes_live_with_one_it_does(copy, lab):
    with pytest.raises(QualityBelowLimits, match="avih lab people --version v0002"):
        promoted(copy, "v0002")
    with pytest.raises(QualityBelowLimits, match="v0001 keeps serving"):
        copy.nightly()
    assert (current(copy), lab.audits) == ("v0001", 0)
    audit(copy, "v0002")
    assert copy.nightly().version == "v0002" == current(copy)
    assert lab.audits == 1 and copy.nightly().changed_anything is False


def test_nights_audit_their_versions_where_the_policy_says_so(copy, lab):
    ask(copy, require_audit="warn")
    lab.verdict = "fail"
    with pytest.raises(QualityBelowLimits, match="the audit says: fail"):
        copy.nightly()
    assert (current(copy), lab.audits) == ("v0001", 1)
    shutil.rmtree(copy.store.folder("audited", gallery="people", version="v0002"))
    lab.verdict = "warn"
    assert copy.nightly().version == "v0002" == current(copy)
    assert lab.audits == 2


@pytest.mark.parametrize(
    ("required", "said", "live"),
    [("pass", "pass", True), ("pass", "warn", False), ("pass", "fail", False), ("warn", "warn", True),
     ("warn", "fail", False), ("warn", "attack too weak", False), ("none", "fail", True)],
)  # fmt: skip
def test_only_a_good_verdict_goes_live(copy, lab, required, said, live):
    ask(copy, require_audit=required)
    lab.verdict = said
    audit(copy, "v0002")
    if live:
        promoted(copy, "v0002")
    else:
        with pytest.raises(QualityBelowLimits, match=f"the audit says: {said}; run avih lab"):
            promoted(copy, "v0002")
    assert current(copy) == ("v0002" if live else "v0001")


def gate(gallery: Gallery) -> str:
    opened.forget()
    return "; ".join(audit_gate(place=gallery.place("v0002"), key_id=gallery.key_id))


def test_an_audit_counts_only_for_what_is_stored_now_with_the_profile_s_settings(copy, monkeypatch):
    audit(copy, "v0002", settings=TINY.model_copy(update={"seed": 1}))
    assert "not a whole one of the profile quick" in gate(copy)
    audit(copy, "v0002")
    assert not gate(copy)
    with monkeypatch.context() as patch:
        patch.setattr("tasks.audit_policy.__version__", "999")
        assert "and this is 999" in gate(copy)
    with monkeypatch.context() as patch:
        patch.setattr("avih.lab.registry.NAMES", ("same_key_network", "another"))
        assert "not a whole one" in gate(copy)
    ask(copy, require_audit="pass", profile="full", automatic=False)
    assert gate(copy).endswith("run avih lab people --version v0002 --profile full")
    monkeypatch.setitem(PROFILES, "full", TINY)
    assert not gate(copy)
    done = copy.store.folder("protected", gallery="people", version="v0002", key_id=copy.key_id)
    first = sorted(done.glob("*.done.json"))[0]
    other = read_done(copy.store, protected_address(copy.place("v0002"), copy.key_id, 0))
    first.write_bytes(other.model_copy(update={"settings_sha256": "0" * 64}).to_bytes())
    assert "not what is stored now" in gate(copy)


def test_the_current_version_and_a_rollback_need_no_audit(copy, lab):
    ask(copy, require_audit="none")
    promoted(copy, "v0002")
    ask(copy, require_audit="pass", automatic=False)
    promoted(copy, "v0002")
    with pytest.raises(QualityBelowLimits, match="v0002 keeps serving"):
        promoted(copy, "v0001")
    promoted(copy, "v0001", again=True)
    assert (current(copy), lab.audits) == ("v0001", 0)


def test_a_gallery_too_small_to_be_audited_is_refused_with_the_reason(copy):
    ask(copy, require_audit="pass")
    from_source(copy, str(copy.photos))
    for person in ("person_0041", "person_0042"):
        shutil.rmtree(copy.photos / person)
    with pytest.raises(QualityBelowLimits, match="Expected at least 4 persons"):
        copy.nightly()
    assert current(copy) == "v0001"


def test_the_policy_is_signed_and_bound_to_its_gallery(copy):
    assert read_policy(copy.store, "nobody") == PromotionPolicy()
    policy = ask(copy, require_audit="warn", profile="full")
    assert read_policy(copy.store, "people") == policy
    path = copy.store.policy("people")
    other = copy.store.policy("others")
    other.parent.mkdir(parents=True)
    shutil.copy(path, other)
    with pytest.raises(IntegrityError, match="policy of others"):
        read_policy(copy.store, "others")
    path.write_text(path.read_text().replace('"warn"', '"none"'))
    with pytest.raises(IntegrityError, match="altered"):
        read_policy(copy.store, "people")
    with pytest.raises(IntegrityError, match="altered"):
        promoted(copy, "v0002")
    path.write_text("{}")
    with pytest.raises(IntegrityError, match="damaged"):
        read_policy(copy.store, "people")
    with pytest.raises(ValidationError):
        PromotionPolicy(require_audit="sometimes")


def call(gallery: Gallery, *more: str):
    opened.forget()
    with without_prefect():
        return CliRunner().invoke(app, [*more, "--store", str(gallery.store.root)])


def test_the_command_sets_and_shows_the_policy_and_promote_obeys_it(copy):
    shown = call(copy, "gallery", "policy", "people", "--require-audit", "warn", "--by-hand", "--json")
    wanted = {"gallery": "people", "require_audit": "warn", "profile": "quick", "automatic": False}
    assert json.loads(shown.stdout) == wanted
    assert json.loads(call(copy, "gallery", "policy", "people", "--json").stdout) == wanted
    refused = call(copy, "gallery", "promote", "people", "v0002")
    assert refused.exit_code == 4 and "avih lab people --version v0002" in " ".join(refused.stderr.split())
    assert call(copy, "lab", "people", "--version", "v0002", "--json").exit_code == 0
    assert call(copy, "gallery", "promote", "people", "v0002").exit_code == 0
    assert call(copy, "gallery", "rollback", "people").exit_code == 0 and current(copy) == "v0001"


def test_a_policy_may_wait_for_the_first_run_and_wrong_words_are_told(copy):
    waiting = call(copy, "gallery", "policy", "staff", "--require-audit", "warn", "--json")
    assert waiting.exit_code == 0 and "no gallery staff yet" in " ".join(waiting.stderr.split())
    assert read_policy(copy.store, "staff").require_audit == "warn"
    unknown = call(copy, "gallery", "policy", "nobody")
    assert unknown.exit_code == 2 and "there are: people" in " ".join(unknown.stderr.split())
    wrong = call(copy, "gallery", "policy", "people", "--require-audit", "always")
    assert wrong.exit_code == 2 and "--require-audit" in wrong.stderr and "'always'" in wrong.stderr
