"""A real S3 server on loopback in a process of its own, and a line to it that a test can cut."""

import os
import re
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

BUCKET = "faces"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "the-key-of-a-test", "AWS_SECRET_ACCESS_KEY": "the-secret-of-a-test",
               "AWS_DEFAULT_REGION": "us-east-1"}  # fmt: skip
# A real server compares and writes in one step; moto's threads would not, so one request at a time.
SERVE = """
import threading
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server
app, one = DomainDispatcherApplication(create_backend_app), threading.Lock()
def answer(environ, start):
    with one:
        return [b"".join(app(environ, start))]
server = make_server("127.0.0.1", 0, answer, threaded=True)
print(server.server_port, flush=True)
server.serve_forever()
"""
_REQUEST = re.compile(rb"([A-Z]+) (\S+) HTTP/1\.[01]\r\n")


@dataclass
class Line:
    """Carries bytes between programs and the server, and notes each request; cut, nobody gets through."""

    server: tuple[str, int]
    requests: list[str] = field(default_factory=list)
    before: Callable[[str], bool] | None = None  # called with each request; true: cut before it gets there
    after: Callable[[str], bool] | None = None  # true: it gets there, but its answer is lost

    def __post_init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.is_cut = False
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.listener.getsockname()[1]}"

    def cut(self) -> None:
        self.is_cut = True

    def mend(self) -> None:
        """Lay the line anew, with nothing noted."""
        self.is_cut, self.before, self.after = False, None, None
        self.requests.clear()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                threading.Thread(target=self._carry, args=(client,), daemon=True).start()

    def _carry(self, client: socket.socket) -> None:
        with suppress(OSError), client, socket.create_connection(self.server) as server:
            lose = False
            while not self.is_cut:
                ready, _, _ = select.select([client, server], [], [], 0.05)
                for end in ready:
                    data = end.recv(1 << 16)
                    if not data:
                        return
                    if end is client and (found := _REQUEST.match(data)):
                        request = f"{found[1].decode()} {found[2].decode()}"
                        self.requests.append(request)
                        if self.before and self.before(request):
                            self.cut()
                            return
                        lose = bool(self.after and self.after(request))
                    if end is server and lose:
                        return
                    (server if end is client else client).sendall(data)


@dataclass
class S3Server:
    """The server and a line to it."""

    process: subprocess.Popen[str]
    port: int

    @cached_property
    def line(self) -> Line:
        """One for all tests: making a client for another address takes longer than most of them."""
        return Line(("127.0.0.1", self.port))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def environment(url: str, cache: object) -> dict[str, str]:
    """What a program on another machine would have in its environment."""
    return CREDENTIALS | {"AWS_ENDPOINT_URL": url, "AVIH_CACHE": str(cache), "AVIH_STORE_WAITS": "0.05,0.1"}


@contextmanager
def s3_server() -> Iterator[S3Server]:
    """Start a server with an empty bucket; it ends with the block."""
    with subprocess.Popen(
        [sys.executable, "-c", SERVE], env=os.environ | CREDENTIALS,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    ) as process:  # fmt: skip
        try:
            assert process.stdout is not None
            server = S3Server(process, int(process.stdout.readline()))
            make_bucket(server.url)
            yield server
        finally:
            process.kill()


@lru_cache
def client(url: str):
    """A client of the server that knows nothing of avih."""
    import boto3

    names = ("aws_access_key_id", "aws_secret_access_key", "region_name")
    return boto3.client("s3", endpoint_url=url, **dict(zip(names, CREDENTIALS.values(), strict=True)))


def make_bucket(url: str, name: str = BUCKET) -> None:
    client(url).create_bucket(Bucket=name)


def objects(url: str, prefix: str = "") -> dict[str, bytes]:
    """All objects of the bucket below a prefix, by name."""
    s3 = client(url)
    found = {}
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix):
        for one in page.get("Contents", ()):
            body = s3.get_object(Bucket=BUCKET, Key=one["Key"])["Body"].read()
            found[one["Key"].removeprefix(prefix)] = body
    return found
