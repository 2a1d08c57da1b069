"""Change a sound input a little: at random in its bytes, and with sense where it is JSON."""

import json
from collections.abc import Callable
from random import Random
from typing import Any, Final

ODD: Final[tuple[Any, ...]] = (
    *(None, True, False, 0, -1, 1, 0.5, 2**31, 2**63, -(2**63), 10**40, 1e308, -0.0),
    *("", "x", "v0001", "../..", "/etc/passwd", "\0", "\ud800", "é" * 40, "0" * 64, "NaN", "1e999"),
    *([], {}, [[]], {"": {}}, [0] * 50, {"format": 1, "hmac_sha256": "0" * 64}),
)
TOKENS: Final = (
    *(b"\0", b"\xff", b"\xff\xfe", b"\n", b"\r", b'"', b"{", b"}", b"[", b"]", b",", b":", b"=", b".", b".."),
    *(b"NaN", b"Infinity", b"-1", b"1e999", b"9" * 30, b"\\ud800", b"\\u0000", b"null", b"[" * 2000),
    *(b"\x7f\xff\xff\xff", b"\xff\xff\xff\xff\xff\xff\xff\xff", b"\x80\0\0\0"),
)  # fmt: skip


def mutate(data: bytes, random: Random) -> bytes:
    """Return the input with one to three changes."""
    for _ in range(random.randint(1, 3)):
        data = random.choice((_bytes, _bytes, _structure))(data, random)
    return data


def _bytes(data: bytes, random: Random) -> bytes:
    return random.choice(STEPS)(data, random)


def _span(data: bytes, random: Random) -> tuple[int, int]:
    start = random.randint(0, len(data))
    return start, random.randint(start, min(len(data), start + random.choice((1, 4, 16, len(data)))))


def _flip(data: bytes, random: Random) -> bytes:
    if not data:
        return b"\0"
    place = random.randrange(len(data))
    return data[:place] + bytes([data[place] ^ 1 << random.randrange(8)]) + data[place + 1 :]


def _cut(data: bytes, random: Random) -> bytes:
    return data[: random.randint(0, len(data))]


def _remove(data: bytes, random: Random) -> bytes:
    start, end = _span(data, random)
    return data[:start] + data[end:]


def _repeat(data: bytes, random: Random) -> bytes:
    start, end = _span(data, random)
    return data[:end] + data[start:end] * random.choice((1, 2, 20)) + data[end:]


def _insert(data: bytes, random: Random) -> bytes:
    start, end = _span(data, random)
    return data[:start] + random.choice(TOKENS) + data[random.choice((start, end)) :]


def _number(data: bytes, random: Random) -> bytes:
    size = random.choice((1, 2, 4, 8))
    start = random.randint(0, max(0, len(data) - size))
    value = random.choice((0, 1, 2 ** (8 * size) - 1, 2 ** (8 * size - 1), random.getrandbits(8 * size)))
    return data[:start] + value.to_bytes(size, random.choice(("big", "little"))) + data[start + size :]


def _line(data: bytes, random: Random) -> bytes:
    lines = data.splitlines(keepends=True) or [b""]
    taken = lines.pop(random.randrange(len(lines)))
    if random.random() < 0.6:
        lines.insert(random.randint(0, len(lines)), taken * random.choice((1, 2)))
    return b"".join(lines)


STEPS: Final[tuple[Callable[[bytes, Random], bytes], ...]] = (
    *(_flip, _cut, _remove, _repeat, _insert, _number, _line),
)


def _structure(data: bytes, random: Random) -> bytes:
    """Change a value inside JSON and write it as we write it; other inputs are changed in their bytes."""
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        return _bytes(data, random)
    changed = _changed(content, random)
    if random.random() < 0.3:
        return json.dumps(changed).encode()
    text = json.dumps(changed, sort_keys=True, indent=2, ensure_ascii=False) + "\n"
    return text.encode("utf-8", "surrogatepass")


def _changed(value: Any, random: Random) -> Any:
    deeper = isinstance(value, dict | list) and value and random.random() < 0.8
    if not deeper:
        return _other(value, random)
    if isinstance(value, list):
        found = list(value)
        place = random.randrange(len(found))
        if random.random() < 0.2:
            return found[:place] + found[place + 1 :] + found[place:]
        found[place] = _changed(found[place], random)
        return found
    name = random.choice(sorted(value))
    found_fields = dict(value)
    if random.random() < 0.2:
        taken = found_fields.pop(name)
        return found_fields | (
            {random.choice(("x", name.upper(), "")): taken} if random.random() < 0.5 else {}
        )
    found_fields[name] = _changed(found_fields[name], random)
    return found_fields


def _other(value: Any, random: Random) -> Any:
    near: tuple[Any, ...] = ([value], {"x": value}, str(value))
    if isinstance(value, str) and value:
        near += (value[:-1], value + value[-1], value.upper(), value.replace("0", "1"), "\n" + value)
    if isinstance(value, int | float):
        near += (-value, value + 1, value * 10, float(value))
    return random.choice((*near, random.choice(ODD)))
