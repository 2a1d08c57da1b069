"""A change of the passphrase: every file that is sealed under it is sealed anew, and nothing else changes.

Sealed under the passphrase are ``vault.key`` and the ``<key_id>.key`` files; veils, originals and signatures
hang on what lies in them. Each file is replaced in one step. A kill in between leaves some files under the old
passphrase and some under the new: the same call again does the rest.

The log of key states has no line for it: each of its lines is a change of one key's state, and an older avih
takes any other line for damage and uses no key.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from avih.atomic import json_bytes, remove
from avih.errors import KeyRefused, UsageError
from avih.keys.passphrase import Passphrase
from avih.keys.sealing import DEFAULT_COST, RESTORE, ScryptCost, locked, open_sealed, seal, write_private
from avih.keys.states import is_key_id, utc_now
from avih.keys.store import KEY_CONTEXT
from avih.keys.unfinished import CHANGE_FILE, unfinished_change
from avih.keys.vault import VAULT_CONTEXT, VAULT_FILE

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PassphraseChange:
    """Names of the sealed files: those that still open with the old passphrase, and those under the new one."""

    old: tuple[str, ...]
    new: tuple[str, ...]


def plan_change(folder: Path, *, old: Passphrase, new: Passphrase | None) -> PassphraseChange:
    """Open every sealed file with one of the two passphrases; changes nothing.

    Args:
        folder: the store's ``3_keys`` folder.
        old: the passphrase up to now.
        new: the one that comes next; None where it is not known yet.

    Raises:
        UsageError: there is no sealed file.
        KeyRefused: the old passphrase is wrong, or a file opens with neither.
        IntegrityError: a sealed file is damaged.
    """
    names = sorted(path.name for path in folder.glob("*.key") if is_key_id(path.stem))
    names += [VAULT_FILE] if (folder / VAULT_FILE).exists() else []
    if not names:
        raise UsageError(
            f"Expected sealed keys in {folder}, got none. Nothing is sealed here; check the store."
        )
    known = {"old": old} if new is None else {"old": old, "new": new}
    # Which is tried first only saves time: one derivation takes about half a second.
    order = sorted(known) if unfinished_change(folder) else sorted(known, reverse=True)
    found = {name: next(_opening(folder / name, [(o, known[o]) for o in order]), None) for name in names}
    if refused := [name for name, with_which in found.items() if with_which is None]:
        raise _refusal(refused, len(names), both=new is not None)
    return PassphraseChange(*(tuple(n for n in names if found[n] == which) for which in ("old", "new")))


def change_passphrase(
    folder: Path, *, old: Passphrase, new: Passphrase, actor: str, cost: ScryptCost = DEFAULT_COST
) -> PassphraseChange:
    """Seal every file anew that still opens with the old passphrase; return which those were.

    The caller keeps galleries from being worked on meanwhile.

    Raises:
        KeyRefused: the new passphrase is the old one or too short, the old one is wrong, or a file opens with
            neither; nothing was changed.
        UsageError: there is no sealed file.
        IntegrityError: a sealed file is damaged; nothing was changed.
    """
    if new == old:
        raise KeyRefused("Expected a new passphrase, got the old one again. Choose another.")
    new.require_length()
    plan_change(folder, old=old, new=new)  # before the lock, which would make the folder
    with locked(folder):
        found = plan_change(folder, old=old, new=new)
        rest = found
        if found.old:
            note = {"format": 1, "began": utc_now().isoformat(timespec="seconds"), "actor": actor}
            write_private(folder / CHANGE_FILE, json_bytes(note), replace=True)
        while rest.old:  # again: what was written is read back
            for name in rest.old:
                _reseal(folder / name, old=old, new=new, cost=cost)
            rest = plan_change(folder, old=old, new=new)
        remove(folder / CHANGE_FILE)
    logger.info("passphrase changed: %d files sealed anew, %d were before", len(found.old), len(found.new))
    return found


def _reseal(path: Path, *, old: Passphrase, new: Passphrase, cost: ScryptCost) -> None:
    context = _context(path)
    data = open_sealed(path.read_bytes(), passphrase=old, context=context, name=path.name)
    write_private(path, seal(data, passphrase=new, context=context, cost=cost), replace=True)


def _context(path: Path) -> str:
    return VAULT_CONTEXT if path.name == VAULT_FILE else KEY_CONTEXT


def _opening(path: Path, passphrases: list[tuple[str, Passphrase]]) -> Iterator[str]:
    """Yield the names of the passphrases that open a file, in this order."""
    blob = path.read_bytes()
    for which, passphrase in passphrases:
        try:
            open_sealed(blob, passphrase=passphrase, context=_context(path), name=path.name)
        except KeyRefused:
            continue
        yield which


def _refusal(refused: list[str], of: int, *, both: bool) -> KeyRefused:
    with_which = "the old passphrase or the new one" if both else "the old passphrase"
    if len(refused) == of:
        return KeyRefused(
            f"Expected the sealed files to open with {with_which}, got a refusal from all {of}: the old one is "
            "wrong. Nothing was changed; check it."
        )
    return KeyRefused(
        f"Expected all sealed files to open with {with_which}, got a refusal from {', '.join(refused)}. Nothing "
        f"was changed. Check the old passphrase, and the new one if an earlier change was cut short. If both are "
        f"right, these files were altered: {RESTORE}"
    )
