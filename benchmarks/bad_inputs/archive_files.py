"""Archives that no data set would send, made in memory."""

import gzip
import io
import lzma
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from typing import Final

from benchmarks.bad_inputs.pictures import encoded

FILES: Final = {"faces/Ann/Ann_0001.png": encoded("PNG"), "README": b"read me"}
Content = Callable[[], bytes]


def tar_of(
    files: dict[str, bytes] = FILES, *, add: tuple[tarfile.TarInfo, ...] = (), kind: str = "w:gz"
) -> bytes:
    """Return a tar of these files and of these members, which have no content."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode=kind) as tar:  # type: ignore[call-overload]
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        for member in add:
            tar.addfile(member)
    return target.getvalue()


def special(name: str, kind: bytes, target: str = "", *, size: int = 0) -> tarfile.TarInfo:
    """Return a member that is no plain file."""
    member = tarfile.TarInfo(name)
    member.type, member.linkname, member.size = kind, target, size
    return member


def with_member(name: str, kind: bytes, target: str = "") -> Content:
    return lambda: tar_of(add=(special(name, kind, target),))


def announced(kind: bytes, size: int, *, sent: int = 0) -> Content:
    """A compressed tar with a member that announces ``size`` bytes and brings ``sent`` MiB of zeros."""

    def make() -> bytes:
        target = io.BytesIO()
        with gzip.open(target, "wb", compresslevel=1) as file:
            file.write(special("faces/a.png", kind, size=size).tobuf(tarfile.GNU_FORMAT))
            for _ in range(sent):
                file.write(bytes(2**20))
        return target.getvalue()

    return make


def sparse(name: str = "faces/hole.png") -> bytes:
    """A tar whose only member is a hole of a terabyte."""
    size, target = 2**40, io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=tarfile.PAX_FORMAT) as tar:
        member = tarfile.TarInfo(name)
        member.size = 1
        member.pax_headers = {
            "GNU.sparse.map": f"{size - 1},1",
            "GNU.sparse.numblocks": "1",
            "GNU.sparse.size": str(size),
        }
        tar.addfile(member, io.BytesIO(b"x"))
    return target.getvalue()


def hungry_xz() -> bytes:
    """An xz file whose reader is asked for a dictionary of 1.5 GiB."""
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 4096}]
    data = bytearray(lzma.compress(tar_of(kind="w"), lzma.FORMAT_XZ, filters=filters))
    # Block header: size, flags, filter id 0x21, one byte of properties, the dictionary's size; then a CRC-32.
    at = data.index(b"\x21\x01", 12) + 2
    data[at] = 39  # 3 GiB; 40 is 4 GiB - 1
    end = 12 + (data[12] + 1) * 4
    data[end - 4 : end] = struct.pack("<I", zlib.crc32(bytes(data[12 : end - 4])))
    return bytes(data)


def twice() -> bytes:
    """A tar in which two members have one name."""
    return tar_of(add=(tarfile.TarInfo("faces/Ann/Ann_0001.png"),))


def zip_of(
    files: dict[str, bytes] = FILES, *, attributes: int = 0, kind: int = zipfile.ZIP_DEFLATED
) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", kind) as archive:
        for name, content in files.items():
            member = zipfile.ZipInfo(name)
            member.external_attr, member.compress_type = attributes << 16, kind
            archive.writestr(member, content)
    return target.getvalue()


def changed(data: bytes, at: int, value: bytes, *, mark: bytes) -> bytes:
    """Return a zip with a field of its local or central headers changed."""
    found = bytearray(data)
    place = found.find(mark)
    while place >= 0:
        found[place + at : place + at + len(value)] = value
        place = found.find(mark, place + 1)
    return bytes(found)


LOCAL, CENTRAL, END = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"


def locked_zip() -> bytes:
    """A zip that says it is encrypted."""
    return changed(changed(zip_of(), 6, b"\1\0", mark=LOCAL), 8, b"\1\0", mark=CENTRAL)


def overlapping_zip() -> bytes:
    """A zip of 500 names whose entries all lie over one another, each of 16 MiB of zeros."""
    one = zip_of({"faces/0.png": bytes(2**24)})
    at, end = one.index(CENTRAL), one.index(END)
    entry = one[at:end]
    entries = b"".join(entry.replace(b"faces/0.png", b"face%06d" % number + b"x") for number in range(500))
    tail = struct.pack("<4sHHHHIIH", END, 0, 0, 500, 500, len(entries), at, 0)
    return one[:at] + entries + tail


def zip_twice() -> bytes:
    """A zip in which two entries have one name."""
    first = zip_of({"faces/a.png": b"first", "faces/b.png": b"other"})
    return first.replace(b"faces/b.png", b"faces/a.png")


def nested() -> bytes:
    """A tar in a zip in a tar: what is inside is a file like any other, and no folder of photos."""
    return tar_of({"inner.zip": zip_of({"inner.tar": tar_of()})})
