"""Downloads that meet others: of another card, of another process, and failures that may pass."""

import threading

import pytest

from archive_site import PICTURE, card_for, make_tar, run
from avih.datasets.download import fetch
from avih.errors import DownloadFailed, NetworkFailed


def test_a_folder_from_another_download_does_not_pass_for_this_one(serve, tmp_path):
    first, second = serve(make_tar()), serve(make_tar({"faces/Eve/Eve_0001.png": PICTURE}))
    made = run(card_for(first.content, first.address), tmp_path)
    with pytest.raises(DownloadFailed, match="another card, or an earlier one, put it there"):
        run(card_for(second.content, second.address), tmp_path)
    assert second.asked == [] and (made / "Ann" / "Ann_0001.png").exists()
    (tmp_path / "my-faces.sha256").unlink()  # as if unpacked by hand
    assert run(card_for(second.content, second.address), tmp_path) == made


def test_of_two_processes_that_ask_at_once_one_fetches_and_one_waits(serve, tmp_path):
    site = serve(make_tar())
    card, waiting, found = card_for(site.content, site.address), threading.Event(), []

    def second(have, total):
        if not waiting.is_set():  # the first is in the middle of its download
            waiting.set()
            other.start()

    other = threading.Thread(target=lambda: found.append(run(card, tmp_path)))
    made = fetch(card=card, folder=tmp_path, progress=False, heard=second)
    other.join()
    assert found == [made] and site.asked == [None]


@pytest.mark.parametrize(("cut", "kind"), [((0,), NetworkFailed), ((), DownloadFailed)])
def test_only_what_may_pass_by_itself_is_a_failure_of_the_network(serve, tmp_path, cut, kind):
    site = serve(make_tar(), cut_after=list(cut))
    address = site.address if cut else site.address.replace("faces.", "gone.")
    with pytest.raises(DownloadFailed) as failed:
        run(card_for(site.content, address), tmp_path)
    assert type(failed.value) is kind
