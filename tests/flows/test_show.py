"""``avih show`` as its owner and as others meet it: pages on loopback, recovered pictures, refusals, no trace."""

import base64
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import requests
from typer.testing import CliRunner, Result

from avih.errors import UsageError
from avih.evaluation.summary import Limits
from avih.gallery_report.facts import Now
from avih.gallery_report.serving import PageServer
from avih.images import decode_png
from chromium import chromium
from command import PROGRAM, ROOT
from flows.cli import show  # noqa: F401  # it registers its command
from flows.cli.main import app
from small_methods import Gallery
from tasks import opened, show_gallery
from tasks.gallery_facts import gather
from tasks.run_record import load_run
from tasks.show_gallery import GalleryPages
from tasks.verify_store import verify_store

DATA = re.compile(r'src="data:image/png;base64,([^"]+)"')


def contents(*folders: Path) -> dict[str, tuple[bytes, int]]:
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def pictures(text: str) -> list[np.ndarray]:
    return [decode_png(base64.b64decode(found)) for found in DATA.findall(text)]


def holds(found: list[np.ndarray], wanted: np.ndarray) -> bool:
    return any(np.array_equal(one, wanted) for one in found)


def call(gallery: Gallery, *arguments: str) -> Result:
    opened.forget()
    return CliRunner().invoke(app, ["show", *arguments, "--store", str(gallery.store.root)])


def pages_of(gallery: Gallery, *, recovered: bool = False) -> GalleryPages:
    opened.forget()
    return GalleryPages(
        load_run(store=gallery.store, gallery="people"), store=str(gallery.store.root), recovered=recovered,
        now=lambda: Now(live=True, headline="since today"), mac_key=None,
    )  # fmt: skip


@contextmanager
def serving(pages: Callable[[str, dict[str, str]], str | None]) -> Iterator[PageServer]:
    with PageServer(pages) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def shown(light: Gallery) -> Iterator[PageServer]:
    with serving(pages_of(light)) as server:
        yield server


