"""Before shards go to a Dask cluster: is there a worker, and can each do the work? An answer within seconds.

Dask itself would wait for ever, silently, for a worker that offers what a task takes.
"""

import importlib
import logging
import socket
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from pydantic import ValidationError

from avih.errors import KeyRefused, UsageError
from avih.keys.passphrase import KEY_FILE_VARIABLE, PASSPHRASE_VARIABLE, passphrase_given
from avih.naming import Store
from avih.settings import RunnerSettings
from tasks.worker_probe import Answer, Needs, answer, mark_in_store, plain_software

logger = logging.getLogger(__name__)

CONNECT: Final = "5s"
TLS: Final = " (and name the certificates in the environment, here too: docs/scale.md)"
ANSWER_SECONDS: Final = 60.0  # the first answer of a worker imports torch
AT_ONCE: Final = 32


class WorkersUnfit(UsageError):
    """No Dask worker could do the work, or one of them could not."""


def import_dask(name: str) -> Any:
    """Import a package that comes with Dask: ``dask``, ``distributed`` or ``prefect_dask``.

    Raises:
        UsageError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UsageError(
            f"Expected the packages for Dask, got: {error}. Run: pip install 'avih[dask]'"
        ) from None


def require_passphrase(reader: str) -> None:
    """Check that the environment names a passphrase: what somebody typed is in one process alone.

    Raises:
        KeyRefused: it names none.
    """
    if not passphrase_given():
        raise KeyRefused(
            f"Expected a passphrase in the environment for {reader}, got none: what is typed stays in one "
            f"process. Set {KEY_FILE_VARIABLE} (or {PASSPHRASE_VARIABLE}) and run the same command again."
        )


def preflight(runner: RunnerSettings, *, needs: Needs) -> dict[str, Answer]:
    """Ask every worker that could get a shard whether it can do it, and return what each answered.

    Raises:
        WorkersUnfit: no scheduler answers, no worker offers the resources, or a worker lacks something; the
            text says which, what, and how to start a right one.
        UsageError: the packages for Dask are missing.
    """
    address, distributed = str(runner.address), import_dask("distributed")
    # A lost scheduler is told once, in words; the client's logger would put a traceback before them.
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)
    try:
        client = distributed.Client(address, timeout=CONNECT, set_as_default=False)
    except Exception as error:  # no answer, or no way to ask: certificates that are missing or do not fit
        raise WorkersUnfit(
            f"Expected a Dask scheduler at {address}, got no answer within {CONNECT} ({type(error).__name__}). "
            f"Start one on that machine: {scheduler_command(address)}{TLS if address.startswith('tls') else ''}"
        ) from None
    with client:
        offering = _offering(client, runner, needs)
        _same_scheduler(client, address)
        with mark_in_store(Store.find(needs.store)) as mark:
            answers = _asked(client, offering, needs.model_dump(mode="json") | mark)
    lacking = {name: lacks for name, found in answers.items() if (lacks := _lacks(found, needs))}
    if lacking:
        told = "; ".join(f"worker {name}: {', '.join(lacks)}" for name, lacks in lacking.items())
        raise WorkersUnfit(
            f"Expected {len(answers)} Dask workers that can make shards of {needs.store}, got {len(lacking)} "
            f"that cannot: {told}. Stop those, and start right ones: {worker_command(runner, needs)}"
        )
    return {name: found for name, found in answers.items() if isinstance(found, Answer)}


def scheduler_command(address: str) -> str:
    """Return the command that starts the scheduler of an address."""
    host, _, port = address.partition("://")[2].rpartition(":")
    return f"avih dask scheduler --host {host} --port {port}"


def worker_command(runner: RunnerSettings, needs: Needs) -> str:
    """Return the command that starts a worker which can do the work."""
    taken = "".join(f" --resource {name}={amount:g}" for name, amount in sorted(runner.resources.items()))
    return (
        f"{KEY_FILE_VARIABLE}=FILE avih dask worker {runner.address} --host ITS-ADDRESS{taken} "
        f"--store {needs.store}"
    )


def _offering(client: Any, runner: RunnerSettings, needs: Needs) -> list[str]:
    """Name the workers that offer what a shard takes."""
    workers: Mapping[str, Mapping[str, Any]] = client.scheduler_info(n_workers=-1)["workers"]
    offering = [name for name, facts in workers.items() if _offers(facts.get("resources", {}), runner)]
    if not offering:
        wanted = " ".join(f"{name}={amount:g}" for name, amount in sorted(runner.resources.items()))
        there = "; ".join(f"{name} offers {_told(facts)}" for name, facts in workers.items()) or "no worker"
        raise WorkersUnfit(
            f"Expected a worker of {runner.address} that offers {wanted or 'itself'}, got: {there}. Start one: "
            f"{worker_command(runner, needs)}"
        )
    return offering


def _same_scheduler(client: Any, address: str) -> None:
    """Check that the scheduler has the same software: it reads every task before a worker gets it."""
    try:
        found = client.run_on_scheduler(plain_software)
    except Exception as error:  # whatever it cannot read or import
        found = {"avih": f"none ({type(error).__name__})"}
    if other := _differences(found):
        raise WorkersUnfit(
            f"Expected a scheduler at {address} with the software of this process, got one that has {other}. "
            f"Start it again with the same installation: {scheduler_command(address)}"
        )


def _differences(found: Mapping[str, str]) -> str:
    """Name what has another version elsewhere than here."""
    ours = plain_software()
    other = [name for name in ours if found.get(name) != ours[name]]
    return ", ".join(f"{name} {found.get(name, 'unknown')} (here {ours[name]})" for name in other)


def _offers(offered: Mapping[str, float], runner: RunnerSettings) -> bool:
    return all(offered.get(name, 0) >= amount for name, amount in runner.resources.items())


def _told(facts: Mapping[str, Any]) -> str:
    offered = facts.get("resources") or {}
    return " ".join(f"{name}={amount:g}" for name, amount in sorted(offered.items())) or "nothing"


def _asked(client: Any, workers: list[str], asked: Mapping[str, Any]) -> dict[str, Answer | str]:
    """Ask workers at the same time; whoever does not answer well is described in words."""

    def one(worker: str) -> Answer | str:
        try:
            found = client.run(
                answer, asked, workers=[worker], on_error="return", callback_timeout=ANSWER_SECONDS
            )[worker]
        except TimeoutError:
            return f"no answer within {ANSWER_SECONDS:.0f} s"
        except Exception as error:  # gone meanwhile, or it cannot even read the question
            return f"no answer ({type(error).__name__})"
        if isinstance(found, Exception):
            return f"it cannot be asked ({type(found).__name__}: {str(found).splitlines()[0][:200]})"
        try:
            return Answer.model_validate(found)
        except ValidationError:
            return "another release of avih"

    with ThreadPoolExecutor(min(AT_ONCE, len(workers))) as pool:
        return dict(zip(workers, pool.map(one, workers), strict=True))


def _lacks(found: Answer | str, needs: Needs) -> list[str]:
    """Say what a worker lacks; empty if nothing."""
    if isinstance(found, str):
        return [found]
    other = _differences(found.software)
    lacks = [f"has {other}"] if other else []
    if not found.sees_store:
        lacks.append(f"does not see the same store at {needs.store}")
    elif not found.writes_store:
        lacks.append(f"may not write to the store at {needs.store}")
    what = f"key {needs.key_id}" if needs.key_id else "the vault"
    if found.key == "no passphrase":
        lacks.append(f"has no {KEY_FILE_VARIABLE} or {PASSPHRASE_VARIABLE} in its environment")
    elif found.key == "refused" and found.sees_store:
        lacks.append(f"cannot open {what} (another passphrase?)")
    lacks += [f"does not find {name}" for name in found.missing]
    if not found.reaches_api:
        lacks.append(
            f"does not reach Prefect at {needs.api} (start avih server --host {socket.gethostname()} and set "
            "PREFECT_API_URL where the run is started)"
        )
    return lacks
