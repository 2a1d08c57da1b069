"""Downloads from a real server on this machine: whole, cut, resumed, altered, missing, malicious."""

import hashlib
import io
import re
import socket
import tarfile
import threading
import zipfile
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from avih.datasets import open_source
from avih.datasets.cards import DatasetCard
from avih.datasets.download import MAX_ATTEMPTS, fetch
from avih.datasets.unpack import unpack
from avih.errors import DownloadFailed
from avih.images import encode_png

PICTURE = encode_png(np.random.default_rng(2023).integers(0, 256, (24, 24, 3), dtype=np.uint8))
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


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def serve():
    servers = []

    def start(content, **options):
        site = Site(content=content, **options)
        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.site = site
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


@pytest.mark.parametrize(("make", "kind"), [(make_tar, "tar"), (make_zip, "zip")])
def test_a_whole_archive_is_fetched_unpacked_and_opened(serve, tmp_path, make, kind):
    site = serve(make())
    folder = tmp_path / "new" / "sources"
    card = card_for(site.content, site.address, kind=kind, size_bytes=len(site.content))
    made = run(card, folder)
    assert made == folder / "my-faces"
    source = open_source(source=str(made))
    assert [(photo.path, photo.person) for photo in source.photos()] == [
        ("Ann/Ann_0001.png", "Ann"),
        ("Bea/Bea_0001.png", "Bea"),
    ]
    assert (made / "Ann" / "Ann_0001.png").read_bytes() == PICTURE
    assert sorted(path.name for path in folder.iterdir()) == ["faces.archive", "my-faces"]
    # A second call asks nobody.
    assert run(card, folder) == made
    assert site.asked == [None]


def test_progress_is_shown_only_when_asked_for(serve, tmp_path, capsys):
    site = serve(make_tar())
    card = card_for(site.content, site.address)
    run(card, tmp_path / "quiet")
    assert capsys.readouterr() == ("", "")
    fetch(card=card, folder=tmp_path / "shown")
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "faces.archive" in shown.err


def test_without_an_inner_folder_the_whole_archive_is_kept(serve, tmp_path):
    site = serve(make_tar())
    made = run(card_for(site.content, site.address, inner_folder=None), tmp_path)
    assert (made / "README").read_bytes() == b"read me"
    assert (made / "faces" / "Ann" / "Ann_0001.png").exists()


def test_a_single_file_is_put_in_place(serve, tmp_path):
    site = serve(b"000001.jpg 2880\n")
    made = run(card_for(site.content, site.address, kind="file", inner_folder=None), tmp_path)
    assert made.read_bytes() == site.content


def test_a_file_that_was_put_there_by_hand_needs_no_network(tmp_path):
    content = make_tar()
    (tmp_path / "faces.archive").write_bytes(content)
    made = run(card_for(content, "http://127.0.0.1:9/faces.archive"), tmp_path)
    assert (made / "Ann" / "Ann_0001.png").exists()


def test_a_wrong_file_that_was_put_there_by_hand_is_named(tmp_path):
    (tmp_path / "faces.archive").write_bytes(b"something else")
    message = failure(card_for(make_tar(), closed_address()), tmp_path)
    assert f"The file at {tmp_path / 'faces.archive'} has another SHA-256" in message
    assert (tmp_path / "faces.archive").read_bytes() == b"something else"


def test_a_cut_line_is_taken_up_in_the_same_call_with_only_the_rest_sent(serve, tmp_path):
    content = make_tar()
    site = serve(content, cut_after=[100, 50])
    made = run(card_for(content, site.address), tmp_path)
    assert (made / "Ann" / "Ann_0001.png").read_bytes() == PICTURE
    assert site.asked == [None, "bytes=100-", "bytes=150-"]
    assert site.sent == [100, 50, len(content) - 150]


def test_an_interrupted_download_goes_on_at_the_next_call(serve, tmp_path):
    content = make_tar()
    site = serve(content, cut_after=[100, 0])
    message = failure(card_for(content, site.address), tmp_path)
    assert "100 bytes are kept; the same command goes on there" in message
    assert (tmp_path / "faces.archive.part").read_bytes() == content[:100]
    run(card_for(content, site.address), tmp_path)
    assert site.asked == [None, "bytes=100-", "bytes=100-"]
    assert site.sent == [100, 0, len(content) - 100]
    assert not (tmp_path / "faces.archive.part").exists()


