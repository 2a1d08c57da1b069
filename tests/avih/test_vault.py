import contextlib
import hashlib
import hmac
import os
import pickle
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

from avih.errors import IntegrityError, KeyRefused, UsageError
from avih.keys import vault as vault_module
from avih.keys.passphrase import Passphrase
from avih.keys.sealing import ScryptCost, open_sealed, write_sealed
from avih.keys.vault import Vault

REPOSITORY = Path(__file__).parents[2]
CHEAP = ScryptCost(log2_n=14)
WORDS = Passphrase(b"quiet copper lantern")
PHOTO = b"CANARY the bytes of a photo " * 8


def make_vault(folder, passphrase=WORDS):
    return Vault(folder, passphrase, cost=CHEAP)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "store" / "3_keys"


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    return make_vault(tmp_path_factory.mktemp("vault") / "3_keys")


def expand(secret, info, length=32):
    """HKDF-SHA256 with an empty salt, for up to 32 bytes (RFC 5869: one block)."""
    extracted = hmac.new(bytes(32), secret, hashlib.sha256).digest()
    return hmac.new(extracted, info + b"\1", hashlib.sha256).digest()[:length]


# -- sealing and opening ---------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(data=st.binary(max_size=200), name=st.text(min_size=1, max_size=12).filter(lambda t: t.isprintable()))
def test_what_was_sealed_opens_and_is_reproducible(shared, data, name):
    gallery = shared.for_gallery("lfw")
    blob = gallery.seal(data, name=name)
    assert gallery.open(blob, name=name) == data
    assert gallery.seal(data, name=name) == blob
    assert len(blob) == 25 + len(data) + 16


def test_another_process_would_make_the_same_blob(folder):
    blob = make_vault(folder).for_gallery("lfw").seal(PHOTO, name="a")
    again = make_vault(folder).for_gallery("lfw")
    assert again.seal(PHOTO, name="a") == blob
    assert again.open(blob, name="a") == PHOTO


def test_the_format_is_what_the_docstring_says(folder):
    # Independent reader: offsets, labels and nonce by hand.
    blob = make_vault(folder).for_gallery("lfw").seal(PHOTO, name="Ann_0001")
    master = open_sealed((folder / "vault.key").read_bytes(), passphrase=WORDS, context="avih vault")
    assert len(master) == 32
    assert blob[:5] == b"AVIO\x01"
    assert blob[5:13] == expand(master, b"avih/vault/vault id v1", 8)
    message = b"Ann_0001\0" + hashlib.sha256(PHOTO).digest()
    assert (
        blob[13:25]
        == hmac.new(expand(master, b"avih/vault/lfw/nonce v1"), message, hashlib.sha256).digest()[:12]
    )
    cipher = AESGCM(expand(master, b"avih/vault/lfw/data v1"))
    assert cipher.decrypt(blob[13:25], blob[25:], blob[:13] + b"lfw/Ann_0001") == PHOTO


def test_name_data_and_gallery_each_change_the_nonce(shared):
    one = shared.for_gallery("lfw").seal(PHOTO, name="a")
    others = [
        shared.for_gallery("lfw").seal(PHOTO, name="b"),
        shared.for_gallery("lfw").seal(PHOTO + b".", name="a"),
        shared.for_gallery("lfx").seal(PHOTO, name="a"),
    ]
    assert len({blob[13:25] for blob in [one, *others]}) == 4


def test_an_original_opens_only_in_its_own_place(shared):
    blob = shared.for_gallery("lfw").seal(PHOTO, name="a")
    for gallery, name in [("lfw", "b"), ("lfx", "a"), ("lfw", "a "), ("lf", "w/a")]:
        with pytest.raises(IntegrityError, match="another image or gallery"):
            shared.for_gallery(gallery).open(blob, name=name)


