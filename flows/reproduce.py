"""Flow of the papers' tables: one task per table; one that fails does not keep the others from running."""

import flows.environment  # noqa: F401  # before prefect

from prefect import flow, runtime
from prefect.artifacts import create_markdown_artifact

from avih.errors import AvihError
from avih.reproduction.context import Profile
from avih.reproduction.registry import chosen
from flows.alerts import failed
from flows.shard_runs import as_task
from tasks.progress import begin
from tasks.records import Record
from tasks.reproduce import Data, ExperimentRecord, run_experiment


class Reproduction(Record):
    """What was run now, and what failed with which error."""

    tables: tuple[ExperimentRecord, ...]
    errors: dict[str, str]


@flow(name="reproduce-papers", log_prints=False, on_failure=[failed], on_crashed=[failed])
def reproduce(
    *, store: str, profile: Profile = "cpu", tables: list[str] | None = None, data: Data | None = None,
    again: bool = False,
) -> Reproduction:  # fmt: skip
    """Run the tables that were asked for (all by default); what is done already is kept.

    Raises:
        AvihError: tables failed; the others are done.
    """
    wanted = chosen(tuple(tables or ()))
    begin("reproduce", len(wanted))
    done: list[ExperimentRecord] = []
    errors: dict[str, str] = {}
    for experiment in wanted:
        work = as_task(run_experiment, name=f"{experiment.paper} {experiment.table}", retries=0)
        try:
            done.append(
                work(store=store, name=experiment.name, profile=profile, data=data or Data(), again=again,
                     prefect_run_id=str(runtime.flow_run.id))
            )  # fmt: skip
        except Exception as error:  # whatever it is, the other tables do not depend on it
            errors[experiment.name] = f"{type(error).__name__}: {error}"
    lines = [f"| {one.name} | {one.mark} | {one.seconds:.0f} |" for one in done]
    lines += [f"| {name} | failed: {text} | |" for name, text in errors.items()]
    create_markdown_artifact(
        key="reproduction", markdown="\n".join(["| table | mark | seconds |", "|---|---|---|", *lines])
    )
    if errors:
        told = "; ".join(f"{name} ({text})" for name, text in errors.items())
        raise AvihError(f"Expected {len(wanted)} tables, {len(done)} are there; failed: {told}.")
    return Reproduction(tables=tuple(done), errors=errors)
