"""A small store with everything in it, and ways to damage one file at a time."""

import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from avih.keys import Passphrase
from avih.naming import Store
from small_audit import TINY, light_gallery, tiny_lab
from small_methods import Gallery, settings_of
from small_rotation import ATTACK
from tasks import opened
from tasks.attack_check import attack_check
from tasks.audit_gallery import audit_gallery
from tasks.audit_policy import PromotionPolicy, save_policy
from tasks.erased import remember_erased
from tasks.rotation_plan import RotationPlan, save_plan
from tasks.verify_store import Finding, Verification, verify_store

PASSPHRASE = Passphrase(b"correct horse battery staple")
DERIVED = (".lock", "plans.jsonl")


@cache
def full_store(root: Path) -> Gallery:
    """Two versions of one gallery with all records there can be, and a second gallery under veils.

    Made once for a folder; tests give it back as it was.
    """
    root.mkdir(exist_ok=True)
    people = light_gallery(root)
    place = people.place("v0002")
    add_photo(people)
    assert people.nightly().version == "v0002"
    with tiny_lab():
        audit_gallery(place=place, key_id=people.key_id, recovery="inverse", settings=TINY)
    attack_check(
        old=None, old_key=None, new=place, new_key=people.key_id, recovery="inverse",
        settings=ATTACK,
    )  # fmt: skip
    save_policy(people.store, "people", PromotionPolicy())
    remember_erased(
        store=people.store,
        gallery="people",
        person_mac="0" * 32,
        mac_key=opened.vault(people.store.root).mac_key(),
    )
    save_plan(people.store, RotationPlan(
        gallery="people", old_version="v0002", old_key=people.key_id, recovery="inverse", version="v0003",
        reason="a test", began="2026-01-01T00:00:00+00:00",
    ))  # fmt: skip
    people.run(gallery="veiled", settings=settings_of("person_veil", steps=1), enforce_limits=False)
    return people


def copied_store(gallery: Gallery, root: Path) -> Gallery:
    """A copy to change at will."""
    shutil.copytree(gallery.root, root / "copy")
    opened.forget()
    return Gallery(root / "copy", gallery.settings, gallery.result, orchestrated=False)


def add_photo(gallery: Gallery) -> None:
    """Let one more photo of nobody known come to the source."""
    some = next(path for path in sorted(gallery.photos.rglob("*")) if path.is_file())
    (gallery.photos / "newcomer").mkdir()
    shutil.copyfile(some, gallery.photos / "newcomer" / f"newcomer_0001{some.suffix}")


def verified(store: Store, passphrase: Passphrase | None = PASSPHRASE, **more: Any) -> Verification:
    """Verify a store."""
    return verify_store(store=store, passphrase=passphrase, **more)


def stored_files(store: Store) -> list[Path]:
    """All files of the store's stages and keys, sorted, without those that nothing depends on."""
    return sorted(
        path for path in store.root.rglob("*")
        if path.is_file() and path.relative_to(store.root).parts[0][0].isdigit() and path.name not in DERIVED
    )  # fmt: skip


def wheres(found: tuple[Finding, ...]) -> set[str]:
    """Where the findings are."""
    return {one.where for one in found}


@contextmanager
def flipped(path: Path, bit: int) -> Iterator[None]:
    """Flip one bit of a file while the block runs."""
    before = path.read_bytes()
    data = bytearray(before)
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)
    try:
        yield
    finally:
        path.write_bytes(before)


def some_bits(path: Path, count: int) -> list[int]:
    """Places in a file, the same at each call."""
    size = path.stat().st_size * 8
    return random.Random(path.name).sample(range(size), min(count, size))


@contextmanager
def moved(path: Path) -> Iterator[None]:
    """Take a file away while the block runs."""
    aside = path.with_name(".aside.part")
    path.rename(aside)
    try:
        yield
    finally:
        aside.rename(path)


def name_of(path: Path, store: Store) -> str:
    """A file's path in the store."""
    return str(path.relative_to(store.root))
