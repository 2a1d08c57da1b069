"""``avih keys passphrase``: afterwards everything works with the new passphrase, and nothing with the old one."""

import getpass
import json
import sys

import pytest
from typer.testing import CliRunner

import flows.cli.keys  # noqa: F401  # registers the commands
from avih.errors import KeyRefused, StoreUnreachable
from avih.keys import Passphrase, Vault, forget_prompt
from avih.keys.unfinished import CHANGE_FILE
from avih.mirror.names import is_shared
from avih.naming import Store
from flows.cli.main import app
from read_back import secrets_of, told
from s3_server import BUCKET, client
from small_audit import copied, from_source
from small_store import add_photo, verified
from tasks import opened
from tasks.drill_gallery import drill_gallery
from tasks.gallery_lock import gallery_lock
from tasks.passphrase_change import change_store_passphrase

OLD, NEW = "correct horse battery staple", "another marked passphrase: 9 tin kettles"
WORDS = Passphrase(NEW.encode())


@pytest.fixture
def gallery(light, tmp_path):
    made = copied(light, tmp_path)
    from_source(made, str(made.photos))
    yield made
    opened.forget()


def avih(store, *more, **environment):
    opened.forget()
    return CliRunner().invoke(
        app,
        ["keys", "passphrase", "--store", str(store.root), *more],
        env={"AVIH_ACTOR": "ada", **environment},
    )


def sealed(store):
    return {path.name: path.read_bytes() for path in store.keys.glob("*.key")}


def test_nights_drills_and_verify_go_on_with_the_new_passphrase_alone(gallery, tmp_path, monkeypatch):
    store, names = gallery.store, {f"{gallery.key_id}.key", "vault.key"}
    records = {
        path: path.read_bytes() for path in store.root.rglob("*") if path.is_file() and path.suffix != ".key"
    }
    (tmp_path / "new").write_text(NEW + "\n")
    (tmp_path / "new").chmod(0o600)
    done = avih(store, "--json", AVIH_NEW_KEY_FILE=str(tmp_path / "new"))
    assert done.exit_code == 0, done.stderr
    facts = json.loads(done.stdout)
    assert (set(facts["sealed_anew"]), facts["already_new"], facts["dry_run"]) == (names, [], False)
    assert {path: path.read_bytes() for path in records if path.name != ".lock"} == {
        path: data for path, data in records.items() if path.name != ".lock"
    }
    opened.forget()
    with pytest.raises(KeyRefused):
        verified(store)
    with pytest.raises(KeyRefused):
        gallery.nightly()
    monkeypatch.setenv("AVIH_PASSPHRASE", NEW)
    opened.forget()
    assert verified(store, WORDS).ok
    add_photo(gallery)
    assert gallery.nightly().version == "v0002"
    drill = drill_gallery(place=gallery.place("v0002"), key_id=gallery.key_id, recovery="inverse", sample=3,
                          threshold=0.9)  # fmt: skip
    assert drill.passed and verified(store, WORDS).ok
    hidden = secrets_of(store, NEW, gallery.photos)
    hidden.hide("old passphrase", OLD.encode())
    written = [path for path in store.root.rglob("*") if path.is_file() and "owner" not in path.parts]
    assert told(hidden, written) == {}
    assert not hidden.in_bytes((done.stdout + done.stderr).encode())


def test_a_dry_run_names_the_files_and_asks_for_no_new_passphrase(gallery):
    before = sealed(gallery.store)
    for environment in ({}, {"AVIH_NEW_PASSPHRASE": NEW}):
        planned = avih(gallery.store, "--dry-run", "--json", **environment)
        assert planned.exit_code == 0, planned.stderr
        assert set(json.loads(planned.stdout)["sealed_anew"]) == set(before)
    shown = avih(gallery.store, "--dry-run")
    assert "nothing was changed (--dry-run)" in " ".join(shown.stdout.split()) and "vault.key" in shown.stdout
    assert sealed(gallery.store) == before


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"AVIH_NEW_PASSPHRASE": OLD}, "got the old one again"),
        ({"AVIH_NEW_PASSPHRASE": "short"}, "at least 8 characters"),
        ({"AVIH_NEW_PASSPHRASE": NEW, "AVIH_PASSPHRASE": "not this one"}, "the old one is wrong"),
        ({"AVIH_NEW_PASSPHRASE": NEW, "AVIH_NEW_KEY_FILE": "/x"}, "Expected one of AVIH_NEW_PASSPHRASE and"),
        ({"AVIH_NEW_KEY_FILE": "/nowhere"}, "Expected a readable file in AVIH_NEW_KEY_FILE"),
        ({}, "Set AVIH_NEW_PASSPHRASE, or name a key file"),
    ],
)
def test_what_cannot_be_right_is_refused_with_what_to_do(gallery, environment, said):
    before = sealed(gallery.store)
    refused = avih(gallery.store, **environment)
    assert refused.exit_code == 3 and said in " ".join(refused.stderr.split())
    assert NEW not in refused.stderr and "not this one" not in refused.stderr
    assert sealed(gallery.store) == before


