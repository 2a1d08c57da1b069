"""A small web server of archives that misbehaves as asked, and cards that point to it."""

import hashlib
import io
import json
import re
import socket
import tarfile
import threading
import zipfile
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from avih.datasets.cards import DatasetCard
from avih.datasets.download import fetch
from avih.errors import DownloadFailed
from avih.images import encode_png

PICTURE = encode_png(np.random.default_rng(2023).integers(0, 256, (24, 24, 3), dtype=np.uint8))

ABOUT = {
    "name": "faces", "title": "Drawn faces", "layout": "image_folder", "contains": "Drawn faces.",
    "licence": "For everybody who asks.", "citation": "Nobody (2026): Drawn faces.", "by_hand": "Ask the makers.",
}  # fmt: skip
FILES = {"faces/Ann/Ann_0001.png": PICTURE, "faces/Bea/Bea_0001.png": PICTURE, "README": b"read me"}


def make_tar(files=FILES, *, add=None):
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        for member in add or ():
            tar.addfile(member)
    return target.getvalue()


def make_zip(files=FILES):
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return target.getvalue()


@dataclass
class Site:
    """What the server serves, how it misbehaves, and what it was asked for."""

    content: bytes
    ranges: bool = True
    cut_after: list[int] = field(default_factory=list)  # bytes per answer before the line is cut
    shift: int = 0  # answers a range from a wrong position
    asked: list[str | None] = field(default_factory=list)  # the Range header of each request
    sent: list[int] = field(default_factory=list)
    address: str = ""


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        site = self.server.site
        asked = self.headers["Range"]
        site.asked.append(asked)
        if self.path != "/faces.archive":
            site.sent.append(0)
            self.send_error(404)
            return
        start, whole = 0, len(site.content)
        if asked and site.ranges:
            start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) + site.shift
        if start >= whole:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{whole}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            site.sent.append(0)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{whole - 1}/{whole}")
        self.send_header("Content-Length", str(whole - start))
        self.end_headers()
        end = start + site.cut_after.pop(0) if site.cut_after else whole
        body = site.content[start:end]
        site.sent.append(len(body))
        self.wfile.write(body)
        self.close_connection = True

    def log_message(self, *args):
        pass


@contextmanager
def serving():
    """Give a function that serves a file and returns its site; all servers end together."""
    servers = []

    def start(content, **options):
        site = Site(content=content, **options)
        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.site = site
        server.handle_error = lambda *_: None  # a client that breaks off is what some tests are about
        site.address = f"http://127.0.0.1:{server.server_port}/faces.archive"
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        servers.append(server)
        return site

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def card_for(content, address, *, kind="tar", inner_folder="faces", **changes):
    archive = {
        "file": "faces.archive",
        "address": address,
        "sha256": hashlib.sha256(content).hexdigest(),
        "kind": kind,
        "unpack_as": "my-faces",
        "inner_folder": inner_folder,
    }
    about = dict.fromkeys(("title", "layout", "licence", "citation", "contains"), "none")
    by_hand = "ask the makers."
    return DatasetCard(name="faces", by_hand=by_hand, archives=[{**archive, **changes}], **about)


def run(card, folder):
    return fetch(card=card, folder=folder, progress=False)


def failure(card, folder):
    with pytest.raises(DownloadFailed) as failed:
        run(card, folder)
    assert not (folder / "my-faces").exists()
    unpacking = list(folder.glob(".*")) if folder.is_dir() else []
    assert unpacking == []
    return str(failed.value)


def closed_address():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}/faces.archive"


def write_card(folder, content, address, **changes):
    """Write a card of one's own for an archive of ``faces/`` into ``folder``, and return its path."""
    card = card_for(content, address, **changes)
    lines = [f"{name} = {json.dumps(value)}" for name, value in ABOUT.items()]
    archive = card.archives[0].model_dump(exclude_none=True)
    lines += ["[[archives]]", *(f"{name} = {json.dumps(value)}" for name, value in archive.items())]
    folder.mkdir(exist_ok=True)
    path = folder / "faces.toml"
    path.write_text("\n".join(lines) + "\n")
    return path


def drawn_tar(folder, faces):
    """Return a tar of drawn faces, one folder per person; the photos also go into ``folder``."""
    faces.write(folder)
    photos = sorted(path for path in folder.rglob("*") if path.is_file())
    return make_tar({f"faces/{path.relative_to(folder)}": path.read_bytes() for path in photos})
