"""Shared by all tests: a passphrase, a real Prefect server of our own, and a small gallery made once."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from avih.keys import sealing

if TYPE_CHECKING:
    from archive_site import Site
    from s3_server import S3Server
    from small_remote import Shared

PASSPHRASE = "correct horse battery staple"

# Prefect reads its home at import, so the folder must be there before any test module is collected.
_HOME = Path(tempfile.mkdtemp(prefix="avih-prefect-"))
os.environ["PREFECT_HOME"] = str(_HOME)
os.environ["PREFECT_LOCAL_STORAGE_PATH"] = str(_HOME / "results")
os.environ["PREFECT_LOGGING_LEVEL"] = "ERROR"
# Small pictures gain nothing from threads, and two busy processes with two threads each wait for one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["AVIH_PASSPHRASE"] = PASSPHRASE
# Half a second a derivation is right for users and wrong for a thousand tests; the default has a test of its own.
object.__setattr__(sealing.DEFAULT_COST, "log2_n", 14)
os.environ.pop("AVIH_STORE", None)
os.environ.pop("AVIH_KEY_FILE", None)
os.environ.pop("MLFLOW_TRACKING_URI", None)


def pytest_sessionfinish() -> None:
    """Remove Prefect's home of this session."""
    shutil.rmtree(_HOME, ignore_errors=True)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real faces and models; tests that need it skip without it."""
    folder = Path(os.environ.get("AVIH_REAL_DATA", Path(__file__).parents[2] / "shared"))
    if not (folder / "data").is_dir():
        pytest.skip(f"real data not found at {folder}; set AVIH_REAL_DATA")
    return folder


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[None]:
    """A real Prefect server with a database of its own."""
    import flows.environment  # noqa: F401

    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
    from prefect.testing.utilities import prefect_test_harness

    with (
        prefect_test_harness(server_startup_timeout=180),
        temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}),
    ):
        yield


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> "Iterator[Callable[..., Site]]":
    """Serve files over HTTP on loopback: call it with what an address shall answer."""
    from archive_site import serving

    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serving() as start:
        yield start


@pytest.fixture(scope="session")
def s3() -> Iterator["S3Server"]:
    """A real S3 server on loopback with an empty bucket."""
    from s3_server import s3_server

    with s3_server() as server:
        yield server


@pytest.fixture
def shared(s3: "S3Server", tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "Shared":
    """A store of its own on that server, and machines that share nothing else."""
    from small_remote import Shared

    s3.line.mend()
    return Shared(s3, s3.line, tmp_path.name, tmp_path, monkeypatch)
