"""What an audit by the security lab would do: which attacks, and which of them are answered already."""

from avih.keys import KeyStore
from avih.lab import registry
from avih.lab.settings import lab_settings
from avih.naming import Store
from avih.recognisers import read_card
from tasks import opened
from tasks.audit_begun import BegunAudit
from tasks.audit_gallery import about_audit, kept_audit
from tasks.audit_record import audit_folder
from tasks.audit_subject import data_name, is_drawn
from tasks.dry_checks import check_passphrase
from tasks.records import RecogniserChoice, Record
from tasks.run_record import RunRecord


class WouldAudit(Record):
    """Which attacks would be tried; ``kept`` are answered by what is there, without trying them again.

    Attributes:
        verdict: of the audit that is there and would be shown; None where one would be made.
    """

    gallery: str
    version: str
    key_id: str
    profile: str
    attacks: tuple[str, ...]
    kept: tuple[str, ...]
    verdict: str | None
    report: str


def would_audit(
    *, run: RunRecord, store: Store, profile: str, attacks: tuple[str, ...], second: RecogniserChoice | None,
    lpips_backbone: str | None, show_pictures: bool,
) -> WouldAudit:  # fmt: skip
    """Say what ``avih lab`` would do.

    Raises:
        UsageError: no such profile, attack or card.
        KeyRefused: the key may not recover, or the passphrase is wrong.
        IntegrityError: a stored shard is missing or damaged.
    """
    settings, chosen = lab_settings(profile), registry.attacks(attacks)
    place, key_id, consenting = run.place(store), run.key_id, is_drawn(run) or show_pictures
    check_passphrase(place.folder)
    KeyStore(place.folder.keys).require(key_id, purpose="recover")
    if second:
        read_card(second.card)
    about = about_audit(
        place=place, key_id=key_id, settings=settings, names=attacks, second=second,
        lpips_backbone=lpips_backbone or run.lpips_backbone, consenting=consenting, data=data_name(run),
    )  # fmt: skip
    whole = set(attacks) in (set(), set(registry.NAMES))
    folder = audit_folder(place.folder, gallery=place.gallery, version=place.version, whole=whole)
    kept = kept_audit(folder, place, about)
    mac_key = opened.vault(place.folder.root).mac_key(create=False)
    begun = BegunAudit(folder, inputs=about.inputs_sha256, mac_key=mac_key)
    known = [] if consenting else [name for name in begun.known() if name in about.attacks]
    report = kept.report if kept else folder / "report.html"
    return WouldAudit(
        gallery=place.gallery, version=place.version, key_id=key_id, profile=profile,
        attacks=tuple(one.facts.name for one in chosen), kept=about.attacks if kept else tuple(known),
        verdict=kept.result.verdict if kept else None, report=str(report),
    )  # fmt: skip
