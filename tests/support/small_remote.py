"""Stores on the S3 server of the tests, seen from machines that share nothing else."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from avih.naming import Store
from s3_server import BUCKET, Line, S3Server, environment, objects


@dataclass
class Shared:
    """One address, its line, and as many machines as a test asks for: each has a working copy of its own."""

    server: S3Server
    line: Line
    prefix: str
    folder: Path
    patch: pytest.MonkeyPatch

    @property
    def address(self) -> str:
        return f"s3://{BUCKET}/{self.prefix}"

    def environment(self, machine: str) -> dict[str, str]:
        return environment(self.line.url, self.folder / machine)

    def find(self, machine: str) -> Store:
        for name, value in self.environment(machine).items():
            self.patch.setenv(name, value)
        return Store.find(self.address)

    def open(self, machine: str) -> Store:
        self.find(machine)
        return Store.open(self.address)

    def objects(self, *, locks: bool = False) -> dict[str, bytes]:
        """What the bucket holds of the store, asked without avih."""
        found = objects(self.server.url, f"{self.prefix}/")
        return {
            name: data
            for name, data in found.items()
            if locks or not name.startswith(("locks/", "avih-store.json"))
        }

    def asked(self, method: str, ending: str) -> int:
        """How often an object was asked for, since the line was laid or ``forget``."""
        return sum(one.startswith(f"{method} ") and one.endswith(ending) for one in self.line.requests)