def test_the_command_serves_recovered_pictures_and_leaves_nothing_behind(light, tmp_path):
    """The real command in a process of its own, ended as people end it."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    before = contents(light.store.root)
    process = subprocess.Popen(
        [*PROGRAM, "show", "people", "--recovered", "--no-browser", "--store", str(light.store.root)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(temporary), "HOME": str(tmp_path / "home")},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    try:
        address = process.stdout.readline().partition("here: ")[2].strip()
        report, sheet = (requests.get(address + path, timeout=120) for path in ("", "pictures"))
    finally:
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert "Stopped" in errors and not out
    assert report.status_code == sheet.status_code == 200
    assert report.headers["Cache-Control"] == sheet.headers["Cache-Control"] == "no-store"
    assert "LIVE" in report.text and "MLflow, evaluation" in report.text
    found = pictures(sheet.text)
    assert len(found) == 16
    for name, original in light.originals().items():
        assert holds(found, original), name
        assert not holds(pictures(report.text), original)
    assert contents(light.store.root) == before
    assert not [path for path in contents(temporary) if path.endswith((".png", ".html"))]
    assert os.environ["AVIH_PASSPHRASE"] not in report.text + sheet.text + errors


def test_without_being_asked_no_picture_is_recovered(light, shown):
    found = pictures(requests.get(shown.address + "pictures", timeout=60).text)
    stored = [decode_png(files["png"]) for files in light.samples().values()]
    assert len(found) == len(stored) == 8 and all(holds(found, one) for one in stored)
    assert not any(holds(found, original) for original in light.originals().values())


def test_strangers_and_pages_of_others_are_refused(shown):
    origin = shown.address.rpartition("/")[0].rpartition("/")[0]
    for path in (
        "/",
        "/pictures",
        f"/{shown.token[:-1]}/",
        f"/{shown.token}x/",
        "/open/",
        "/open/guess",
        "/%ff/",
    ):
        assert requests.get(origin + path, timeout=60).status_code == 403, path
    for host in ("evil.example", "evil.example:80", "127.0.0.1", f"127.0.0.1.nip.io:{shown.server_port}"):
        refused = requests.get(shown.address, headers={"Host": host}, timeout=60)
        assert refused.status_code == 403 and "people" not in refused.text
    assert requests.post(shown.address, timeout=60).status_code == 501
    for path in ("secret", "pictures?page=0", "pictures?page=2", "pictures?page=x",
                 "pictures?page=" + "9" * 5000):  # fmt: skip
        assert requests.get(shown.address + path, timeout=60).status_code == 404, path
    headers = requests.get(shown.address, timeout=60).headers
    assert "default-src 'none'" in headers["Content-Security-Policy"] and "Server" not in headers
    assert "script-src" not in headers["Content-Security-Policy"] and headers["X-Frame-Options"] == "DENY"
    assert shown.server_address[0] == "127.0.0.1"


def test_the_address_that_starts_a_browser_opens_once(light):
    with serving(lambda path, asked: "<p>here</p>") as server:
        first = requests.get(server.first_visit, timeout=60)
        assert first.text == "<p>here</p>" and first.url == server.address
        again = requests.get(server.first_visit, timeout=60)
        assert again.status_code == 403 and "used already" in again.text
        assert server.token not in server.first_visit
        with pytest.raises(UsageError, match="--port"):
            PageServer(lambda path, asked: None, port=server.server_port)


def test_many_pictures_come_in_pages_that_read_their_own_shards_alone(own, monkeypatch):
    monkeypatch.setattr(show_gallery, "PAGE", 3)
    pages, read = pages_of(own), []
    real = show_gallery.iter_samples
    monkeypatch.setattr(
        show_gallery,
        "iter_samples",
        lambda store, address: read.append(address.number) or real(store, address),
    )
    sheets = [pages.sheet(number) for number in (1, 2, 3)]
    assert [len(sheet.cards) for sheet in sheets] == [3, 3, 2] and pages.sheet(4) is None
    assert read == [0, 0, 1, 1]
    names = [card.image for sheet in sheets for card in sheet.cards]
    assert sorted(names) == sorted(own.samples()) and len(set(names)) == 8
    assert all(card.cos is not None and card.ssim_e is not None for card in sheets[0].cards)
    text = pages("pictures", {"page": "2"})
    assert "page 2 of 3" in text and 'href="pictures?page=3"' in text
    path = own.folder() / "00001.tar"
    path.write_bytes(path.read_bytes()[:-1024] + b"x" * 1024)
    damaged = pages.sheet(3)
    assert damaged.cards == () and "00001" in damaged.problems[0]


def test_a_version_that_lost_its_figures_is_shown_all_the_same(own):
    pages = pages_of(own)
    assert "WITHIN THE LIMITS" in pages.report()
    own.store.folder("evaluated", gallery="people", version="v0001", key_id=own.key_id).joinpath(
        "summary.json"
    ).unlink()
    text = pages.report()
    assert "NOT MEASURED" in text and "8 of 8 photos are protected" in text and len(pictures(text)) == 8


def test_a_report_goes_into_a_file_and_bad_wishes_are_refused(light, tmp_path):
    file = tmp_path / "report.html"
    done = call(light, "people", "--out", str(file))
    assert done.exit_code == 0, done.output
    text = file.read_text()
    assert "LIVE" in text and len(pictures(text)) == 8 and 'href="pictures"' not in text
    for arguments, told in (
        (("people", "--out", str(file), "--recovered"), "--recovered"),
        (("people", "--out", str(tmp_path)), "folder"),
        (("staff", "--out", str(file)), "staff"),
        (("people", "--version", "v0009", "--out", str(file)), "v0009"),
    ):
        refused = call(light, *arguments)
        assert refused.exit_code == 2 and told in refused.stderr, arguments


def test_nobody_without_the_passphrase_sees_recovered_pictures(light, monkeypatch):
    monkeypatch.setenv("AVIH_PASSPHRASE", "another horse battery staple")
    refused = call(light, "people", "--recovered", "--no-browser")
    assert refused.exit_code == 3 and not refused.stdout


def test_the_trend_ends_at_the_version_and_believes_signed_figures_alone(own):
    index = own.store.folder("index", gallery="people", version="v0001")
    shutil.copytree(index, index.with_name("v0002"))
    mac_key = opened.vault(own.store.root).mac_key()

    def trend(version: str):
        given = {"metrics": {"cos_mean": 0.9}, "images": {"protected": 8}}
        return gather(
            place=own.place(version), key_id=own.key_id, shards=[], tables=[], summary=given, limits=Limits(),
            pictures=(), mac_key=mac_key,
        )  # fmt: skip

    assert [point.version for point in trend("v0001").trend] == ["v0001"]
    assert [point.version for point in trend("v0002").trend] == ["v0001", "v0002"]
    path = (
        own.store.folder("evaluated", gallery="people", version="v0001", key_id=own.key_id) / "summary.json"
    )
    path.write_bytes(path.read_bytes().replace(b'"below_quality": 8', b'"below_quality": 9'))
    altered = trend("v0002")
    assert [point.version for point in altered.trend] == ["v0002"] and "v0001" in altered.notes[0]


def test_the_pages_fit_a_phone(light, tmp_path):
    browser = chromium(tmp_path)
    for name, path in (("report", ""), ("pictures", "pictures")):
        page = tmp_path / f"{name}.html"
        page.write_text(pages_of(light, recovered=True)(path, {}))
        laid = browser.laid(page, widths=[412, 1280])
        assert [(one.scroll_width, one.outside) for one in laid] == [(412, ""), (1280, "")]


def test_the_kept_report_is_signed_and_holds_protected_pictures_alone(own):
    folder = own.store.folder("evaluated", gallery="people", version="v0001", key_id=own.key_id)
    found = pictures((folder / "report.html").read_text())
    originals = own.originals()
    stored = [decode_png(files["png"]) for files in own.samples().values()]
    assert len(found) == 8 and all(holds(stored, one) for one in found)
    assert not any(holds(found, one) for one in originals.values())
    assert not any(name in (folder / "report.html").read_text() for name in originals)
    (folder / "report.html").write_text("something else")
    done = verify_store(
        store=own.store, passphrase=None, gallery="people", version=None, read_data=True, part=None
    )
    assert any("report.html" in problem.where for problem in done.problems)
