"""Settings that Prefect and MLflow read at import: telemetry off, state in the store, JSON results, no prompts.

Imported before either of them. A value that the user has set is left alone. It holds for avih's own commands and
for what they start: a ``prefect`` command of a person's own takes what is in its environment.
"""

import os
from pathlib import Path

from avih.disk_errors import require_room
from avih.naming import Store
from flows.server.temporary import claim, end_ownerless_servers

ROOM = 16  # mebibytes that Prefect's temporary server gets by with for a run
DEFAULTS = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "true",  # MLflow takes only the word true
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",  # the default would pickle results into plain files
    "PREFECT_CLI_PROMPT": "false",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "90",  # slow machines need longer than the default 20
}


def prepare() -> None:
    """Put the defaults into the environment; Prefect's state goes into the store (``AVIH_STORE``)."""
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
    home = Store.find().prefect
    os.environ.setdefault("PREFECT_HOME", str(home))
    # Prefect's temporary server does not make its folder, and then hangs until its time is up.
    folder = Path(os.environ["PREFECT_HOME"])
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if "PREFECT_API_URL" not in os.environ:
        # Nor does it say that its database cannot be written: it would be waited for until its time is up.
        require_room(folder, mebibytes=ROOM, purpose="Prefect's database")
        claim()
        end_ownerless_servers(folder)
    os.environ.setdefault("PREFECT_LOCAL_STORAGE_PATH", str(home / "results"))


prepare()
