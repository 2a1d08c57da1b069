"""Flow of the whole job: photos in, protected gallery out, measured, and live if it passes the gates."""

import flows.environment  # noqa: F401  # before prefect

from prefect import flow

from avih.naming import Store
from avih.recognisers import read_card
from avih.settings import RunSettings
from flows.alerts import failed
from flows.create_key import create_key_flow
from flows.index_gallery import index_gallery
from flows.make_version import VersionMade, go_live, make_version
from flows.runners import check
from tasks.gallery_lock import gallery_lock
from tasks.key_choice import fitting_key, key_in_use
from tasks.promotion import refuse
from tasks.records import Place, RecogniserChoice
from tasks.run_record import RunRecord
from tasks.worker_probe import Needs


class GalleryRun(VersionMade):
    """What a whole run gives: the version, what differs from the one before, and whether it is current now."""

    added: int
    changed: int
    removed: int
    live: bool


@flow(name="run-gallery", log_prints=False, on_failure=[failed], on_crashed=[failed])
def run_gallery(
    *,
    store: str,
    gallery: str,
    source: str,
    recogniser: RecogniserChoice,
    settings: RunSettings | None = None,
    key_id: str | None = None,
    key_pictures: str | None = None,
    lpips_backbone: str | None = None,
    enforce_limits: bool = True,
) -> GalleryRun:
    """Index, align, make a key if none is active, protect, evaluate, promote; what is done is kept."""
    template = read_card(recogniser.card).template
    settings = (settings or RunSettings()).aligned_to(template)
    check(settings.runner, needs=Needs(store=store))
    with gallery_lock(Store.find(store), gallery, purpose="avih run"):
        indexed = index_gallery(store=store, gallery=gallery, source=source, settings=settings.index)
        place = Place(store=store, gallery=gallery, version=indexed.version, recogniser=recogniser)
        chosen = (
            key_id
            or key_in_use(place, settings)
            or fitting_key(store, settings)
            or create_key_flow(
                store=store, settings=settings.key, recovery=settings.protect.recovery, template=template,
                pictures=key_pictures, reason=f"first run of gallery {gallery}",
            ).key_id
        )  # fmt: skip
        record = RunRecord(
            gallery=gallery, version=indexed.version, source=source, recogniser=recogniser, key_id=chosen,
            settings=settings, lpips_backbone=lpips_backbone,
        )  # fmt: skip
        made = make_version(record, store=store, shards=list(indexed.shards), source=source)
        if enforce_limits:
            refuse(made.reasons, place=place, serving=None)
        if not made.reasons:
            go_live(record, store=store, reason="avih run")
    return GalleryRun(
        **dict(made), added=indexed.added, changed=indexed.changed, removed=indexed.removed,
        live=not made.reasons,
    )  # fmt: skip