def test_a_line_that_is_cut_again_and_again_is_given_up(serve, tmp_path):
    content = make_tar()
    site = serve(content, cut_after=[10] * 100)
    message = failure(card_for(content, site.address), tmp_path)
    assert len(site.asked) == MAX_ATTEMPTS
    assert f"{10 * MAX_ATTEMPTS} bytes are kept" in message


def test_a_truncated_file_on_a_server_without_ranges_is_given_up(serve, tmp_path):
    content = make_tar()
    site = serve(content, ranges=False, cut_after=[200] * 100)
    message = failure(card_for(content, site.address), tmp_path)
    assert site.sent == [200, 200]
    assert "cut" in message
    assert site.address in message


def test_a_server_without_ranges_sends_everything_again(serve, tmp_path):
    content = make_tar()
    site = serve(content, ranges=False)
    (tmp_path / "faces.archive.part").write_bytes(b"old bytes that must not stay in front")
    run(card_for(content, site.address), tmp_path)
    assert site.asked == ["bytes=37-"]
    assert site.sent == [len(content)]
    assert (tmp_path / "faces.archive").read_bytes() == content


@pytest.mark.parametrize("known_size", [True, False])
def test_a_part_that_is_whole_is_not_fetched_again(serve, tmp_path, known_size):
    content = make_tar()
    site = serve(content)
    (tmp_path / "faces.archive.part").write_bytes(content)
    run(card_for(content, site.address, size_bytes=len(content) if known_size else None), tmp_path)
    assert site.asked == ([] if known_size else [f"bytes={len(content)}-"])
    assert sum(site.sent) == 0


def test_a_part_that_is_too_long_is_thrown_away(serve, tmp_path):
    content = make_tar()
    site = serve(content)
    (tmp_path / "faces.archive.part").write_bytes(content + b"more")
    run(card_for(content, site.address), tmp_path)
    assert site.sent == [0, len(content)]


def test_a_server_that_sends_another_part_than_asked_for_is_not_believed(serve, tmp_path):
    content = make_tar()
    site = serve(content, shift=3)
    (tmp_path / "faces.archive.part").write_bytes(content[:100])
    assert "another part of the file" in failure(card_for(content, site.address), tmp_path)
    site.shift = 0
    run(card_for(content, site.address), tmp_path)
    assert site.sent[-1] == len(content)


def test_an_altered_file_is_deleted_with_both_hashes_named(serve, tmp_path):
    content = make_tar()
    altered = content[:50] + bytes([content[50] ^ 1]) + content[51:]
    site = serve(altered)
    message = failure(card_for(content, site.address), tmp_path)
    assert hashlib.sha256(content).hexdigest() in message
    assert f"got {hashlib.sha256(altered).hexdigest()}" in message
    assert "the file was deleted" in message
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_sends_without_end_is_stopped(serve, tmp_path):
    content = make_tar()
    site = serve(content + bytes(5_000_000))
    message = failure(card_for(content, site.address, size_bytes=len(content)), tmp_path)
    assert f"more than the {len(content):,} bytes" in message
    assert list(tmp_path.iterdir()) == []


def test_a_missing_page_is_named_with_its_number_and_what_to_do(serve, tmp_path):
    site = serve(make_tar())
    address = site.address.replace("faces", "gone")
    message = failure(card_for(site.content, address), tmp_path)
    assert f"{address}, got: the server answered 404 Not Found" in message
    assert f"put it at {tmp_path / 'faces.archive'} and run the same command again" in message
    assert len(site.asked) == 1


def closed_address():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}/faces.archive"


def test_no_server_is_named_with_what_to_do(tmp_path):
    address = closed_address()
    message = failure(card_for(b"", address), tmp_path)
    assert f"{address}, got: no connection to the server" in message
    assert "put it at" in message
    assert " object at 0x" not in message


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    message = failure(card_for(b"", closed_address()), tmp_path / "file" / "sources")
    assert "Not a directory" in message


def test_without_a_hash_nothing_is_fetched(serve, tmp_path):
    site = serve(make_tar())
    message = failure(card_for(site.content, site.address, sha256=None), tmp_path)
    assert "Expected a SHA-256 in the card of faces" in message
    assert "By hand: ask the makers." in message
    assert site.asked == []


