"""Parsers of names, cards, settings and pictures."""

import re
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from avih import naming
from avih.atomic import maker_of
from avih.datasets import open_source
from avih.datasets.cards import load_card
from avih.errors import AvihError
from avih.images import decode_photo, decode_png
from avih.naming import ShardAddress
from avih.recognisers import read_card
from avih.settings import RunSettings, preset
from benchmarks.bad_inputs.cards import CARD, DATASET
from benchmarks.bad_inputs.pictures import PHOTO, encoded, odd_formats
from benchmarks.fuzz.parser import Parser, in_file, same_record, text

ADDRESSES: Final = [
    b"2_aligned/people/v0001/00000.tar",
    b"4_protected/people/0123456789abcdef/v0001/00007.done.json",
]


def _image(path: str) -> str:
    name = naming.image_id(path)
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,120}", name), name
    return name


def _address(address: ShardAddress) -> ShardAddress:
    return ShardAddress.parse(str(address.folder / f"{address.name}.tar"))


def _version(number: int) -> int:
    return naming.version_number(naming.version_name(number))


def _celeba(path: Path) -> list[str]:
    photos = path.parent / "img_align_celeba"
    photos.mkdir()
    (photos / "000001.jpg").touch()
    return [photo.person for photo in open_source(source=str(path.parent), layout="celeba").photos()]


def _photos() -> list[bytes]:
    return [odd.data for odd in odd_formats(PHOTO.resize((24, 24))).values()]


def _settings() -> list[bytes]:
    chosen = [RunSettings(), preset("fast", recovery="sealed"), preset("fast", method="person_veil")]
    return [settings.model_dump_json().encode() for settings in chosen]


def _photo(data: bytes) -> object:
    return decode_photo(data, name="a.jpg", max_pixels=100_000).notes


def _maker(name: str) -> object:
    return maker_of(Path(name))


PARSERS: Final = (
    Parser("gallery name", lambda: [b"people", b"lfw-gray"], text(naming.gallery_name), naming.gallery_name),
    Parser("suggested name", lambda: [b"/LFW_gray/"], text(naming.suggest_gallery_name), naming.gallery_name),
    Parser("version", lambda: [b"v0001", b"v12345"], text(naming.version_number), _version),
    Parser("shard address", lambda: ADDRESSES, text(ShardAddress.parse), _address),
    Parser("image id", lambda: [b"Ann/Ann_0001.jpg", b"a b/c.d.png"], text(_image)),
    Parser("temporary name", lambda: [b".a.tar.01234567-123-89abcdef.part"], text(_maker)),
    Parser("card", lambda: [CARD.encode()], in_file("card.toml", read_card)),
    Parser(
        "card of a data set",
        lambda: [DATASET.replace(b"FILE", b"faces.tar")],
        in_file("faces.toml", lambda path: load_card("faces", folder=path.parent)),
        same_record,
    ),
    Parser("identities of CelebA", lambda: [b"000001.jpg 2880\n000002.jpg 2937\n"],
           in_file("identity_CelebA.txt", _celeba)),
    Parser("settings", _settings, RunSettings.model_validate_json, same_record, (AvihError, ValidationError)),
    Parser("stored picture", lambda: [encoded("PNG")], lambda data: decode_png(data).shape),
    Parser("photo", _photos, _photo, slow=True),
)  # fmt: skip
