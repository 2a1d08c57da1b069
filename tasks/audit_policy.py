"""What a gallery asks of an audit before a version goes live; kept for the gallery, whatever its runs are like.

The policy holds for every version that is about to become current: of ``avih run``, of a night, of a rotation,
and of ``avih gallery promote``. It does not hold for the version that is current already (the monthly audit looks
at that one), nor for a rollback, whose version was live before. The file is signed, so that nobody without the
passphrase can change it; whoever can remove files of the store can remove it, and then no audit is asked for.

With ``automatic``, whatever makes a version audits it, in the policy's profile. Without, a run or a night leaves
its version unpromoted and says what to run, and goes on once the audit is there; a rotation is given up.

An audit counts if it was of the very bytes that are stored now, by all attacks, with the profile's own settings,
and by this release of avih. It does not age otherwise: the same bytes would be attacked in the same way again.
"""

from typing import Any, Final, Literal

from pydantic import Field, ValidationError

from avih import __version__
from avih.errors import IntegrityError
from avih.lab import registry
from avih.lab.settings import PROFILES, Profile
from avih.naming import Store
from avih.settings import Frozen
from tasks import opened
from tasks.attack_pairs import shards_digest
from tasks.audit_record import AuditRecord, read_audit
from tasks.records import Place
from tasks.signed_json import POLICY_LABEL, read_signed, write_signed

Required = Literal["none", "warn", "pass"]
ENOUGH: Final[dict[str, tuple[str, ...]]] = {"warn": ("pass", "warn"), "pass": ("pass",)}


class PromotionPolicy(Frozen):
    """Which audit a version needs before it goes live."""

    require_audit: Required = Field("none", description="The worst verdict that may go live; none: no audit.")
    profile: Profile = Field(
        "quick", description="The audit's profile; full serves where quick is asked for."
    )
    automatic: bool = Field(
        True, description="Runs, nights and rotations audit their new versions themselves."
    )


def read_policy(store: Store, gallery: str) -> PromotionPolicy:
    """Return a gallery's policy; without a file no audit is asked for.

    Raises:
        IntegrityError: the file is damaged or was altered.
    """
    path = store.policy(gallery)
    if not path.exists():
        return PromotionPolicy()  # and no vault is opened, which there may not be yet
    content = read_signed(path, mac_key=opened.vault(store.root).mac_key(), label=POLICY_LABEL) or {}
    try:
        if content["gallery"] != gallery:
            raise KeyError
        return PromotionPolicy.model_validate(content["policy"])
    except (KeyError, ValidationError):
        raise IntegrityError(
            f"Expected the policy of {gallery} in {path}, got something else. Set it again with avih gallery "
            "policy."
        ) from None


def save_policy(store: Store, gallery: str, policy: PromotionPolicy) -> PromotionPolicy:
    """Write a gallery's policy; it may be there before the gallery's first version."""
    content = {"gallery": gallery, "policy": policy.model_dump(mode="json")}
    write_signed(
        store.policy(gallery), content, mac_key=opened.vault(store.root).mac_key(), label=POLICY_LABEL
    )
    return policy


def missing_audit(*, place: Place, key_id: str, policy: PromotionPolicy) -> str:
    """Say why a version's audit does not meet a policy, and what to run; empty where it does.

    Args:
        place: the version.
        key_id: its key.
        policy: of its gallery.

    Raises:
        IntegrityError: a file of the audit or of the version is damaged.
    """
    if policy.require_audit == "none":
        return ""
    found = read_audit(place.folder, gallery=place.gallery, version=place.version)
    reason = _why_not(found, place, key_id, policy)
    if not reason:
        return ""
    verdicts = " or ".join(ENOUGH[policy.require_audit])
    profile = "" if policy.profile == "quick" else f" --profile {policy.profile}"
    return (
        f"the gallery's policy asks for an audit with the verdict {verdicts}, and {reason}; run avih lab "
        f"{place.gallery} --version {place.version}{profile}"
    )


def _why_not(found: AuditRecord | None, place: Place, key_id: str, policy: PromotionPolicy) -> str:
    if found is None:
        return "there is none of this version"
    about = found.about
    if (about.key_id, about.stored_sha256) != (key_id, shards_digest(place, key_id)):
        return "what was audited is not what is stored now"
    if not _whole(about.settings, policy) or {one.name for one in found.result.attacks} != set(
        registry.NAMES
    ):
        return f"the audit there was not a whole one of the profile {policy.profile}"
    if about.code_version != __version__:
        return f"avih {about.code_version} did the audit there, and this is {__version__}"
    if found.result.verdict not in ENOUGH[policy.require_audit]:
        return f"the audit says: {found.result.verdict}"
    return ""


def _whole(settings: dict[str, Any], policy: PromotionPolicy) -> bool:
    """Tell whether settings are those of the profile or of a harder one, limits included."""
    fitting = ("full",) if policy.profile == "full" else ("quick", "full")
    return any(settings == PROFILES[name].model_dump(mode="json") for name in fitting)
