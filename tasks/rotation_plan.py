"""What a rotation set out to do, signed beside the gallery: it survives a kill, a wait for a yes, and nights."""

from typing import Literal

from pydantic import Field, ValidationError

from avih.attack.settings import AttackSettings
from avih.errors import IntegrityError
from avih.key_gate import GateSettings
from avih.key_use import BUDGET_SHARE, MAXIMUM_AGE_DAYS
from avih.naming import Store
from avih.settings import Count, Frozen, Recovery
from tasks import opened
from tasks.records import RecogniserChoice, Record
from tasks.signed_json import ROTATION_LABEL, read_signed, write_signed

Origin = Literal["sealed", "recovered"]
Approve = Literal["auto", "ask"]


class RotationPolicy(Frozen):
    """When a rotation is due, and what stays after it."""

    maximum_age_days: Count = Field(MAXIMUM_AGE_DAYS, description="Age of a key at which rotation is due.")
    budget_share: float = Field(
        BUDGET_SHARE, gt=0, le=1, description="Used share of the leak budget at which it is due."
    )
    keep_versions: int = Field(1, ge=0, description="Earlier versions that stay for a rollback.")
    promote_on_warn: bool = Field(False, description="Let a version live whose attack check only warns.")


class RotationChoices(Record):
    """What a rotation is judged by; None where the defaults hold."""

    policy: RotationPolicy | None = None
    gate: GateSettings | None = None
    attack: AttackSettings | None = None
    second: RecogniserChoice | None = None

    def over(self, kept: "RotationChoices") -> "RotationChoices":
        """Return these, completed by what was chosen before: a rerun must not judge more mildly unasked."""
        return kept.model_copy(update={name: value for name, value in self if value is not None})


class RotationPlan(Record):
    """What a rotation set out to do; written before each irrevocable step, removed when all is done."""

    gallery: str
    old_version: str
    old_key: str
    recovery: Recovery
    version: str
    new_key: str | None = None
    reason: str
    compromised: bool = False
    retrain_generator: bool = False
    origin: Origin = "sealed"
    approve: Approve = "auto"
    choices: RotationChoices = RotationChoices()
    began: str
    mlflow_run_id: str | None = None

    @property
    def identity(self) -> tuple[str, str, str | None]:
        """What makes it this rotation and not another one."""
        return (self.began, self.version, self.new_key)


def read_plan(store: Store, gallery: str) -> RotationPlan | None:
    """Return the plan of the rotation that is under way, if one is.

    Raises:
        IntegrityError: the file is damaged, or this store did not sign it.
    """
    path = store.rotation(gallery)
    try:
        if not path.exists():
            return None
        vault = opened.vault(store.root)
        content = read_signed(path, mac_key=vault.mac_key(), label=ROTATION_LABEL)
        return RotationPlan.model_validate(content)
    except ValidationError:
        raise IntegrityError(
            f"Expected the plan of a rotation in {path}, got a damaged file. Remove it and rotate again."
        ) from None


def save_plan(store: Store, plan: RotationPlan) -> RotationPlan:
    """Write the plan."""
    mac_key, content = opened.vault(store.root).mac_key(), plan.model_dump(mode="json")
    write_signed(store.rotation(plan.gallery), content, mac_key=mac_key, label=ROTATION_LABEL, mode=0o600)
    return plan


def why_nothing(waiting: RotationPlan | None, due: tuple[str, ...], approve: Approve) -> str:
    """Say why a job that rotates only when it is due does nothing; empty if it has to rotate.

    A rotation that waits for a person's yes is not a schedule's to finish.
    """
    if waiting is not None and waiting.approve == "ask" and approve == "auto":
        return f"{waiting.version} waits for a yes: avih rotate --approve auto, or --give-up"
    return "" if due or waiting is not None else "no rotation is due"
