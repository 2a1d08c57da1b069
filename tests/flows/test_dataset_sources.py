"""``dataset:NAME`` as a source: from a web server to a protected gallery, and ``avih datasets``."""

import json

import pytest
from typer.testing import CliRunner

from archive_site import closed_address, drawn_tar, write_card
from avih.datasets import open_source
from avih.datasets.addresses import Dataset
from avih.datasets.registry import files_of
from avih.errors import DownloadFailed, UsageError
from avih.index_file import read_index
from avih.naming import Store, suggest_gallery_name
from flows.cli import datasets, plan, run  # noqa: F401  # register the commands
from flows.cli.main import app
from small_audit import copied, from_source, light_settings
from small_methods import FACES, Gallery
from tasks.data_source import open_photos
from tasks.run_record import load_run


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    """An archive of drawn faces, of the same persons as the light gallery's."""
    return drawn_tar(tmp_path_factory.mktemp("drawn"), FACES)


def invoked(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def avih(*arguments):
    return invoked("datasets", *arguments)


def test_a_run_fetches_indexes_aligns_and_protects(prefect_server, serve, content, tmp_path, capfd):
    # The first answer breaks off, the second brings nothing: the task ends, and Prefect tries it again.
    site = serve(content, cut_after=[1000, 0])
    card = write_card(tmp_path / "cards", content, site.address)
    gallery = Gallery(tmp_path, light_settings())
    result = gallery.run(source=f"dataset:{card}")
    assert result.live and result.summary.counts["below_quality"] == 8  # as this method is
    assert site.asked == [None, "bytes=1000-", "bytes=1000-"] and sum(site.sent) == len(content)
    told = " ".join(capfd.readouterr().err.split())
    assert "licence: For everybody who asks. citation: Nobody (2026): Drawn faces." in told
    assert (gallery.store.sources / "my-faces").is_dir()
    assert load_run(store=gallery.store, gallery="people").source == f"dataset:{card}"
    rows = read_index(store=gallery.store, gallery="people", version="v0001", shard=0)
    assert set(rows.person) == {"person_0040", "person_0041"}


def test_a_card_without_a_hash_stops_a_run_before_anything_begins(serve, content, tmp_path):
    site = serve(content)
    card = write_card(tmp_path / "cards", content, site.address, sha256=None)
    done = invoked(
        "run", "--source", f"dataset:{card}", "--recogniser", "synthetic", "--store", tmp_path / "store"
    )
    assert done.exit_code == 1 and "Expected a SHA-256 in the card of faces" in done.stderr
    assert site.asked == [] and not (tmp_path / "store").exists()


def test_a_night_reads_a_data_set_and_a_machine_that_lacks_it_fetches_it(serve, content, light, tmp_path):
    gallery = copied(light, tmp_path)
    altered, site = serve(content[:-20] + bytes(20)), serve(content)
    card = write_card(tmp_path / "cards", content, altered.address)
    from_source(gallery, f"dataset:{card}")
    with pytest.raises(DownloadFailed, match=r"with SHA-256 .* the file was deleted"):
        gallery.nightly()
    assert list(gallery.store.sources.iterdir()) == [] and gallery.store.versions("people") == ["v0001"]
    write_card(tmp_path / "cards", content, site.address)
    night = gallery.nightly()
    assert (night.changed_anything, night.version) == (False, "v0001")  # the same photos, from elsewhere
    gallery.nightly()
    assert site.asked == [None]  # fetched once
    other = Store(tmp_path / "other machine")
    photos = open_photos(source=f"dataset:{card}", layout="auto", store=other)
    assert len(list(photos.photos())) == 8 and len(site.asked) == 2


def test_fetch_tells_first_goes_on_where_it_broke_off_and_is_done_once(serve, content, tmp_path):
    site = serve(content, cut_after=[500, 0])
    card = write_card(tmp_path / "cards", content, site.address)
    to = ("--store", tmp_path / "store")
    planned = avih("fetch", card, *to, "--dry-run", "--json")
    assert planned.exit_code == 0 and site.asked == [] and not (tmp_path / "store").exists()
    facts = json.loads(planned.stdout)
    assert (facts["address"], facts["fetched"]) == (site.address, False) and "licence: For" in planned.stderr
    broken = avih("fetch", card, *to)
    assert broken.exit_code == 1 and "500 bytes are kept" in " ".join(broken.stderr.split())
    done = avih("fetch", card, *to, "--json")
    assert done.exit_code == 0, done.stderr
    facts = json.loads(done.stdout)
    assert (facts["fetched"], facts["was_there"], facts["source"]) == (True, False, f"dataset:{card}")
    assert site.sent == [500, 0, len(content) - 500]
    again = avih("fetch", card, *to)
    assert again.exit_code == 0 and "was fetched before" in again.stdout and len(site.asked) == 3
    assert "licence: For" not in again.stderr


def test_the_list_names_every_card_with_its_licence_and_what_is_fetched(tmp_path):
    (tmp_path / "0_sources" / "lfw-funneled").mkdir(parents=True)
    listed = avih("--store", tmp_path, "--json")
    assert listed.exit_code == 0, listed.stderr
    facts = {one["name"]: one for one in json.loads(listed.stdout)["datasets"]}
    assert (facts["lfw"]["photos"], facts["lfw"]["persons"], facts["lfw"]["fetched"]) == (13233, 5749, True)
    assert [one["fetched"] for one in facts["lfw"]["archives"]] == [False, True]
    assert facts["coco"]["fetched"] is False and all(one["licence"] for one in facts.values())
    shown = avih("list", "--store", tmp_path)
    assert "fetched: lfw-funneled" in shown.stdout and "13,233 photos" in shown.stdout


def test_what_is_not_fetched_is_not_opened_and_the_command_is_named(tmp_path):
    with pytest.raises(
        UsageError, match=r"not fetched yet. Run: avih datasets fetch lfw --archive lfw-funneled$"
    ):
        open_source(source="dataset:lfw/lfw-funneled", downloads=tmp_path)
    done = invoked(
        "plan", "--source", "dataset:lfw", "--recogniser", "synthetic", "--store", tmp_path / "none"
    )
    assert done.exit_code == 2 and "avih datasets fetch lfw" in " ".join(done.stderr.split())
    assert not (tmp_path / "none").exists()


def test_a_fetched_data_set_is_read_with_its_card_s_layout_unless_another_is_given(tmp_path):
    FACES.write(tmp_path / "lfw")
    assert open_source(source="dataset:lfw", downloads=tmp_path).layout == "lfw"
    assert (
        open_source(source="dataset:lfw", layout="image_folder", downloads=tmp_path).layout == "image_folder"
    )


def test_addresses(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    card = write_card(tmp_path, b"", closed_address())
    given = ("dataset:lfw", "dataset:lfw/lfw", "dataset:lfw/lfw-funneled", "dataset:./faces.toml/my-faces")
    assert [Dataset.find(one).address for one in (*given, "dataset:faces.toml")] == [
        "dataset:lfw", "dataset:lfw", "dataset:lfw/lfw-funneled", f"dataset:{card}", f"dataset:{card}",
    ]  # fmt: skip
    assert Dataset.find("lfw", archive="lfw-funneled").address == "dataset:lfw/lfw-funneled"
    names = ("dataset:lfw", "dataset:lfw/lfw-funneled", f"dataset:{card}")
    assert [suggest_gallery_name(name) for name in names] == ["lfw", "lfw-funneled", "faces"]
    assert [files_of(name) for name in (*names, "synthetic", "/photos")] == [
        (), (), (str(card),), (), ("/photos",)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("address", "kind", "message"),
    [
        ("dataset:vggface", UsageError, "Expected a data set of celeba, coco"),
        ("dataset:", UsageError, "Expected a data set of"),
        ("dataset:../lfw", UsageError, "Expected a data set of"),
        ("dataset:lfw/other", DownloadFailed, "Expected an archive of lfw, lfw-funneled"),
        ("dataset:/nowhere/faces.toml", UsageError, "Expected a TOML file at /nowhere/faces.toml"),
        ("dataset:orl", DownloadFailed, "not fetched by this program. By hand"),
        ("dataset:synthetic", DownloadFailed, "give the word synthetic as the source"),
    ],
)
def test_wrong_addresses_are_refused_with_what_to_do(address, kind, message):
    with pytest.raises(kind, match=message):
        Dataset.find(address)
