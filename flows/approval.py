"""A person's yes before a version goes live, through the pages of Prefect."""

import flows.environment  # noqa: F401  # before prefect

from prefect import pause_flow_run, runtime
from prefect.input import RunInput
from pydantic import Field

from avih.errors import AvihError

WAIT_SECONDS = 7 * 24 * 3600
LOOK_SECONDS = 10  # how often the paused flow looks for an answer


class NotApproved(AvihError):
    """Nobody has said yes: the version waits, and the old one keeps serving."""


class Approval(RunInput):
    """What the form asks."""

    go_live: bool = Field(False, description="Put the new version live and retire the old key.")
    comment: str = Field("", description="For the flow run's log.")


def wait_for_approval(*, gallery: str, version: str, verdict: str) -> None:
    """Pause a deployed flow until somebody answers its form; stop one that nobody could answer.

    Raises:
        NotApproved: the answer is no, or the flow was begun without a deployment.
    """
    if runtime.deployment.id is None:
        raise NotApproved(
            f"{gallery} {version} is ready (attack check: {verdict}) and waits for a yes. Run avih rotate "
            "again with --approve auto to put it live; until then the old version keeps serving."
        )
    answer = pause_flow_run(
        wait_for_input=Approval.with_initial_data(
            description=f"{gallery} {version}: attack check {verdict}. Put it live?"
        ),
        timeout=WAIT_SECONDS,
        poll_interval=LOOK_SECONDS,
    )
    if not answer.go_live:
        raise NotApproved(
            f"{gallery} {version} was not approved ({answer.comment or 'no comment'}). The old version keeps "
            "serving; avih rotate --give-up drops the new one."
        )
