"""Errors that are none of ours become one message too: what was expected, what came, what to do; no traceback."""

import errno
import os

import httpx
import pytest
import torch
import typer

from flows.cli.output import explained
from flows.shard_runs import worth_retrying


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/s/a.tar"), "Expected room to write /s/a.tar, got:"),
        (OSError(errno.EROFS, os.strerror(errno.EROFS), "/s/a.tar"), "Expected to be allowed to use /s/a.tar"),
        (httpx.ConnectError("refused"), "Expected the Prefect server http://there/api to answer, got: refused."),
        (torch.OutOfMemoryError("CUDA out of memory."), "room for one image in the device's memory, got:"),
        (
            RuntimeError("Timed out while attempting to connect to ephemeral Prefect API server."),
            "Expected Prefect's temporary server to start within 7 seconds, and it did not.",
        ),
        (RuntimeError("something else"), "RuntimeError: something else This is a fault of avih; run with"),
        (ZeroDivisionError("a secret"), "ZeroDivisionError. This is a fault of avih; run with --debug to see"),
        (BaseExceptionGroup("a secret", [KeyError("b")]), "ExceptionGroup. This is a fault of avih"),
    ],
)  # fmt: skip
def test_each_is_said_once_with_exit_code_1(error: Exception, message: str, capsys, monkeypatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://there/api")
    monkeypatch.setenv("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "7")
    with pytest.raises(typer.Exit) as left, explained(debug=False):
        raise error
    said = " ".join(capsys.readouterr().err.split())
    assert left.value.exit_code == 1 and said.startswith("error: ") and message in said
    assert "a secret" not in said  # nobody wrote it for people
    with pytest.raises(type(error)), explained(debug=True):
        raise error


@pytest.mark.parametrize("leaves", [typer.Exit(4), typer.Abort(), typer.BadParameter("no such option")])
def test_what_ends_a_command_on_purpose_passes_through(leaves: Exception, capsys) -> None:
    with pytest.raises(type(leaves)) as left, explained(debug=False):
        raise leaves
    assert left.value is leaves and not capsys.readouterr().err


class Ended:
    """The state of a task that raised."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def result(self) -> None:
        raise self.error


def test_a_full_disk_is_not_tried_again_and_a_hiccup_is() -> None:
    assert not worth_retrying(None, None, Ended(OSError(errno.ENOSPC, "full")))
    assert worth_retrying(None, None, Ended(OSError(errno.EIO, "broken")))
    assert worth_retrying(None, None, Ended(torch.OutOfMemoryError("somebody else may let it go")))
