"""Pictures of faces in clear never leave the machine that made them, and go with what they were made with."""

import pytest

from avih.atomic import remove, write_bytes
from avih.mirror.names import is_shared
from avih.mirror.seam import reread, stays_here
from s3_server import BUCKET, client

FOLDER = "5_evaluated/people/0123456789abcdef/v0001"
SHEET, SUMMARY, REPORT = (
    f"{FOLDER}/owner/contact_sheet.png",
    f"{FOLDER}/summary.json",
    f"{FOLDER}/report.html",
)


@pytest.mark.parametrize(
    ("name", "shared"),
    [(SHEET, False), (f"{FOLDER}/owner/more/a.png", False), (SUMMARY, True),
     ("1_index/owner/v0001/run.json", True), ("1_index/owner/night.json", True), ("4_protected/a/b/owner", True)],
)  # fmt: skip
def test_a_folder_of_the_owner_is_not_shared_whatever_a_gallery_is_called(name, shared):
    assert is_shared(name) is shared


def test_a_sheet_stays_here_and_goes_with_the_summary_it_was_made_with(shared):
    a, b = shared.open("a"), shared.open("b")
    for machine in (a, b):
        write_bytes(machine.root / SHEET, b"faces", mode=0o600)
    write_bytes(a.root / REPORT, b"report")
    write_bytes(a.root / SUMMARY, b"one")
    assert set(shared.objects()) == {REPORT, SUMMARY}
    assert stays_here(a.root / SHEET) and not stays_here(a.root / SUMMARY)
    reread(b.root)
    reread(a.root)
    assert (a.root / SHEET).exists() and (
        b.root / SHEET
    ).exists()  # nobody changed the summary since it was read
    write_bytes(b.root / SUMMARY, b"two")
    a.refreshed()
    assert not (a.root / SHEET).exists() and (b.root / SHEET).exists()
    write_bytes(a.root / SHEET, b"faces", mode=0o600)
    for name in (SUMMARY, REPORT):  # as erasing a person does
        remove(b.root / name)
    a.refreshed()
    assert not (a.root / FOLDER).exists()


def test_a_sheet_that_an_earlier_release_sent_is_not_fetched(shared):
    a = shared.open("a")
    write_bytes(a.root / SUMMARY, b"one")
    client(shared.server.url).put_object(Bucket=BUCKET, Key=f"{shared.prefix}/{SHEET}", Body=b"faces")
    assert not (shared.open("b").root / SHEET).exists()
