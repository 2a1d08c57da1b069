"""Plans that were made for a gallery, ``plans.jsonl``, and what its versions then took.

A line holds digests, counts and seconds: no path, no name of a person, nothing secret. The file lies beside the
gallery's versions and may be there before the first; it is no part of any version.
"""

import logging
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from avih.atomic import folder_lock, write_bytes
from avih.json_text import read_json
from avih.mirror.seam import changing
from avih.naming import ShardAddress, Store, version_number
from avih.planning import PastPlan, PastRun
from avih.shards import read_done

logger = logging.getLogger(__name__)

TIMING: Final = "timing.json"
NEWEST_VERSIONS: Final = 20  # whose timings are read; a plan before them has nothing to compare with

Positive = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class PlanLine(BaseModel):
    """One plan as it is remembered.

    Attributes:
        time: UTC, ISO 8601.
        settings_sha256: digest of the protect settings, as in a shard's done file.
        recogniser, card: fingerprint, and the card's name.
        newest: number of the newest version with protected images, 0 for none.
        images: how many were to be protected.
        seconds_each: seconds per image (of key training: per step) by stage; ``optimise`` is the part of
            ``protect`` that a shard's timing file measures.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: Literal[1] = 1
    time: str
    settings_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    recogniser: str
    card: str
    machine: str
    newest: int = Field(ge=0)
    images: int = Field(ge=0)
    seconds_each: dict[str, Positive]

    def past(self) -> PastPlan:
        """Return what is compared with runs."""
        return PastPlan(
            settings_sha256=self.settings_sha256,
            recogniser=self.recogniser,
            machine=self.machine,
            newest=self.newest,
            seconds_each=self.seconds_each.get("optimise", 0.0),
        )


def remember_plan(line: PlanLine, *, store: Store, gallery: str) -> Path:
    """Append a plan to the gallery's list and return the file; only its owner may read it."""
    path = store.plans(gallery)
    path.parent.mkdir(parents=True, exist_ok=True)
    with folder_lock(path.parent), changing(path):
        before = path.read_bytes() if path.exists() else b""
        write_bytes(path, before + line.model_dump_json().encode() + b"\n", mode=0o600)
    return path


def read_plans(*, store: Store, gallery: str) -> list[PlanLine]:
    """Return the plans of a gallery, oldest first; a damaged line is left out, because no work depends on it."""
    path = store.plans(gallery)
    found = []
    for number, text in enumerate(path.read_bytes().splitlines() if path.exists() else [], start=1):
        try:
            found.append(PlanLine.model_validate_json(text))
        except ValidationError:
            logger.warning("Line %d of %s is no plan and is left out.", number, path)
    return found


def read_runs(*, store: Store, gallery: str) -> list[PastRun]:
    """Return what the optimisation of the newest versions took, from the timing files beside their shards."""
    versions = store.versions(gallery)[-NEWEST_VERSIONS:]
    runs = [
        _read_run(store, gallery, version, key)
        for version in versions
        for key in store.keys_of(gallery, version)
    ]
    return [run for run in runs if run is not None]


def newest_protected(*, store: Store, gallery: str) -> int:
    """Return the number of the newest version that holds protected shards; 0 if there is none."""
    numbers = (version_number(v) for v in reversed(store.versions(gallery)) if store.keys_of(gallery, v))
    return next(numbers, 0)


def _read_run(store: Store, gallery: str, version: str, key_id: str) -> PastRun | None:
    """Add up a version's shards; None where nothing was made for it or nothing says how."""
    folder = store.folder("protected", gallery=gallery, version=version, key_id=key_id)
    seconds, images, first, machines = 0.0, 0, None, set[str | None]()
    for path in sorted(folder.glob(f"*.{TIMING}")):
        try:
            timing = read_json(path.read_bytes())
            shard_seconds, shard_images = float(timing["seconds"]), int(timing["images"])
            machine = None if timing.get("machine") is None else str(timing["machine"])
        except (OSError, ValueError, KeyError, TypeError, OverflowError):
            logger.warning("%s is no timing and is left out.", path)
            continue
        if shard_images:  # the others were taken over from an earlier version
            seconds, images = seconds + shard_seconds, images + shard_images
            machines.add(machine)
            first = first or ShardAddress("protected", gallery, version, int(path.name.split(".")[0]), key_id)
    # One of a version's shards speaks for all: other settings would have stopped the run.
    done = read_done(store, first) if first else None
    if done is None or done.recogniser is None:
        return None
    return PastRun(
        version=version_number(version),
        settings_sha256=done.settings_sha256,
        recogniser=done.recogniser,
        machine=_one_machine(machines),
        seconds=seconds,
        images=images,
    )


def _one_machine(machines: set[str | None]) -> str | None:
    """Name the machine if all shards name the same one; a mixed run is like no plan."""
    if len(machines) == 1:
        return machines.pop()
    return " + ".join(sorted(str(name) for name in machines))
