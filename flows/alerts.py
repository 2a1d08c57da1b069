"""What happens when a flow fails: one small file in the store, and the command in ``AVIH_ON_FAILURE``, if any.

Flows name :func:`failed` as their hook. It never raises: an alert that cannot be given must not break a flow.
"""

import json
import logging
import os
import re
import shlex
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from pydantic import ValidationError

from avih.atomic import write_json
from avih.errors import AvihError
from avih.keys.passphrase import PASSPHRASE_VARIABLE, SECRET_VARIABLES
from avih.naming import Store
from tasks.records import Record

logger = logging.getLogger(__name__)

COMMAND_VARIABLE = "AVIH_ON_FAILURE"
COMMAND_SECONDS = 60.0
LONGEST = 300
# A long run of letters and digits without a separator is more likely a key than a word.
_LIKE_A_SECRET = re.compile(r"[A-Za-z0-9+=_-]{40,}")
_ERROR_TYPE = re.compile(r"([A-Z][A-Za-z]+)(?::|$)")

NEXT_STEPS = {
    "QualityBelowLimits": "The current version keeps serving. Read the report of the new one: avih gallery show.",
    "KeyRefused": "Check the passphrase of the worker and the key's state: avih keys list. Then run it again.",
    "DrillFailed": "Pictures do not come back as they should. Run avih drill to see which, then avih verify.",
    "IntegrityError": "A stored file is not what was signed. Run avih verify before anything else.",
    "SettingsMismatch": "Work in the store was made with other settings. The message says which; run it again.",
    "UsageError": "A path or parameter cannot be used; the message says which. Correct it, then run it again.",
}
BY_STATE = {
    "CRASHED": "The process ended before its work did. Run it again: what is finished stays.",
}
OTHERWISE = "Read the flow run's log, correct the cause, run it again: what is finished stays."


class Named(Protocol):
    """What the hook needs of a flow."""

    name: str


class Alert(Record):
    """One failure."""

    time: str
    state: str
    flow: str
    flow_run_id: str
    flow_run_name: str
    gallery: str
    error: str
    what_to_do: str


def failed(flow: Named, flow_run: Any, state: Any) -> None:
    """Prefect hook for ``on_failure`` and ``on_crashed``."""
    # The flow around a part of it gives the alert, or has decided that the part's failure is none.
    if flow_run.parent_task_run_id is None:
        tell(flow=flow.name, flow_run=flow_run, state=state)


def tell(*, flow: str, flow_run: Any, state: Any, store: Path | None = None) -> Path | None:
    """Write the alert file and run the command; return the file, or None if it could not be written."""
    parameters: dict[str, Any] = flow_run.parameters or {}
    place = _model(parameters.get("place"))
    now = datetime.now(UTC)
    error = first_line(state.message or "no message")
    alert = Alert(
        time=now.isoformat(timespec="seconds"),
        state=str(state.type.value),
        flow=flow,
        flow_run_id=str(flow_run.id),
        flow_run_name=str(flow_run.name),
        gallery=str(parameters.get("gallery") or place.get("gallery") or ""),
        error=error,
        what_to_do=next_step(str(state.type.value), error),
    )
    folder = Store.find(store or parameters.get("store") or place.get("store")).alerts
    path = folder / f"{now:%Y%m%dT%H%M%SZ}-{flow_run.id}.json"
    try:
        write_json(path, alert.model_dump(mode="json"), mode=0o600)
        written: Path | None = path
    except OSError as reason:
        logger.error("The alert of flow run %s was not written: %s", flow_run.name, reason)
        written = None
    run_command(alert)
    return written


def read_alerts(store: Store) -> list[Alert]:
    """Return the alerts of a store, oldest first.

    Raises:
        AvihError: a file in the folder is none of ours.
    """
    alerts = []
    for path in sorted(store.alerts.glob("*.json")):
        try:
            alerts.append(Alert.model_validate_json(path.read_bytes()))
        except ValidationError:
            raise AvihError(f"Expected an alert in {path}, got something else. Move it elsewhere.") from None
    return alerts


def first_line(message: str) -> str:
    """Return the first line, cut to a readable length, with everything masked that looks like a secret."""
    line = (message.strip().splitlines() or [""])[0]
    if passphrase := os.environ.get(PASSPHRASE_VARIABLE):
        line = line.replace(passphrase, "***")
    return _LIKE_A_SECRET.sub("***", line)[:LONGEST]


def next_step(state: str, error: str) -> str:
    """Return what a person should do now."""
    for name in _ERROR_TYPE.findall(error):
        if name in NEXT_STEPS:
            return NEXT_STEPS[name]
    return BY_STATE.get(state, OTHERWISE)


def run_command(alert: Alert, *, seconds: float = COMMAND_SECONDS) -> int | None:
    """Run ``AVIH_ON_FAILURE`` with the alert as JSON on its standard input; return its exit code, if it ended."""
    text = os.environ.get(COMMAND_VARIABLE)
    if not text:
        return None
    environment = {name: value for name, value in os.environ.items() if name not in SECRET_VARIABLES}
    try:
        process = subprocess.Popen(
            shlex.split(text), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env=environment, start_new_session=True,
        )  # fmt: skip
    except (OSError, ValueError, IndexError) as reason:
        logger.error("%s could not be run: %s", COMMAND_VARIABLE, reason)
        return None
    try:
        process.communicate(json.dumps(alert.model_dump(mode="json")).encode(), timeout=seconds)
    except subprocess.TimeoutExpired:
        logger.error("%s did not end within %.0f s and was stopped.", COMMAND_VARIABLE, seconds)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return None
    if process.returncode:
        logger.error("%s ended with exit code %d.", COMMAND_VARIABLE, process.returncode)
    return process.returncode


def _model(value: object) -> Mapping[str, Any]:
    """Return a parameter that is a settings model as a mapping: Prefect hands it over in either form."""
    if isinstance(value, Record):
        return value.model_dump()
    return value if isinstance(value, Mapping) else {}
