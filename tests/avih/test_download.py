"""Downloads from a real server on this machine: whole, cut, resumed, altered, missing."""

import hashlib

import pytest

from archive_site import (
    PICTURE,
    card_for,
    closed_address,
    failure,
    make_tar,
    make_zip,
    run,
)
from avih.datasets import open_source
from avih.datasets.download import MAX_ATTEMPTS, fetch
from avih.errors import DownloadFailed


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
    assert sorted(path.name for path in folder.iterdir()) == ["faces.archive", "my-faces", "my-faces.sha256"]
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
