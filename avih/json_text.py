"""Read JSON that may be anything: what a damaged or forged file holds comes out as a ValueError, never else."""

import json
from typing import Any, NoReturn


def read_json(data: bytes | str) -> Any:
    """Read JSON as it is written by us: no field twice, no NaN, no half of a character.

    Raises:
        ValueError: it is none, or is nested deeper than anything of ours.
    """
    text = data if isinstance(data, str) else data.decode()
    try:
        content = json.loads(text, object_pairs_hook=_once, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("nested too deep") from None
    if "\\u" in text:
        json.dumps(content, ensure_ascii=False).encode()  # half a pair of surrogates has no bytes
    return content


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a field twice")
    return found


def _refuse(name: str) -> NoReturn:
    raise ValueError(name)
