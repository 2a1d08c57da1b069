"""Archives that want out, hold too much, or are broken: refused whole, with what to do."""

import io
import tarfile
import zipfile

import pytest

from archive_site import (
    PICTURE,
    card_for,
    closed_address,
    failure,
    make_tar,
    make_zip,
)
from avih.datasets.unpack import unpack
from avih.errors import DownloadFailed


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
    assert "leads out of the folder" in message or "a link, a hole or a device" in message
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
