"""Key states and the changes between them, after NIST SP 800-57 Part 1 Rev. 5, section 7."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

from avih.errors import KeyRefused, UsageError

_KEY_ID: Final = re.compile(r"[0-9a-f]{16}")


class State(StrEnum):
    """The six states of a key."""

    PRE_ACTIVATION = "pre_activation"
    ACTIVE = "active"
    SUSPENDED = "suspended"
    DEACTIVATED = "deactivated"
    COMPROMISED = "compromised"
    DESTROYED = "destroyed"


# Every allowed change and why. Left out on purpose, though SP 800-57 has them for keys that only protect:
# active -> destroyed and suspended -> destroyed (its transitions 5 and 9). Galleries may still need this key
# to come back, so a key is deactivated first, and destroying it is a second decision. Also left out:
# pre_activation -> deactivated or suspended (a key that never protected anything has no period to end or
# interrupt) and every way back to active but from suspended (what was ended or known to others stays so).
TRANSITIONS: Final[Mapping[tuple[State, State], str]] = {
    (State.PRE_ACTIVATION, State.ACTIVE): "the key is put to use",
    (State.PRE_ACTIVATION, State.COMPROMISED): "others may have the key before its first use",
    (State.PRE_ACTIVATION, State.DESTROYED): "the key will not be needed; nothing depends on it",
    (State.ACTIVE, State.SUSPENDED): "a suspicion is looked into; no new pictures meanwhile",
    (State.ACTIVE, State.DEACTIVATED): "the key is replaced or its time is over",
    (State.ACTIVE, State.COMPROMISED): "others have the key, or enough pairs to undo it",
    (State.SUSPENDED, State.ACTIVE): "the suspicion was unfounded",
    (State.SUSPENDED, State.DEACTIVATED): "the key was replaced while it rested",
    (State.SUSPENDED, State.COMPROMISED): "the suspicion was right",
    (State.DEACTIVATED, State.COMPROMISED): "the leak came to light after the key's time",
    (State.DEACTIVATED, State.DESTROYED): "no gallery needs the key any more",
    # SP 800-57 once had a seventh state, destroyed-compromised. Here the log itself tells that a destroyed
    # key had been compromised; destroyed is the end, and what is learnt later belongs in an incident report.
    (State.COMPROMISED, State.DESTROYED): "no gallery needs the key any more",
}


def utc_now() -> datetime:
    """Return the time now, UTC."""
    return datetime.now(UTC)


def may_protect(state: State) -> bool:
    """Tell whether a key in this state may protect new pictures: only an active one."""
    return state is State.ACTIVE


def may_recover(state: State) -> bool:
    """Tell whether a key in this state may bring pictures back.

    Every state in which it may have protected something: recovery gives the owner back what is the owner's
    and adds no new risk, even under a compromised key (moving away from it needs recovery). SP 800-57 leaves
    it to the owner for a suspended key. Before activation a key protected nothing; a destroyed one is gone.
    """
    return state in (State.ACTIVE, State.SUSPENDED, State.DEACTIVATED, State.COMPROMISED)


def parse_state(text: str) -> State:
    """Return the state called ``text``.

    Raises:
        UsageError: there is no such state.
    """
    try:
        return State(text)
    except ValueError:
        raise UsageError(f"Expected a key state of {', '.join(State)}, got {text!r}.") from None


def check_transition(key_id: str, origin: State | None, to: State) -> None:
    """Check one change of state; ``origin`` is None for a key the log does not know yet.

    Raises:
        KeyRefused: the change is not allowed.
    """
    if origin is None:
        if to is not State.PRE_ACTIVATION:
            raise KeyRefused(f"Expected key {key_id} to begin in pre_activation, got {to}. Add it first.")
    elif (origin, to) not in TRANSITIONS:
        allowed = ", ".join(target for source, target in TRANSITIONS if source is origin) or "none, final"
        raise KeyRefused(f"Expected a state that may follow {origin} for key {key_id} ({allowed}), got {to}.")


def check_actor(*, actor: str, reason: str) -> None:
    """Check that a change of state says who makes it and why.

    Raises:
        UsageError: one of them is empty.
    """
    if not actor.strip() or not reason.strip():
        raise UsageError(
            "Expected an actor and a reason for the key's log, got an empty one. Say who and why."
        )


def is_key_id(text: str) -> bool:
    """Tell whether a text is a whole key id; only then may it become part of a file name."""
    return _KEY_ID.fullmatch(text) is not None
