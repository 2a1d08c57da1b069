"""What an experiment gives: rows with the paper's value beside ours, and how far they may be compared."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from pydantic import Field

from avih.errors import UsageError
from avih.evaluation.bootstrap import bootstrap_interval
from avih.settings import Frozen

Mark = Literal["reproduced", "substitute", "not run"]
Paper = Literal["AVIH", "Veils", "Veil Privacy"]
Z95 = 1.959964  # standard normal quantile of a two-sided 95 % interval


class NotRun(UsageError):
    """An experiment cannot run here; the text says what is missing."""


class Row(Frozen):
    """One figure: the paper's and ours.

    ``low`` and ``high`` bound a 95 % interval of ours; ``n`` is how many photos (or trials) it is a figure of.
    """

    label: str = Field(description="What was measured, as the paper's row or curve names it.")
    metric: str = Field(description="ssim_e, acc_one, seconds ...; rates are in percent.")
    paper: float | None = Field(None, description="The paper's figure; none where it gives none.")
    ours: float | None = Field(None, description="Ours; none where it was not measured.")
    n: int | None = None
    low: float | None = None
    high: float | None = None
    data: str = Field("", description="Data really used, where it differs from the table's.")
    model: str = Field("", description="Model really used, where it differs from the table's.")


class Outcome(Frozen):
    """What one experiment found.

    ``data`` and ``model`` are those really used; ``setting`` says how (preset, steps, sizes); ``findings`` are
    sentences for people: where the paper's claim does not hold here, they say so.
    """

    mark: Mark
    rows: tuple[Row, ...]
    data: str
    model: str
    setting: str = ""
    findings: tuple[str, ...] = ()
    missing: str = Field("", description="What is missing, for what was not run.")
    figure: str | None = Field(None, description="File name of the figure in the results folder.")


def mean_row(
    *,
    label: str,
    metric: str,
    values: Sequence[float],
    persons: Sequence[str],
    paper: float | None = None,
    percent: bool = False,
    data: str = "",
    model: str = "",
) -> Row:
    """Make a row of a mean over photos, with an interval that draws whole persons (cluster bootstrap).

    Args:
        label: what was measured.
        metric: its name.
        values: one figure per photo, ``(n,)``; booleans for rates.
        persons: the person each photo shows, ``(n,)``; with fewer than two there is no interval.
        paper: the paper's figure.
        percent: turn fractions into percent.
        data: data used, where it differs from the table's.
        model: model used, where it differs from the table's.

    Raises:
        UsageError: no values.
    """
    if not len(values):
        raise UsageError(f"Expected values of {metric} for {label}, got none.")
    scale = 100.0 if percent else 1.0
    numbers = scale * np.asarray(values, dtype=np.float64)
    low, high = bootstrap_interval(numbers, persons) if len(set(persons)) > 1 else (None, None)
    return Row(
        label=label, metric=metric, paper=paper, ours=float(numbers.mean()), n=len(numbers), low=low, high=high,
        data=data, model=model,
    )  # fmt: skip


def rate_row(
    *,
    label: str,
    metric: str,
    hits: int,
    tries: int,
    paper: float | None = None,
    data: str = "",
    model: str = "",
) -> Row:
    """Make a row of a rate in percent, with Wilson's interval: for trials that share no person.

    Raises:
        UsageError: no tries, or more hits than tries.
    """
    if not 0 <= hits <= tries or tries == 0:
        raise UsageError(f"Expected hits out of at least 1 try, got {hits} of {tries}.")
    rate, z = hits / tries, Z95
    centre = (rate + z * z / (2 * tries)) / (1 + z * z / tries)
    half = z / (1 + z * z / tries) * float(np.sqrt(rate * (1 - rate) / tries + z * z / (4 * tries * tries)))
    return Row(
        label=label, metric=metric, paper=paper, ours=100 * rate, n=tries, low=100 * max(0.0, centre - half),
        high=100 * min(1.0, centre + half), data=data, model=model,
    )  # fmt: skip


def not_run(missing: str, *, rows: Sequence[Row] = ()) -> Outcome:
    """Say that an experiment was not run and what is missing; ``rows`` hold the paper's figures alone."""
    return Outcome(mark="not run", rows=tuple(rows), data="-", model="-", missing=missing)


def holds(claim: bool) -> str:
    """Word whether a claim of a paper came true."""
    return "holds here" if claim else "does not hold here"


def as_json(outcome: Outcome) -> dict[str, Any]:
    """Return plain values."""
    return outcome.model_dump(mode="json")
