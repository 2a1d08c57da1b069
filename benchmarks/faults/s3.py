"""An S3 server on loopback and a line to it that can be cut, each a process of its own."""

import os
import socket
import subprocess
import sys
from functools import cached_property
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from benchmarks.faults.fault import NotPossibleHere
from benchmarks.faults.processes import until
from flows.server.processes import free_port

HOST: Final = "127.0.0.1"
BUCKET: Final = "faults"
CREDENTIALS: Final = {"AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": "no-secret",
                      "AWS_DEFAULT_REGION": "us-east-1"}  # fmt: skip
# The server compares and writes in one step, as real ones do: one request at a time.
SERVER: Final = """
import sys, threading
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server
app, one = DomainDispatcherApplication(create_backend_app), threading.Lock()
def answer(environ, start):
    with one:
        return [b"".join(app(environ, start))]
make_server(sys.argv[1], int(sys.argv[2]), answer, threaded=True).serve_forever()
"""
LINE: Final = """
import asyncio, sys
async def carry(source, target):
    while data := await source.read(65536):
        target.write(data)
        await target.drain()
    target.close()
async def accept(reader, writer):
    there, back = await asyncio.open_connection(sys.argv[1], int(sys.argv[3]))
    await asyncio.gather(carry(reader, back), carry(there, writer), return_exceptions=True)
async def main():
    await (await asyncio.start_server(accept, sys.argv[1], int(sys.argv[2]))).serve_forever()
asyncio.run(main())
"""


class Line:
    """Carries bytes to the server until it is cut; laid again, it has the same address."""

    def __init__(self, server: int) -> None:
        self.port, self._server = free_port(HOST, 0, option="a port"), server
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Address of this end."""
        return f"http://{HOST}:{self.port}"

    def lay(self) -> None:
        """Begin to carry."""
        if self._process is None:
            self._process = _python(LINE, self.port, self._server)
            until(lambda: _listens(self.port), what="the line to the S3 server")

    def cut(self) -> None:
        """SIGKILL: all connections break off, and no new one is taken."""
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None


class S3:
    """The server with one bucket.

    Raises:
        NotPossibleHere: the packages are not installed.
    """

    def __init__(self) -> None:
        missing = [name for name in ("moto", "s3fs", "boto3") if find_spec(name) is None]
        if missing:
            raise NotPossibleHere(f"{', '.join(missing)} not installed")
        self.port = free_port(HOST, 0, option="a port")
        self._process = _python(SERVER, self.port)
        until(lambda: _listens(self.port), what="the S3 server")
        self.client.create_bucket(Bucket=BUCKET)
        self.line = Line(self.port)
        self.line.lay()

    @cached_property
    def client(self) -> Any:
        """A client that knows nothing of avih and does not use the line."""
        boto3: Any = import_module("boto3")
        names = ("aws_access_key_id", "aws_secret_access_key", "region_name")
        given = dict(zip(names, CREDENTIALS.values(), strict=True))
        return boto3.client("s3", endpoint_url=f"http://{HOST}:{self.port}", **given)

    def environment(self, cache: Path) -> dict[str, str]:
        """Return what a process of one machine needs; ``cache`` is its working copy's folder."""
        patience = {"AVIH_STORE_WAITS": "0.05,0.1"}
        return CREDENTIALS | patience | {"AWS_ENDPOINT_URL": self.line.url, "AVIH_CACHE": str(cache)}

    def fill(self, prefix: str, folder: Path) -> str:
        """Put a folder's files into the bucket, as they are; return the address."""
        for path in folder.rglob("*"):
            if path.is_file() and not path.name.startswith("."):
                key = f"{prefix}/{path.relative_to(folder).as_posix()}"
                self.client.put_object(Bucket=BUCKET, Key=key, Body=path.read_bytes())
        return f"s3://{BUCKET}/{prefix}"

    def fetch(self, prefix: str, folder: Path) -> None:
        """Get everything below a prefix into a folder: what any other machine would see."""
        for page in self.client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=f"{prefix}/"):
            for found in page.get("Contents", ()):
                path = folder / found["Key"].removeprefix(f"{prefix}/")
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(self.client.get_object(Bucket=BUCKET, Key=found["Key"])["Body"].read())

    def stop(self) -> None:
        """End both processes."""
        self.line.cut()
        self._process.kill()
        self._process.wait()


def _python(program: str, *numbers: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", program, HOST, *map(str, numbers)]
    return subprocess.Popen(
        command, env=os.environ | CREDENTIALS, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip


def _listens(port: int) -> bool:
    try:
        with socket.create_connection((HOST, port), timeout=1):
            return True
    except OSError:
        return False
