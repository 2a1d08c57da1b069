"""Where shards run: in this process, in processes of this machine, or on a Dask cluster.

Kept with the settings of a run, and never part of what a shard's done file compares: where a shard was made
changes no byte of it.
"""

import re
from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from avih.settings.base import Count, Frozen

RunnerKind = Literal["local", "process", "dask"]
_ADDRESS: Final = re.compile(r"(tcp|tls)://(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]+):[0-9]{1,5}")
_RESOURCE: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,31}")


class RunnerSettings(Frozen):
    """Where the shards of a run are made; everything else of a run stays in the process of the flow."""

    kind: RunnerKind = Field(
        "local", description="local: this process. process: processes here. dask: a Dask cluster."
    )
    address: str | None = Field(
        None, description="dask: its scheduler, as tcp://HOST:8786 or tls://HOST:8786."
    )
    resources: dict[str, Annotated[float, Field(gt=0, allow_inf_nan=False)]] = Field(
        default_factory=dict,
        description="dask: what a shard takes of a worker that offers it, for instance GPU: 1.",
    )
    processes: Count | None = Field(None, description="process: how many shards at a time; none: 2.")

    @model_validator(mode="after")
    def _of_one_kind(self) -> Self:
        given = {"address": self.address, "resources": self.resources, "processes": self.processes}
        fitting = {"process": ("processes",), "dask": ("address", "resources")}.get(self.kind, ())
        foreign = sorted(name for name, value in given.items() if value and name not in fitting)
        if foreign:
            raise ValueError(f"the runner {self.kind} has no {', '.join(foreign)}")
        if self.kind == "dask" and not _ADDRESS.fullmatch(self.address or ""):
            raise ValueError(
                f"the runner dask needs its scheduler's address, as tcp://HOST:8786, got {self.address!r}"
            )
        if unfit := [name for name in self.resources if not _RESOURCE.fullmatch(name)]:
            raise ValueError(f"a resource is named with letters, digits, - and _, got {unfit[0]!r}")
        return self

    @property
    def elsewhere(self) -> bool:
        """Do shards run in other processes than the flow's?"""
        return self.kind != "local"


LOCAL: Final = RunnerSettings()
