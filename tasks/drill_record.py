"""What a recovery drill found; light to import, so that ``avih status`` reads drills without torch.

The file lies beside the version's audit and holds the last drill of the version. The ids of pictures that failed
name persons: the folder is its owner's alone, and the file has a name that an erasure removes.
"""

from pathlib import Path
from typing import Any, Final

from pydantic import Field, ValidationError

from avih.errors import IntegrityError, QualityBelowLimits
from avih.naming import Store
from tasks.records import Record

LABEL: Final = "avih drill v1"
DRILL_FILE: Final = "drill/summary.json"


class DrillFailed(QualityBelowLimits):
    """Some pictures of a drill did not come back, or not well enough."""


class Damage(Record):
    """A shard that could not be drilled: ``problem`` says which of its files is damaged or missing, and how."""

    shard: str
    problem: str


class DrillRecord(Record):
    """How a drill went.

    Attributes:
        time: UTC, ISO 8601.
        protected: pictures of the version that could have been drawn.
        sample: pictures that were drawn.
        compared: those that came back and were compared with their originals.
        stand_ins: those whose original is itself a recovered picture (a rotation from recovered pictures).
        exact: whether every picture had to come back exactly.
        below: ids of those below the threshold.
        inexact: ids of those that came back otherwise than exactly.
        not_recovered: why others did not come back, by id.
        damaged: shards that could not be read.
    """

    gallery: str
    version: str
    key_id: str
    code_version: str
    time: str
    threshold: float
    protected: int
    sample: int
    compared: int
    stand_ins: int
    exact: bool
    mean_ssim_d: float | None
    lowest_ssim_d: float | None
    below: tuple[str, ...] = ()
    inexact: tuple[str, ...] = ()
    not_recovered: dict[str, str] = Field(default_factory=dict)
    damaged: tuple[Damage, ...] = ()
    passed: bool

    @property
    def failing(self) -> tuple[str, ...]:
        """Ids of all pictures that failed."""
        return tuple(sorted({*self.below, *self.inexact, *self.not_recovered}))


def drill_path(store: Store, *, gallery: str, version: str) -> Path:
    """File of a version's last drill."""
    return store.folder("audited", gallery=gallery, version=version) / DRILL_FILE


def parse_drill(content: dict[str, Any], *, gallery: str, version: str) -> DrillRecord:
    """Read a drill of this version from the content of its file.

    Raises:
        IntegrityError: it is none, or that of another version.
    """
    try:
        record = DrillRecord.model_validate(content)
    except ValidationError:
        record = None
    if record is None or (record.gallery, record.version) != (gallery, version):
        raise IntegrityError(
            f"Expected the drill of {gallery} {version}, got something else or another version's. Remove its "
            "file and drill again."
        )
    return record


def check_drill(record: DrillRecord) -> None:
    """Raise what a drill found; no picture is named, because Prefect keeps and shows what is raised.

    Raises:
        IntegrityError: a stored file is damaged.
        DrillFailed: pictures are below the threshold or did not come back.
    """
    of = f"{record.gallery} {record.version}"
    if record.damaged:
        names = ", ".join(one.shard for one in record.damaged)
        raise IntegrityError(
            f"Expected {of} to be drilled from whole files, got damaged ones in: {names}. Run avih verify, and "
            "bring them back from a backup."
        )
    if not record.passed:
        raise DrillFailed(
            f"Expected all {record.sample} drawn pictures of {of} to come back with SSIM_d of "
            f"{record.threshold:g} or more, got {len(record.failing)} that did not. The file {DRILL_FILE} beside "
            "the version's audit names them."
        )
