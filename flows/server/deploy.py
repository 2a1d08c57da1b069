"""Work pools and deployments: make them, and check that every one is really there."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import yaml
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.filters import WorkPoolFilter, WorkPoolFilterName

from avih.errors import AvihError, UsageError
from flows.server.processes import tail

POOLS = {"cpu": "Flow runs on processors.", "gpu": "Flow runs on a graphics card."}
FILE = "prefect.yaml"


def deployments_in(home: Path) -> list[str]:
    """Return the names of the deployments in ``prefect.yaml``.

    Raises:
        UsageError: there is no such file.
    """
    try:
        content = yaml.safe_load((home / FILE).read_text())
    except OSError:
        raise UsageError(
            f"Expected {FILE} in {home}, got none. Set AVIH_HOME to the folder of the program's source."
        ) from None
    return [str(deployment["name"]) for deployment in content["deployments"]]


def create_pools(client: SyncPrefectClient) -> list[str]:
    """Create the work pools that are missing; return their names."""
    wanted = WorkPoolFilter(name=WorkPoolFilterName(any_=list(POOLS)))
    present = {pool.name for pool in client.read_work_pools(work_pool_filter=wanted)}
    missing = [name for name in POOLS if name not in present]
    for name in missing:
        client.create_work_pool(WorkPoolCreate(name=name, type="process", description=POOLS[name]))
    return missing


def deploy_all(
    client: SyncPrefectClient, *, home: Path, environment: Mapping[str, str], log: Path
) -> list[str]:
    """Deploy everything in ``prefect.yaml``; Prefect skips an invalid deployment and still ends with 0.

    Raises:
        AvihError: the command failed, or a deployment of the file is not on the server afterwards.
    """
    names = deployments_in(home)
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]
    with log.open("w") as output:
        done = subprocess.run(
            command, env=dict(environment), cwd=home, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            check=False,
        )  # fmt: skip
    present = {deployment.name for deployment in client.read_deployments(limit=200)}
    missing = [name for name in names if name not in present]
    if done.returncode or missing:
        raise AvihError(
            f"Expected every deployment of {home / FILE} on the server, got exit code {done.returncode}, "
            f"missing: {', '.join(missing) or 'none'}. The end of {log}:\n{tail(log)}"
        )
    return names
