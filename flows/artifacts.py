"""What a flow run's page shows: a table of facts, for everybody who may look at Prefect."""

from collections.abc import Mapping

import flows.environment  # noqa: F401  # before prefect

from prefect.artifacts import create_table_artifact


def show_facts(facts: Mapping[str, object], *, key: str, description: str) -> None:
    """Put facts on the flow run's page as a table; counts, figures and names of versions only."""
    rows = [{"fact": name, "value": str(value)} for name, value in facts.items()]
    create_table_artifact(key=key, table=rows, description=description)