def test_every_flipped_bit_and_every_truncation_is_refused(shared):
    gallery = shared.for_gallery("lfw")
    blob = gallery.seal(b"photo", name="a")
    for position in range(len(blob) * 8):
        altered = bytearray(blob)
        altered[position // 8] ^= 1 << position % 8
        with pytest.raises(IntegrityError):
            gallery.open(bytes(altered), name="a")
    for length in range(len(blob)):
        with pytest.raises(IntegrityError):
            gallery.open(blob[:length], name="a")
    with pytest.raises(IntegrityError):
        gallery.open(blob + b"\0", name="a")


def test_a_newer_version_is_named(shared):
    blob = shared.for_gallery("lfw").seal(PHOTO, name="a")
    with pytest.raises(IntegrityError, match=r"format 2.*newer avih"):
        shared.for_gallery("lfw").open(blob[:4] + b"\x02" + blob[5:], name="a")


def test_an_original_of_another_vault_is_named(shared, folder):
    blob = make_vault(folder).for_gallery("lfw").seal(PHOTO, name="a")
    with pytest.raises(IntegrityError, match="another vault"):
        shared.for_gallery("lfw").open(blob, name="a")


def test_bad_names_are_refused(shared):
    with pytest.raises(UsageError, match="gallery name"):
        shared.for_gallery("LFW/gray")
    with pytest.raises(UsageError, match="name of an image"):
        shared.for_gallery("lfw").seal(PHOTO, name="")


# -- the master key --------------------------------------------------------------------------------------


def test_the_vault_is_made_on_first_use_and_private(folder):
    vault = make_vault(folder)
    assert not folder.exists()
    before = os.umask(0)
    try:
        vault.for_gallery("lfw").seal(PHOTO, name="a")
    finally:
        os.umask(before)
    assert [path.name for path in folder.iterdir()] == ["vault.key"]
    assert stat.S_IMODE((folder / "vault.key").stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_opening_never_makes_a_vault(folder, shared):
    blob = shared.for_gallery("lfw").seal(PHOTO, name="a")
    with pytest.raises(IntegrityError, match=r"vault\.key.*backup"):
        make_vault(folder).for_gallery("lfw").open(blob, name="a")
    with pytest.raises(IntegrityError, match=r"vault\.key.*backup"):
        make_vault(folder).mac_key(create=False)
    assert not folder.exists()


def test_a_wrong_or_short_passphrase_is_refused(folder):
    with pytest.raises(KeyRefused, match="8 characters"):
        make_vault(folder, Passphrase(b"short")).mac_key()
    make_vault(folder).mac_key()
    with pytest.raises(KeyRefused, match="passphrase is wrong or"):
        make_vault(folder, lambda: Passphrase(b"another passphrase")).mac_key()


def test_a_key_file_is_no_vault(folder):
    write_sealed(folder / "vault.key", bytes(32), passphrase=WORDS, context="avih key", cost=CHEAP)
    with pytest.raises(KeyRefused):
        make_vault(folder).mac_key()


def test_the_mac_key_is_fixed_and_its_own(folder):
    vault = make_vault(folder)
    mac_key = vault.mac_key()
    master = open_sealed((folder / "vault.key").read_bytes(), passphrase=WORDS, context="avih vault")
    assert mac_key == expand(master, b"avih/vault/manifest mac v1")
    assert make_vault(folder).mac_key(create=False) == mac_key
    assert mac_key not in (master, vault.subkey("lfw/data v1", create=False))


MAKER = """
import hashlib, sys
from pathlib import Path
from avih.keys import Passphrase, ScryptCost, Vault
vault = Vault(Path(sys.argv[1]), Passphrase(b"quiet copper lantern"), cost=ScryptCost(log2_n=14))
print("ready", flush=True)
sys.stdin.readline()
print(hashlib.sha256(vault.mac_key()).hexdigest())
"""


def test_processes_that_make_the_vault_at_once_get_the_same_one(folder):
    makers = [
        subprocess.Popen(
            [sys.executable, "-c", MAKER, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        )
        for _ in range(3)
    ]
    for maker in makers:
        assert maker.stdout.readline() == "ready\n"
    for maker in makers:
        maker.stdin.write("go\n")
        maker.stdin.flush()
    made = {maker.communicate(timeout=60)[0].strip() for maker in makers}
    assert made == {hashlib.sha256(make_vault(folder).mac_key(create=False)).hexdigest()}
    assert [path.name for path in folder.iterdir()] == ["vault.key"]


def test_the_slower_maker_takes_the_vault_that_is_there(folder, monkeypatch):
    def overtaken(path, data, **keywords):
        original(path, b"the faster process's master key.", **keywords)
        original(path, data, **keywords)

    original = vault_module.write_sealed
    monkeypatch.setattr(vault_module, "write_sealed", overtaken)
    assert make_vault(folder).mac_key() == expand(
        b"the faster process's master key.", b"avih/vault/manifest mac v1"
    )


# -- secrecy ---------------------------------------------------------------------------------------------


def test_nothing_secret_is_in_files_blobs_or_texts(folder, caplog):
    caplog.set_level("DEBUG")
    vault = make_vault(folder)
    gallery = vault.for_gallery("lfw")
    blob = gallery.seal(PHOTO, name="a")
    master = open_sealed((folder / "vault.key").read_bytes(), passphrase=WORDS, context="avih vault")
    texts = [repr(vault), repr(gallery), str(vars(vault)), caplog.text]
    for part in (vault, gallery):
        with pytest.raises(TypeError) as caught:
            pickle.dumps(part)
        texts.append(repr(caught.value))
    with contextlib.suppress(IntegrityError):
        gallery.open(blob, name="b")
    everything = blob + (folder / "vault.key").read_bytes() + "\n".join(texts).encode()
    canaries = [master, master.hex().encode(), str(master).encode(), PHOTO[:16], b"copper", vault.mac_key()]
    assert [canary for canary in canaries if canary in everything] == []
