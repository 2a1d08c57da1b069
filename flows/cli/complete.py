"""What the shell completes after Tab: names from the store, without a passphrase; nothing where there is none.

Each press of Tab is a process of its own, so nothing is imported that takes long: names of files tell enough.
"""

import functools
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from avih.naming import Store

Finder = Callable[[typer.Context, str], Iterable[str]]


def _quietly(find: Finder) -> Callable[[typer.Context, str], list[str]]:
    """Keep what begins like the word; a message among the completions would help nobody."""

    @functools.wraps(find)
    def complete(ctx: typer.Context, incomplete: str) -> list[str]:
        try:
            return sorted(name for name in find(ctx, incomplete) if name.startswith(incomplete))
        except Exception:
            return []

    return complete


def _store(ctx: typer.Context) -> "Store":
    """Find the store that the line names so far; one elsewhere is seen as its working copy was last."""
    from avih.naming import Store

    return Store.find(ctx.params.get("store") or os.environ.get("AVIH_STORE"))


@_quietly
def complete_galleries(ctx: typer.Context, incomplete: str) -> Iterable[str]:
    """Complete the name of a gallery."""
    return _store(ctx).galleries()


@_quietly
def complete_versions(ctx: typer.Context, incomplete: str) -> Iterable[str]:
    """Complete a version of the gallery that the line names."""
    store, gallery = _store(ctx), ctx.params.get("gallery")
    galleries = [gallery] if gallery else store.galleries()
    return {version for name in galleries for version in store.versions(name)}


@_quietly
def complete_keys(ctx: typer.Context, incomplete: str) -> Iterable[str]:
    """Complete the id of a key."""
    return (path.stem for path in _store(ctx).keys.glob("*.json") if "." not in path.stem)


@_quietly
def complete_cards(ctx: typer.Context, incomplete: str) -> Iterable[str]:
    """Complete a recogniser's card: one that comes with avih, or a file."""
    import avih

    cards = Path(avih.__file__).parent / "recognisers" / "cards"  # importing that package would load torch
    typed = Path(incomplete)
    folder = typed if incomplete.endswith("/") else typed.parent
    names = {str(path) + ("/" if path.is_dir() else "") for path in folder.iterdir()}
    own = (name for name in names if name.endswith((".toml", "/")))
    return {path.stem for path in cards.glob("*.toml")} | (set(own) if incomplete else set())


@_quietly
def complete_methods(ctx: typer.Context, incomplete: str) -> Iterable[str]:
    """Complete the name of a protection method."""
    from avih.methods.registry import METHODS

    return METHODS


@_quietly
def complete_attacks(ctx: typer.Context, incomplete: str) -> Iterable[str]:
    """Complete the name of an attack of the lab."""
    import avih

    attacks = Path(avih.__file__).parent / "lab" / "attacks"  # importing the registry would load torch
    return (path.stem for path in attacks.glob("[!_]*.py"))


def complete_words(*words: str) -> Callable[[typer.Context, str], list[str]]:
    """Complete one of a few words."""

    def found(ctx: typer.Context, incomplete: str) -> Iterable[str]:
        return words

    return _quietly(found)
