"""The wheel, built and installed into an environment of its own: what people have who never saw the clone."""

import json
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from command import PASSPHRASE, ROOT

# Says where it was imported from, and what came along.
LOOK = """
import json, avih, flows, tasks
from avih.datasets.cards import card_names
from avih.recognisers import load_recogniser
from flows.server.run import home_folder
print(json.dumps({
    "files": [one.__file__ for one in (avih, flows, tasks)],
    "data_sets": card_names(), "recogniser": load_recogniser(card="synthetic").fingerprint,
    "deployments": (home_folder() / "prefect.yaml").is_file(), "home": str(home_folder()),
}))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ``bin`` folder of an environment that has the wheel; its dependencies are those of this one."""
    root = tmp_path_factory.mktemp("installed")
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")
    run(*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(root), str(ROOT))
    wheel, = root.glob("avih-*.whl")  # fmt: skip
    venv.create(root / "environment", with_pip=False, symlinks=True)
    python = root / "environment" / "bin" / "python"
    run(*pip, "--python", str(python), "install", "--no-deps", "--no-index", str(wheel))
    packages = Path(run(str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    # Nested .pth files are not followed, so the clone that is installed here for developers stays out of sight.
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return python.parent


def run(*command: str, cwd: Path | None = None) -> str:
    hidden = ("AVIH_", "PYTHON", "PREFECT_", "MLFLOW_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    environment |= {"AVIH_PASSPHRASE": PASSPHRASE}
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment, check=False)
    assert done.returncode == 0, f"{command}: {done.stderr[-3000:]}{done.stdout[-1000:]}"
    return done.stdout


def test_code_cards_weights_and_deployments_come_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    found = json.loads(run(str(installed / "python"), "-c", LOOK, cwd=tmp_path))

    assert all(file.startswith(str(installed.parent)) for file in found["files"])
    assert set(found["data_sets"]) == {path.stem for path in (ROOT / "data" / "0_sources").glob("*.toml")}
    assert found["deployments"] and found["home"].startswith(str(installed.parent))
    assert len(found["recogniser"]) == 16


def test_a_gallery_is_made_far_from_the_clone(installed: Path, tmp_path: Path) -> None:
    made = json.loads(
        run(
            str(installed / "avih"), "run", "--source", "synthetic", "--recogniser", "synthetic", "--limit", "4",
            "--recovery", "sealed", "--store", "store", "--gallery", "people", "--json", cwd=tmp_path,
        )
    )  # fmt: skip

    assert made["images"]["protected"] == 4
    assert "avih 0" in run(str(installed / "avih"), "--version", cwd=tmp_path)
    assert list((tmp_path / "store" / "4_protected" / "people").rglob("*.tar"))
