"""A change of the passphrase: the same secrets under another one, whole after every kill."""

import logging
import os
import signal
import sys
import threading

import pytest

from avih.errors import IntegrityError, KeyRefused, UsageError
from avih.keys import Passphrase, Vault, open_sealed
from avih.keys.resealing import change_passphrase, plan_change
from avih.keys.store import KEY_CONTEXT
from avih.keys.unfinished import CHANGE_FILE
from avih.keys.vault import VAULT_CONTEXT
from small_keys import CHEAP, WORDS, add, make_key, make_store

NEW = Passphrase(b"another marked passphrase: 9 tin kettles")
CHANGES = {"os.rename", "os.remove", "os.link"}


@pytest.fixture
def keys(tmp_path):
    """Two keys and a vault."""
    store = make_store(tmp_path)
    for state in ("active", "compromised"):
        add(store, make_key(), state)
    Vault(store.folder, WORDS, cost=CHEAP).mac_key()
    return store


def change(keys, old=WORDS, new=NEW):
    return change_passphrase(keys.folder, old=old, new=new, actor="ada", cost=CHEAP)


def secrets(keys, passphrase):
    """All that is sealed, by file."""
    found = {}
    for path in sorted(keys.folder.glob("*.key")):
        context = VAULT_CONTEXT if path.name == "vault.key" else KEY_CONTEXT
        found[path.name] = open_sealed(path.read_bytes(), passphrase=passphrase, context=context)
    return found


def files(keys, *, sealed):
    return {
        path.name: path.read_bytes()
        for path in keys.folder.iterdir()
        if (path.suffix == ".key") == sealed and path.name != ".lock"
    }


def test_the_same_secrets_are_under_the_new_passphrase_and_nothing_else_changed(keys, caplog):
    caplog.set_level(logging.DEBUG)
    before, beside, sealed = secrets(keys, WORDS), files(keys, sealed=False), files(keys, sealed=True)
    done = change(keys)
    assert (set(done.old), done.new) == (set(before), ())
    assert secrets(keys, NEW) == before and len(before) == 3
    assert files(keys, sealed=False) == beside
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in keys.folder.glob("*.key"))
    for name in before:
        with pytest.raises(KeyRefused, match="the passphrase is wrong or the file was altered"):
            context = VAULT_CONTEXT if name == "vault.key" else KEY_CONTEXT
            open_sealed((keys.folder / name).read_bytes(), passphrase=WORDS, context=context)
    written = b"".join([*files(keys, sealed=True).values(), *sealed.values(), *beside.values()])
    hidden = [WORDS.reveal(), NEW.reveal(), before["vault.key"]]
    hidden += [
        make_store(keys.folder.parent, NEW).load(r.key_id, purpose="inspect").secret.reveal()
        for r in keys.list()
    ]
    for secret in hidden:
        assert secret not in written and secret.hex().encode() not in written
        assert secret.decode(errors="replace") not in caplog.text and secret.hex() not in caplog.text
    again = change(keys, WORDS)
    assert (again.old, set(again.new)) == ((), set(before))


def test_what_cannot_be_right_is_refused_and_nothing_is_changed(keys):
    before = files(keys, sealed=True)
    with pytest.raises(KeyRefused, match="got the old one again"):
        change(keys, new=Passphrase(WORDS.reveal()))
    with pytest.raises(KeyRefused, match="at least 8 characters"):
        change(keys, new=Passphrase(b"short"))
    with pytest.raises(KeyRefused, match="a refusal from all 3: the old one is wrong"):
        change(keys, old=Passphrase(b"not this one"))
    damaged = sorted(keys.folder.glob("*.key"))[0]
    damaged.write_bytes(before[damaged.name][:-1] + bytes([before[damaged.name][-1] ^ 1]))
    with pytest.raises(KeyRefused, match=f"a refusal from {damaged.name}. Nothing was changed"):
        change(keys)
    damaged.write_bytes(before[damaged.name][:-5])
    with pytest.raises(IntegrityError, match="truncated"):
        change(keys)
    damaged.write_bytes(before[damaged.name])
    assert files(keys, sealed=True) == before and not (keys.folder / CHANGE_FILE).exists()
    with pytest.raises(UsageError, match="Expected sealed keys"):
        change_passphrase(keys.folder / "none", old=WORDS, new=NEW, actor="ada")
    assert not (keys.folder / "none").exists()


