"""Every kind of bad input gets its named error or reason, within its memory, and touches nothing else."""

from collections import Counter
from pathlib import Path

import pytest

from avih.errors import UsageError
from benchmarks.bad_inputs.kind import BOUND_MIB, BadInput, try_in_own_folder
from benchmarks.bad_inputs.trying import all_kinds, bombs_in_a_process

QUIET = [kind for kind in all_kinds() if not kind.bomb]


@pytest.mark.parametrize("kind", QUIET, ids=lambda kind: f"{kind.door}, {kind.name}")
def test_it_is_named_and_nothing_else_is_touched(kind: BadInput) -> None:
    trial = try_in_own_folder(kind)
    assert trial.survived, (trial.problem, trial.said)


def test_what_is_made_to_fill_memory_does_not() -> None:
    trials = bombs_in_a_process()
    assert len(trials) > 30
    assert [(trial.name, trial.problem) for trial in trials if not trial.survived] == []


def test_there_are_many_kinds_by_every_door_and_no_two_have_one_name() -> None:
    assert max(Counter((kind.door, kind.name) for kind in all_kinds()).values()) == 1
    doors = Counter(kind.door for kind in all_kinds())
    assert (
        min(doors[door] for door in ("photo", "archive", "weights", "card", "key", "record", "table")) >= 20
    )
    assert doors["settings"] >= 20 and doors["command line"] >= 20 and len(all_kinds()) >= 60


# The trial itself finds what it is there to find.


def _nothing(_: Path) -> None:
    return None


def _bare(_: Path, __: object) -> tuple[str, str]:
    raise KeyError("x")


def _escape(folder: Path, _: object) -> tuple[str, str]:
    (folder.parent / "ran").touch()
    raise UsageError("Expected nothing.")


def _spoil(folder: Path, _: object) -> tuple[str, str]:
    (folder.parent / "beside").write_bytes(b"")
    raise UsageError("Expected nothing.")


def _hold(_: Path, __: object) -> tuple[str, str]:
    held = bytearray(2**20 * (BOUND_MIB + 50))
    raise UsageError(f"Expected nothing, got {len(held)}.")


def _say(words: str):
    def say(_: Path, __: object) -> tuple[str, str]:
        raise UsageError(words)

    return say


@pytest.mark.parametrize(
    ("take", "expected", "problem"),
    [
        (_bare, "KeyError", "not one of avih's errors"),
        (_escape, "UsageError", "outside its folder"),
        (_spoil, "UsageError", "outside its folder"),
        (_hold, "UsageError", "memory rose"),
        (_say("Expected nothing."), "IntegrityError", "expected IntegrityError"),
        (_say(" "), "UsageError", "without a word"),
        (lambda _, __: ("read", ""), "UsageError", "got read"),
    ],
)
def test_a_trial_finds_what_went_wrong(take, expected, problem) -> None:
    trial = try_in_own_folder(BadInput("x", "photo", expected, _nothing, take))
    assert not trial.survived and problem in trial.problem
    good = try_in_own_folder(BadInput("x", "photo", "UsageError", _nothing, _say("Expected nothing.")))
    assert good.survived
