"""``avih gallery``, ``nightly``, ``rotate`` and ``erase`` as a user meets them: output, JSON, exit codes."""

import functools
import json

import pytest
from typer.testing import CliRunner, Result

from avih.keys import KeyStore
from flows.cli import gallery, rotate  # noqa: F401  # they register their commands
from flows.cli.main import app
from small_rotation import ATTACK, GATE
from tasks import opened

SETS = {"prior", "control", "old_key", "new_key", "same_key_other_images"}


@pytest.fixture
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let ``avih rotate`` do every step, cheaply."""
    import flows.rotate

    real = flows.rotate.rotate_keys
    monkeypatch.setattr(
        flows.rotate, "rotate_keys", lambda **given: real(**(given | {"attack": ATTACK, "gate": GATE}))
    )


def call(made, *arguments: str) -> Result:
    opened.forget()
    return CliRunner().invoke(app, [*arguments, "--store", str(made.store)])


def facts(made, *arguments: str) -> dict:
    """What a command prints; a job that makes a version tells by its exit code of broken photos."""
    result = call(made, *arguments, "--json")
    failed = json.loads(result.stdout).get("images", {}).get("failed", 0) if result.stdout else 0
    assert result.exit_code == (1 if failed else 0), result.output
    return json.loads(result.stdout)


def versions(made) -> dict[str, str]:
    return {v["version"]: v["state"] for v in facts(made, "gallery", "show", "people")["versions"]}


def add_photo(made) -> None:
    some = sorted((made.source / "person_0041").glob("*.png"))[0]
    some.with_name("another.png").write_bytes(
        sorted((made.source / "person_0042").glob("*.png"))[0].read_bytes()
    )


def test_a_night_s_versions_are_listed_compared_and_rolled_back(copy):
    assert facts(copy, "nightly", "--gallery", "people")["changed_anything"] is False
    assert "nothing was done" in call(copy, "nightly", "--gallery", "people").stdout
    add_photo(copy)
    night = facts(copy, "nightly", "--gallery", "people")
    assert (night["version"], night["added"]) == ("v0002", 1)
    assert versions(copy) == {"v0001": "earlier", "v0002": "current"}
    compared = facts(copy, "gallery", "diff", "people", "v0001", "v0002")
    (added,) = compared["added"]
    assert "another" in added and not compared["removed"] and len(compared["kept"]) > 10
    assert f"+ {added}" in call(copy, "gallery", "diff", "people", "v0001", "v0002").stdout
    back = facts(copy, "gallery", "rollback", "people", "--reason", "a test")
    assert (back["version"], back["before"], back["switched"]) == ("v0001", "v0002", True)
    assert versions(copy) == {"v0001": "current", "v0002": "earlier"}
    assert facts(copy, "gallery", "promote", "people", "v0002")["switched"] is True
    assert facts(copy, "gallery", "list")["galleries"]["people"]["version"] == "v0002"
    log = facts(copy, "gallery", "show", "people")["promotions"]
    assert [entry["version"] for entry in log] == ["v0001", "v0002", "v0001", "v0002"]
    assert log[2]["reason"] == "a test"


def test_a_damaged_version_is_not_promoted(copy):
    add_photo(copy)
    facts(copy, "nightly", "--gallery", "people")
    shard = copy.protected / "00001.tar"
    data = bytearray(shard.read_bytes())
    data[5000] ^= 1
    shard.write_bytes(data)
    refused = call(copy, "gallery", "rollback", "people")
    assert refused.exit_code == 3
    assert versions(copy)["v0002"] == "current"


def test_rotate_prints_the_verdict_and_every_set(copy, cheap):
    done = facts(copy, "rotate", "--gallery", "people", "--approve", "auto")
    assert (done["verdict"], done["version"], done["old_key"]) == ("pass", "v0002", copy.result.key_id)
    assert set(done["attack_check"]) >= SETS
    assert {"ssim", "ssim_advantage", "id_rate"} <= set(done["attack_check"]["control"])
    states = {record.key_id: str(record.state) for record in KeyStore(copy.store / "3_keys").list()}
    assert states == {done["old_key"]: "deactivated", done["new_key"]: "active"}
    assert call(copy, "rotate", "--gallery", "people", "--only-if-due").stdout.endswith(
        "no rotation is due.\n"
    )
    shown = call(copy, "gallery", "rollback", "people")
    assert shown.exit_code == 0 and "deactivated" in shown.output


def test_a_rotation_that_waits_can_be_given_up(copy, cheap):
    waits = call(copy, "rotate", "--gallery", "people", "--approve", "ask")
    assert waits.exit_code == 1 and "waits for a yes" in waits.output
    assert versions(copy) == {"v0001": "current", "v0002": "protected"}
    assert "was given up" in call(copy, "rotate", "--gallery", "people", "--give-up").stdout
    assert call(copy, "rotate", "--gallery", "people", "--give-up").exit_code == 2
    assert facts(copy, "nightly", "--gallery", "people")["changed_anything"] is False


def test_erase_says_what_would_go_then_does_it(copy):
    erase = functools.partial(facts, copy, "erase", "--gallery", "people", "--person", "person_0042")
    before = copy.files()
    assert erase("--dry-run") == {"v0001": 3}
    assert copy.files() == before
    done = erase()
    assert (done["photos"], done["found"]) == (3, [])


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("gallery", "show", "nobody"), 2, "there are: people"),
        (("gallery", "diff", "people", "v0001", "v0009"), 2, "v0009"),
        (("gallery", "promote", "people", "v0009"), 2, "v0009"),
        (("gallery", "rollback", "people"), 2, "roll back"),
        (("nightly", "--gallery", "nobody"), 2, "nobody"),
        (("rotate", "--gallery", "people", "--approve", "perhaps"), 2, "perhaps"),
        (("rotate", "--gallery", "nobody"), 2, "nobody"),
        (("erase", "--gallery", "people", "--person", "nobody"), 2, "nobody"),
    ],
)
def test_what_cannot_be_done_is_refused_readably(copy, arguments, code, told):
    refused = call(copy, *arguments)
    assert refused.exit_code == code, refused.output
    assert told in refused.output and "Traceback" not in refused.output