def test_a_plan_names_the_files_and_changes_nothing(keys):
    before = files(keys, sealed=True)
    planned = plan_change(keys.folder, old=WORDS, new=None)
    assert (set(planned.old), planned.new) == (set(before), ())
    with pytest.raises(KeyRefused, match="open with the old passphrase, got"):
        plan_change(keys.folder, old=NEW, new=None)
    assert files(keys, sealed=True) == before


def killed(keys, at):
    """Change the passphrase in a fork that dies before its n-th change of a name; tell whether it died."""
    child = os.fork()
    if not child:
        left = [at]

        def hear(event, arguments):
            if event in CHANGES:
                left[0] -= 1
                if not left[0]:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hear)
        code = 1
        try:
            change(keys)
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


def test_a_kill_anywhere_leaves_whole_files_a_clear_word_and_a_change_that_can_be_finished(keys):
    before, sealed, mixed, at = secrets(keys, WORDS), files(keys, sealed=True), set(), 1
    while killed(keys, at):
        found = plan_change(keys.folder, old=WORDS, new=NEW)  # every file opens, with one of the two
        mixed.add(len(found.new))
        for passphrase, others in ((WORDS, found.new), (NEW, found.old)):
            told = {name: refusal(keys, name, passphrase) for name in others}
            begun = found.new or (keys.folder / CHANGE_FILE).exists()
            assert all(
                ("finish it with both: avih keys passphrase" in text) == bool(begun) for text in told.values()
            )
        finished = change(keys)
        assert set(finished.old) == set(found.old) and secrets(keys, NEW) == before
        assert [path.name for path in keys.folder.iterdir() if path.name.endswith(".part")] == []
        assert not (keys.folder / CHANGE_FILE).exists()
        for name, data in sealed.items():
            (keys.folder / name).write_bytes(data)
        at += 1
    assert mixed == {0, 1, 2, 3} and at > 5
    assert secrets(keys, NEW) == before


def refusal(keys, name, passphrase):
    """What is said to somebody who opens a file with the wrong one of the two passphrases."""
    with pytest.raises(KeyRefused) as refused:
        if name == "vault.key":
            Vault(keys.folder, passphrase).mac_key(create=False)
        else:
            make_store(keys.folder.parent, passphrase).load(name.removesuffix(".key"), purpose="inspect")
    return str(refused.value)


def test_a_key_that_is_added_meanwhile_is_refused_under_the_old_passphrase(keys, monkeypatch):
    import avih.keys.resealing as resealing

    late, real, told = make_key(), resealing.write_private, []
    before = files(keys, sealed=True)

    def adding():
        try:
            add(make_store(keys.folder.parent), late)
        except KeyRefused as error:
            told.append(str(error))

    other = threading.Thread(target=adding)

    def slow(path, data, **more):
        if path.name == "vault.key":  # the last of them: a process that knows the old passphrase adds a key
            monkeypatch.setattr(resealing, "write_private", real)
            other.start()
        real(path, data, **more)

    monkeypatch.setattr(resealing, "write_private", slow)
    change(keys)
    other.join(timeout=60)
    assert len(told) == 1 and "If the passphrase was changed meanwhile, give the new one" in told[0]
    assert set(files(keys, sealed=True)) == set(before)
    add(make_store(keys.folder.parent, NEW), late)
    assert f"{late.key_id}.key" in secrets(keys, NEW)
