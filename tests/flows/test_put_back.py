"""An older state of a version that somebody put back: genuine, and still not made current by anybody's hand."""

import shutil

import pytest
from typer.testing import CliRunner

from avih.errors import IntegrityError
from flows.cli import gallery  # noqa: F401  # it registers its commands
from flows.cli.main import app
from small_audit import from_source
from small_methods import Gallery
from small_store import add_photo
from tasks import opened
from tasks.erase_person import erase_person
from tasks.promotion import current_version, promote_version


def call(own: Gallery, command: str, *arguments: str) -> tuple[int, str]:
    opened.forget()
    result = CliRunner().invoke(
        app, ["gallery", command, "people", *arguments, "--store", str(own.store.root)]
    )
    return result.exit_code, " ".join(result.output.split())


def live(own: Gallery) -> str:
    opened.forget()
    current = current_version(own.store, "people")
    assert current is not None
    return current.version


def test_a_state_of_before_an_erasure_does_not_go_live_again(own: Gallery) -> None:
    from_source(own, str(own.photos))
    add_photo(own)
    assert own.nightly().version == "v0002"
    backup = own.root / "backup"
    shutil.copytree(own.folder(), backup)
    erase_person(store=own.store, gallery="people", person="person_0040")
    assert call(own, "rollback")[0] == 0 and live(own) == "v0001"  # the erasure signed its promotion, too
    again = {"key_id": own.key_id, "actor": "test", "reason": "test", "again": True}
    promote_version(place=own.place("v0002"), **again)
    shutil.rmtree(own.folder())
    shutil.copytree(backup, own.folder())
    assert own.problems() == []  # its manifest is genuine
    with pytest.raises(IntegrityError, match="an older one was put back"):
        promote_version(place=own.place(), **again)
    for words in (("rollback",), ("rollback", "--dry-run"), ("promote", "v0001")):
        code, said = call(own, *words)
        assert code == 3 and "as it was promoted at" in said
    assert live(own) == "v0002"