def test_while_somebody_works_on_a_gallery_nothing_is_changed(gallery):
    before = sealed(gallery.store)
    lock = gallery.store.gallery_root("index", "people") / ".lock"
    opened.forget()
    with gallery_lock(gallery.store, "people", purpose="a night"):
        # As another process would: the lock of this one may be taken again.
        from tasks import gallery_lock as module

        module._held[str(lock)] -= 1
        try:
            busy = avih(gallery.store, AVIH_NEW_PASSPHRASE=NEW)
        finally:
            module._held[str(lock)] += 1
    assert busy.exit_code == 1 and "a night by process" in " ".join(busy.stderr.split())
    assert sealed(gallery.store) == before


def test_a_prompt_asks_for_the_new_one_twice(gallery, monkeypatch):
    answers = [OLD, NEW, "a mistyped one", OLD, NEW, NEW]
    monkeypatch.delenv("AVIH_PASSPHRASE")
    monkeypatch.setattr(getpass, "getpass", lambda question: answers.pop(0))

    class Terminal:
        def isatty(self):
            return True

    from avih.keys.passphrase import find_new_passphrase, find_passphrase

    monkeypatch.setattr(sys, "stdin", Terminal())
    forget_prompt()
    assert find_passphrase().reveal() == OLD.encode()
    with pytest.raises(KeyRefused, match="twice, got two different ones"):
        find_new_passphrase()
    forget_prompt()
    change_store_passphrase(
        store=gallery.store, old=find_passphrase(), new=find_new_passphrase(), actor="ada"
    )
    forget_prompt()
    assert answers == [] and verified(gallery.store, WORDS).ok


def test_a_change_that_was_cut_short_is_told_and_finished_on_s3(shared, gallery):
    for path in gallery.store.root.rglob("*"):
        name = path.relative_to(gallery.store.root).as_posix()
        if path.is_file() and is_shared(name):
            client(shared.server.url).put_object(
                Bucket=BUCKET, Key=f"{shared.prefix}/{name}", Body=path.read_bytes()
            )

    def change(store: Store):
        return change_store_passphrase(store=store, old=Passphrase(OLD.encode()), new=WORDS, actor="ada")

    a = shared.open("a")
    shared.line.before = lambda request: request.startswith("PUT ") and request.endswith("/vault.key")
    with pytest.raises(StoreUnreachable):
        change(a)
    shared.line.mend()
    b = shared.open("b")
    assert (b.keys / CHANGE_FILE).exists()
    with pytest.raises(KeyRefused, match="finish it with both: avih keys passphrase"):
        Vault(b.keys, WORDS).mac_key(create=False)  # what lies on S3 is still the old vault
    found = verified(b)
    assert not found.ok and any("has not ended" in one.says for one in found.problems)
    a = shared.open("a")
    change(a)
    b = shared.open("b")
    opened.forget()
    assert verified(b, WORDS).ok and not (b.keys / CHANGE_FILE).exists()
    with pytest.raises(KeyRefused, match="the passphrase is wrong"):
        verified(b)


def test_the_new_passphrase_is_not_handed_on_to_programs_that_need_none(monkeypatch):
    from flows.server.dask import scheduler_environment

    for name in ("AVIH_PASSPHRASE", "AVIH_KEY_FILE", "AVIH_NEW_PASSPHRASE", "AVIH_NEW_KEY_FILE"):
        monkeypatch.setenv(name, NEW)
    assert NEW not in scheduler_environment().values()
