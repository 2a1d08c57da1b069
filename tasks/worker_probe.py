"""What a worker elsewhere says of itself before it gets work: yes or no, and versions; never a secret.

Plain values go in and come out: a worker with another release of avih must be able to answer too.
"""

import asyncio
import secrets
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Final, Literal

import requests

from avih.atomic import partial_file
from avih.errors import AvihError
from avih.keys import KeyStore, Vault
from avih.keys.passphrase import passphrase_given
from avih.mirror import seam
from avih.naming import KEYS_FOLDER, Store
from tasks.records import Record
from tasks.run_record import software

KeyAnswer = Literal["opened", "refused", "no passphrase", "not asked"]
ASK_SECONDS: Final = 5.0


class Needs(Record):
    """What a worker must have for some shards.

    Attributes:
        store: address of the store.
        key_id: key that it must open; None: the vault of the originals, if there is one.
        files: paths that must be there: photos, weights.
        api: Prefect's API, to which it tells how its tasks go.
    """

    store: str
    key_id: str | None = None
    files: tuple[str, ...] = ()
    api: str | None = None


class Answer(Record):
    """What a worker answered.

    Attributes:
        software: versions, as in the record of a run.
        sees_store: it read what we have just written there.
        writes_store: it could write there.
        key: whether it opened the key.
        missing: of the files.
        reaches_api: Prefect's API answered it.
    """

    software: dict[str, str]
    sees_store: bool
    writes_store: bool
    key: KeyAnswer
    missing: tuple[str, ...]
    reaches_api: bool


@contextmanager
def mark_in_store(store: Store) -> Iterator[dict[str, str]]:
    """Leave something with a random content in a store while the block runs; yield its name and content."""
    content = secrets.token_hex(16)
    with ExitStack() as stack:
        name = stack.enter_context(seam.marked(store.root, content.encode()))  # of a store elsewhere
        if name is None:
            mark = stack.enter_context(partial_file(store.root / "probe"))
            mark.write_text(content)
            name = mark.name
        yield {"mark": name, "content": content}


def plain_software() -> dict[str, str]:
    """Return the versions that must be equal everywhere; of Python the first two numbers."""
    found = software()
    return found | {"python": ".".join(found["python"].split(".")[:2])}


async def answer(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Answer, beside the event loop of the worker, which goes on meanwhile."""
    return await asyncio.to_thread(_answer, asked)


def _answer(asked: Mapping[str, Any]) -> dict[str, Any]:
    store = Store.find(asked["store"])
    return {
        "software": plain_software(),
        "sees_store": _sees(store, asked["mark"], asked["content"]),
        "writes_store": _writes(store),
        "key": _key(store, asked["key_id"]),
        "missing": [name for name in asked["files"] if not Path(name).expanduser().exists()],
        "reaches_api": asked["api"] is None or _reaches(asked["api"]),
    }


def _sees(store: Store, mark: str, content: str) -> bool:
    with suppress(AvihError, OSError):
        if seam.is_elsewhere(store.root):
            return seam.read_mark(store.root, mark) == content.encode()
        return (store.root / mark).read_text() == content
    return False


def _writes(store: Store) -> bool:
    with suppress(AvihError, OSError), mark_in_store(store):
        return True
    return False


def _key(store: Store, key_id: str | None) -> KeyAnswer:
    """Open a key, and say no more of it than that; nobody is asked: a worker may have a terminal."""
    if not passphrase_given():
        return "no passphrase"
    try:
        seam.refreshed(store.root, f"{KEYS_FOLDER}/")
        if key_id is not None:
            KeyStore(store.keys).load(key_id, purpose="inspect")
        elif Vault(store.keys).path.exists():
            Vault(store.keys).mac_key(create=False)
        else:
            return "not asked"
    except (AvihError, OSError):
        return "refused"
    return "opened"


def _reaches(api: str) -> bool:
    try:
        return requests.get(f"{api.rstrip('/')}/health", timeout=ASK_SECONDS).ok
    except requests.RequestException:
        return False