def test_a_card_without_archives_says_how_to_get_it_by_hand(tmp_path):
    card = card_for(b"", closed_address()).model_copy(update={"archives": ()})
    assert "By hand: ask the makers." in failure(card, tmp_path)


def test_another_archive_of_the_card_can_be_named(tmp_path):
    card = card_for(b"", closed_address())
    with pytest.raises(DownloadFailed, match="Expected an archive of my-faces for faces, got 'other'"):
        fetch(card=card, folder=tmp_path, progress=False, archive="other")


# Archives that want out, or too much.


def special(name, kind, target=""):
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


BAD_TARS = {
    "..": make_tar({"../escaped.txt": b"x"}),
    ".. inside": make_tar({"faces/../../escaped.txt": b"x"}),
    ".. with backslashes": make_tar({"faces\\..\\..\\escaped.txt": b"x"}),
    "absolute": make_tar({"/escaped.txt": b"x"}),
    "drive letter": make_tar({"C:/escaped.txt": b"x"}),
    "link out": make_tar(add=[special("faces/link", tarfile.SYMTYPE, "../..")]),
    "absolute link": make_tar(add=[special("faces/link", tarfile.SYMTYPE, "/etc")]),
    "hard link": make_tar(add=[special("faces/link", tarfile.LNKTYPE, "../../escaped.txt")]),
    "pipe": make_tar(add=[special("faces/pipe", tarfile.FIFOTYPE)]),
    "device": make_tar(add=[special("faces/null", tarfile.CHRTYPE)]),
}


@pytest.mark.parametrize("content", BAD_TARS.values(), ids=BAD_TARS.keys())
def test_a_tar_with_a_way_out_is_refused_whole(serve, tmp_path, content):
    site = serve(content)
    folder = tmp_path / "a" / "b"
    message = failure(card_for(content, site.address), folder)
    assert "leads out of the folder" in message or "a link or a device" in message
    assert "do not unpack it by hand" in message
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["faces.archive"]


def linked_zip():
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        member = zipfile.ZipInfo("faces/link")
        member.external_attr = 0o120777 << 16
        archive.writestr(member, "/etc")
    return target.getvalue()


@pytest.mark.parametrize("content", [make_zip({"../escaped.txt": b"x"}), linked_zip()], ids=["..", "link"])
def test_a_zip_with_a_way_out_is_refused_whole(serve, tmp_path, content):
    site = serve(content)
    message = failure(card_for(content, site.address, kind="zip"), tmp_path)
    assert "do not unpack it by hand" in message
    assert [path.name for path in tmp_path.rglob("*")] == ["faces.archive"]


@pytest.mark.parametrize(("make", "kind"), [(make_tar, "tar"), (make_zip, "zip")])
def test_the_bounds_hold_on_bytes_and_members(tmp_path, make, kind):
    file = tmp_path / "bomb"
    file.write_bytes(make({f"faces/{number}": bytes(1000) for number in range(10)}))
    for number, bounds in enumerate(({"max_bytes": 9_999}, {"max_members": 9})):
        into = tmp_path / str(number)
        into.mkdir()
        with pytest.raises(DownloadFailed, match="more than"):
            unpack(file=file, into=into, kind=kind, **bounds)
    unpack(file=file, into=tmp_path, kind=kind, max_bytes=10_000, max_members=10)
    assert len(list((tmp_path / "faces").iterdir())) == 10


@pytest.mark.parametrize("kind", ["tar", "zip"])
@pytest.mark.parametrize(
    "content", [b"no archive at all" * 50, make_tar()[:200], b""], ids=["text", "cut", "empty"]
)
def test_a_broken_archive_is_named(serve, tmp_path, kind, content):
    (tmp_path / "faces.archive").write_bytes(content)
    message = failure(card_for(content, closed_address(), kind=kind), tmp_path)
    assert str(tmp_path / "faces.archive") in message


def test_an_archive_without_the_folder_of_the_card_is_named(tmp_path):
    content = make_tar({"other/a.png": PICTURE})
    (tmp_path / "faces.archive").write_bytes(content)
    assert "Expected a folder faces" in failure(card_for(content, closed_address()), tmp_path)
