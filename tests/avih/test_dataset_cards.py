"""Cards of data sets: one per reader, found where they are installed, refused with the field."""

import importlib.util
import re
import tomllib
from pathlib import Path

import pytest

import avih
from avih.datasets import layouts
from avih.datasets.cards import card_names, cards_folder, load_card
from avih.datasets.registry import READERS
from avih.errors import UsageError

REPOSITORY = Path(__file__).parents[2]

GOOD_CARD = (REPOSITORY / "data" / "0_sources" / "lfw.toml").read_text()


def test_every_reader_has_a_card_and_every_card_a_reader():
    assert set(card_names()) == {*READERS, "synthetic"}
    for name in card_names():
        card = load_card(name)
        assert card.layout in layouts()
        assert len(card.citation) > 4
        assert len(card.by_hand) > 20


def test_the_repository_s_cards_are_found():
    assert cards_folder() == REPOSITORY / "data" / "0_sources"


def test_an_installed_package_brings_its_cards_along(tmp_path, monkeypatch):
    monkeypatch.setattr(avih, "__file__", str(tmp_path / "site-packages" / "avih" / "__init__.py"))
    with pytest.raises(UsageError, match="Expected data-set cards in"):
        load_card("lfw")
    installed = tmp_path / "site-packages/avih/datasets/cards"
    installed.mkdir(parents=True)
    (installed / "lfw.toml").write_text(GOOD_CARD)
    assert card_names() == ("lfw",)
    assert load_card("lfw").persons == 5749


def test_only_cards_with_a_hash_have_an_address():
    hashes = {one.file: one.sha256 for name in card_names() for one in load_card(name).archives}
    assert set(hashes) == {"lfw.tgz", "lfw-funneled.tgz", "val2017.zip"}
    assert all(hashes.values())


def test_lfw_s_hashes_are_those_that_scikit_learn_pins():
    # Read as text: importing scikit-learn takes seconds.
    package = importlib.util.find_spec("sklearn").submodule_search_locations[0]
    text = Path(package, "datasets", "_lfw.py").read_text()
    for one in load_card("lfw").archives:
        pinned = rf'filename="{one.file}",\s*url="{one.address}",\s*checksum="{one.sha256}"'
        assert re.search(pinned, text)


def test_an_unknown_card_lists_the_known_ones():
    with pytest.raises(UsageError, match="celeba, coco, image_folder, lfw, orl, synthetic, got 'vggface'"):
        load_card("vggface")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('licence = "', 'license = "', "licence: Field required.*license: Extra inputs"),
        ('sha256 = "0', 'sha256 = "X', r"archives\.0\.sha256"),
        ('kind = "tar"', 'kind = "rar"', r"archives\.0\.kind"),
        ('unpack_as = "lfw"', 'unpack_as = "../lfw"', r"archives\.0\.unpack_as"),
        ('unpack_as = "lfw"', 'unpack_as = "lfw.tgz"', "must differ"),
        ("https://ndownloader", "file:///ndownloader", r"archives\.0\.address"),
        ('name = "lfw"', 'name = "wlf"', "Expected the name 'lfw'"),
        ('name = "lfw"', "name = lfw", "Expected a TOML file"),
        ("photos = 13233", "photos = -1", "photos"),
    ],
)
def test_a_broken_card_is_refused_with_the_field(tmp_path, old, new, message):
    assert old in GOOD_CARD
    (tmp_path / "lfw.toml").write_text(GOOD_CARD.replace(old, new, 1))
    with pytest.raises(UsageError, match=message):
        load_card("lfw", folder=tmp_path)


def test_cards_are_frozen_and_hold_no_secret_fields():
    card = load_card("lfw")
    with pytest.raises(ValueError, match="frozen"):
        card.photos = 1
    assert set(tomllib.loads(GOOD_CARD)) <= set(type(card).model_fields)
