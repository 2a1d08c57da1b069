"""A store on a file system of fsspec without conditional writes: compared before writing, which is less.

Between the comparison and the write another writer may come; the lock of a gallery keeps that from happening
among programs that honour it. For a folder on a file server, and for tests.
"""

import contextlib
import hashlib
import os
import secrets
import time
from pathlib import Path
from typing import Any, Final

from avih.mirror.address import Address
from avih.mirror.remote import Changed, Lost, Seen, patiently, sha256_of

_PART: Final = ".part"


class Plain:
    """The store at a ``file://`` or ``memory://`` address.

    Args:
        address: where.
    """

    def __init__(self, address: Address) -> None:
        import fsspec

        self.files: Any = fsspec.filesystem(address.protocol, skip_instance_cache=True)
        self.base, self.local = address.path, address.protocol == "file"

    def list(self, prefix: str) -> tuple[dict[str, Seen], bool]:
        """See :class:`avih.mirror.remote.Remote`."""
        return self._ask(lambda: (self._listed(prefix), True), f"list {prefix or 'everything'}")

    def head(self, name: str) -> Seen | None:
        """See :class:`avih.mirror.remote.Remote`."""
        return self._ask(lambda: self._seen(name), f"describe {name}")

    def read(self, name: str) -> tuple[bytes, Seen] | None:
        """See :class:`avih.mirror.remote.Remote`."""

        def read() -> tuple[bytes, Seen] | None:
            seen = self._seen(name)
            return (self.files.cat_file(self._path(name)), seen) if seen else None

        return self._ask(read, f"read {name}")

    def get(self, name: str, target: Path) -> Seen | None:
        """See :class:`avih.mirror.remote.Remote`."""
        found = self.read(name)
        if found is None:
            return None
        target.write_bytes(found[0])
        return found[1]

    def put(self, name: str, content: Path | bytes, *, expected: str | None) -> Seen:
        """See :class:`avih.mirror.remote.Remote`."""
        digest, _ = sha256_of(content)

        def put() -> Seen:
            now = self._seen(name)
            if (now.etag if now else None) != expected:
                if now and hashlib.sha256(self.files.cat_file(self._path(name))).hexdigest() == digest:
                    return now  # these very bytes are there
                raise Changed(name)
            data = content if isinstance(content, bytes) else content.read_bytes()
            part = self._path(f"{name}.{secrets.token_hex(4)}{_PART}")
            self.files.makedirs(part.rpartition("/")[0], exist_ok=True)
            self.files.pipe_file(part, data)
            if self.local:
                os.chmod(part, 0o600)  # noqa: PTH101
            self._rename(part, self._path(name))
            written = self._seen(name)
            if written is None:
                raise Changed(name)
            return written

        return self._ask(put, f"write {name}")

    def delete(self, name: str, *, expected: str | None) -> None:
        """See :class:`avih.mirror.remote.Remote`."""

        def delete() -> None:
            now = self._seen(name)
            if now is None:
                return
            if expected is not None and now.etag != expected:
                raise Changed(name)
            with contextlib.suppress(FileNotFoundError):
                self.files.rm_file(self._path(name))

        self._ask(delete, f"remove {name}")

    def _ask(self, request: Any, what: str) -> Any:
        def asked() -> Any:
            try:
                return request()
            except (TimeoutError, ConnectionError, BlockingIOError) as error:
                raise Lost(type(error).__name__) from error

        return patiently(asked, what=what)

    def _path(self, name: str) -> str:
        return f"{self.base}/{name}"

    def _rename(self, part: str, path: str) -> None:
        if self.local:
            os.replace(part, path)  # noqa: PTH105  # at once and whole, which a move need not be
        else:
            self.files.mv(part, path)

    def _listed(self, prefix: str) -> dict[str, Seen]:
        try:
            found = self.files.find(self.base, detail=True)
        except FileNotFoundError:
            return {}
        begin = len(self.files._strip_protocol(self.base).rstrip("/")) + 1
        named = {path[begin:]: facts for path, facts in found.items()}
        return {
            name: self._described(name, facts)
            for name, facts in named.items()
            if name.startswith(prefix) and not name.endswith(_PART)
        }

    def _seen(self, name: str) -> Seen | None:
        try:
            facts = self.files.info(self._path(name))
        except FileNotFoundError:
            return None
        return self._described(name, facts, clock=True) if facts["type"] == "file" else None

    def _described(self, name: str, facts: dict[str, Any], *, clock: bool = False) -> Seen:
        if self.local:
            etag = f"{facts['size']}-{facts['mtime']!r}-{facts['ino']}"
            return Seen(etag, int(facts["size"]), float(facts["mtime"]), self._clock() if clock else 0.0)
        etag = hashlib.sha256(self.files.cat_file(self._path(name))).hexdigest()
        created = facts["created"]  # a time, or its seconds, by the release of fsspec
        modified = created if isinstance(created, float) else created.timestamp()
        return Seen(etag, int(facts["size"]), modified, time.time(), etag)

    def _clock(self) -> float:
        """Ask the file server for its time, by the time that it gives a new file."""
        path = Path(self.base) / f".clock-{secrets.token_hex(4)}{_PART}"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(0o600)
            return path.stat().st_mtime
        except OSError:
            return time.time()
        finally:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
