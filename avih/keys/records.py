"""The public record of a key, ``<key_id>.json``: what everybody who may read the folder may know of it."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from avih.errors import IntegrityError, UsageError
from avih.json_text import read_json
from avih.keys.key import RecipeValue
from avih.keys.sealing import write_private
from avih.keys.states import State

SHORTEST_PREFIX: Final = 4
REBUILD: Final = "Write it anew, which needs the passphrase: avih keys rebuild-record KEY_ID"
_RECORD_FORMAT: Final = 1


@dataclass(frozen=True)
class KeyRecord:
    """What everybody who may read the folder may know of a key; ``state`` comes from the log."""

    key_id: str
    created: datetime
    architecture: str
    parameters: int
    recovery: str
    created_by: str
    recipe: dict[str, RecipeValue]
    state: State

    def public(self) -> dict[str, Any]:
        """Return the record as plain values, for JSON; the state is left to the log."""
        return {
            "format": _RECORD_FORMAT,
            "key_id": self.key_id,
            "created": self.created.isoformat(),
            "architecture": self.architecture,
            "parameters": self.parameters,
            "recovery": self.recovery,
            "created_by": self.created_by,
            "recipe": self.recipe,
        }


def write_record(folder: Path, public: dict[str, Any]) -> None:
    """Write a record, or leave what was there."""
    write_private(folder / f"{public['key_id']}.json", record_bytes(public), replace=True)


def record_bytes(public: dict[str, Any]) -> bytes:
    """Return the file of a record, byte for byte."""
    return (json.dumps(public, sort_keys=True, indent=2) + "\n").encode()


def read_record(folder: Path, key_id: str, state: State) -> KeyRecord:
    """Read the record of a key in the state that the log gives.

    Raises:
        IntegrityError: the record is missing or damaged.
    """
    path = folder / f"{key_id}.json"
    try:
        fields = read_json(path.read_bytes())
        if fields.pop("format") != _RECORD_FORMAT or fields["key_id"] != key_id:
            raise ValueError("format")
        fields["created"] = datetime.fromisoformat(fields["created"])
        record = KeyRecord(**fields, state=state)
        words = (record.architecture, record.recovery, record.created_by)
        kinds = [isinstance(word, str) for word in words] + [isinstance(record.recipe, dict)]
        if not all(kinds) or type(record.parameters) is not int or record.created.tzinfo is None:
            raise ValueError("types")
        return record
    except FileNotFoundError:
        raise missing(path, REBUILD) from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise IntegrityError(
            f"Expected the public record of key {key_id} in {path.name}, got something else. {REBUILD}"
        ) from error


def missing(path: Path, advice: str) -> IntegrityError:
    """Return the error for a file of a key that is not there."""
    return IntegrityError(f"Expected {path.name} in {path.parent}, got no such file. {advice}")


def find_key(prefix: str, key_ids: Iterable[str]) -> str:
    """Return the one key id that begins like this.

    Raises:
        UsageError: no key, or more than one, begins like this, or too little was given.
    """
    wanted, known = prefix.strip().lower(), sorted(key_ids)
    matches = [k for k in known if k.startswith(wanted)] if len(wanted) >= SHORTEST_PREFIX else []
    if len(matches) == 1:
        return matches[0]
    raise UsageError(
        f"Expected the id of one key, or at least {SHORTEST_PREFIX} characters of its beginning, got "
        f"{prefix!r}, which fits {'several' if matches else 'none'}. Keys: {', '.join(matches or known)}."
    )
