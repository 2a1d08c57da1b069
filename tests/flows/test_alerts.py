"""The failure hook: a file for people, a command of theirs, nothing secret, and never a broken flow."""

import json
import os
import shlex
import sys
from pathlib import Path
from types import SimpleNamespace
from uuid import uuid4

import pytest
from prefect import flow
from prefect.states import Crashed, Failed

from avih.errors import AvihError, QualityBelowLimits
from avih.naming import Store
from flows.alerts import failed, first_line, read_alerts, run_command, tell

FLOW = SimpleNamespace(name="nightly-reprotect")


def flow_run(**parameters: object) -> SimpleNamespace:
    return SimpleNamespace(id=uuid4(), name="brave-owl", parameters=parameters, parent_task_run_id=None)


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """``AVIH_ON_FAILURE`` set to a program that keeps what it got; the file it writes."""
    got = tmp_path / "got.json"
    program = tmp_path / "tell me.py"
    program.write_text(
        "import json, os, sys\n"
        "alert = json.load(sys.stdin)\n"
        "alert['secrets'] = sorted(n for n in os.environ if n in ('AVIH_PASSPHRASE', 'AVIH_KEY_FILE'))\n"
        f"open({str(got)!r}, 'w').write(json.dumps(alert))\n"
    )
    monkeypatch.setenv("AVIH_ON_FAILURE", shlex.join([sys.executable, str(program)]))
    return got


def test_a_failing_flow_leaves_one_private_file_and_runs_the_command(prefect_server, tmp_path, script):
    @flow(name="doomed", on_failure=[failed])
    def doomed(*, store: str, gallery: str) -> None:
        raise QualityBelowLimits("SSIM_e is 0.40, the limit is 0.30.\nsecond line")

    with pytest.raises(QualityBelowLimits):
        doomed(store=str(tmp_path), gallery="staff")
    (alert,) = read_alerts(Store(tmp_path))
    assert (alert.flow, alert.gallery, alert.state) == ("doomed", "staff", "FAILED")
    assert "SSIM_e is 0.40" in alert.error and "second line" not in alert.error
    assert "keeps serving" in alert.what_to_do
    (file,) = Store(tmp_path).alerts.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    told = json.loads(script.read_text())
    assert told.pop("secrets") == [] and "AVIH_PASSPHRASE" in os.environ
    assert told == json.loads(file.read_text())


def test_a_flow_inside_a_flow_leaves_the_alert_to_the_outer_one(prefect_server, tmp_path):
    @flow(name="inner", on_failure=[failed])
    def inner(*, store: str) -> None:
        raise ValueError("first try")

    @flow(name="outer", on_failure=[failed])
    def outer(*, store: str) -> str:
        try:
            inner(store=store)
        except ValueError:
            return "handled"
        return "not reached"

    assert outer(store=str(tmp_path)) == "handled"
    assert read_alerts(Store(tmp_path)) == []


@pytest.mark.parametrize(
    ("state", "word"),
    [
        (Crashed(message="Flow run infrastructure exited with -9"), "Run it again"),
        (Failed(message="Flow run encountered an exception: KeyRefused: wrong passphrase"), "passphrase"),
        (Failed(message="Flow run encountered an exception: IntegrityError: altered"), "avih verify"),
        (Failed(message="Flow run encountered an exception: ZeroDivisionError: x"), "log"),
    ],
)
def test_the_next_step_fits_what_happened(tmp_path, state, word):
    tell(flow=FLOW.name, flow_run=flow_run(store=str(tmp_path)), state=state)
    assert word in read_alerts(Store(tmp_path))[0].what_to_do


def test_store_and_gallery_are_found_in_a_place_too(tmp_path, monkeypatch):
    monkeypatch.setenv("AVIH_STORE", str(tmp_path / "another"))
    failed(FLOW, flow_run(place={"store": str(tmp_path), "gallery": "staff"}), Failed(message="x"))
    assert [alert.gallery for alert in read_alerts(Store(tmp_path))] == ["staff"]


def test_the_message_shows_no_passphrase_and_nothing_like_a_key(monkeypatch):
    monkeypatch.setenv("AVIH_PASSPHRASE", "open sesame!")
    text = first_line(f"wrong: open sesame! key {'0f' * 32} of person_0001/a-b.png\nmore")
    assert text == "wrong: *** key *** of person_0001/a-b.png"
    assert len(first_line("word " * 1000)) == 300
    assert first_line("") == ""


@pytest.mark.parametrize(
    "command", ["/no/such/program", "'", "", " ", f"{sys.executable} -c 'raise SystemExit(3)'"]
)
def test_a_command_that_fails_breaks_nothing(tmp_path, monkeypatch, command):
    monkeypatch.setenv("AVIH_ON_FAILURE", command)
    failed(FLOW, flow_run(store=str(tmp_path)), Failed(message="x"))
    assert len(read_alerts(Store(tmp_path))) == 1


def test_a_command_that_hangs_is_ended_with_all_that_it_started(tmp_path, monkeypatch):
    tell(flow=FLOW.name, flow_run=flow_run(store=str(tmp_path)), state=Failed(message="x"))
    (alert,) = read_alerts(Store(tmp_path))
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    # Both the shell and what it starts hold the pipe open: it ends only when both have ended.
    monkeypatch.setenv(
        "AVIH_ON_FAILURE", shlex.join(["sh", "-c", f"exec > {pipe}; echo begun; sleep 1000; true"])
    )
    assert run_command(alert, seconds=2.0) is None
    os.set_blocking(reader, True)
    assert os.read(reader, 100) == b"begun\n"
    assert os.read(reader, 100) == b""
    os.close(reader)


def test_a_store_that_cannot_be_written_breaks_nothing_and_the_command_still_runs(tmp_path, script):
    (tmp_path / "alerts").write_text("in the way")
    failed(FLOW, flow_run(store=str(tmp_path), gallery="staff"), Failed(message="x"))
    assert json.loads(script.read_text())["gallery"] == "staff"


def test_a_foreign_file_among_the_alerts_is_named(tmp_path):
    (tmp_path / "alerts").mkdir()
    (tmp_path / "alerts" / "x.json").write_text("{}")
    with pytest.raises(AvihError, match=r"x\.json"):
        read_alerts(Store(tmp_path))
