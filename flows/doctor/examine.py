"""Examine a store and what runs beside it: every check is tried, whatever becomes of the others."""

from collections.abc import Iterator
from typing import Final

import flows.environment  # noqa: F401  # before prefect

from avih.errors import AvihError
from avih.naming import Store
from flows.doctor import files, machine, services
from flows.doctor.finding import Case, Check, Finding, not_known

CHECKS: Final[tuple[Check, ...]] = (
    files.folders, machine.passphrase, files.private, files.locks, files.leftovers, machine.room,
    machine.packages, machine.device, services.prefect, services.mlflow, services.dask,
)  # fmt: skip


def examine(store: Store, *, repair: bool) -> list[Finding]:
    """Look at everything and return a line for each; with ``repair`` mend what can be mended without asking."""
    case = Case(store=store, repair=repair)
    return [finding for check in CHECKS for finding in _tried(check, case)]


def _tried(check: Check, case: Case) -> Iterator[Finding]:
    """Run a check; what it stumbles over is a line too, by its type alone if it is none of ours."""
    try:
        yield from check(case)
    except AvihError as error:
        yield not_known(check.__name__, str(error))
    except Exception as error:
        yield not_known(check.__name__, f"the check ended with {type(error).__name__}")
