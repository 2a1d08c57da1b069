"""Flow of the whole job: photos in, protected gallery out, measured."""

from pathlib import Path

from prefect import flow

import flows.environment  # noqa: F401  # before prefect
from avih.errors import KeyRefused, UsageError
from avih.keys import KeyStore
from avih.naming import Store
from avih.recognisers import read_card
from avih.settings import RunSettings
from flows.align_gallery import align_gallery
from flows.create_key import create_key_flow
from flows.evaluate_gallery import Evaluation, evaluate_gallery
from flows.index_gallery import index_gallery
from flows.protect_gallery import protect_gallery
from tasks.records import Place, RecogniserChoice, ShardRecord, add_counts
from tasks.run_record import RunRecord, described, load_run, save_run


class GalleryRun(Evaluation):
    """What a whole run gives."""

    gallery: str
    version: str
    key_id: str
    counts: dict[str, int]
    added: int
    shards_made: int


@flow(name="run-gallery", log_prints=False)
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
    """Index, align, make a key if none is active, protect, evaluate; whatever is done already is kept."""
    settings = settings or RunSettings()
    template = read_card(recogniser.card).template
    settings = settings.model_copy(update={"align": settings.align.model_copy(update={"template": template})})
    indexed = index_gallery(store=store, gallery=gallery, source=source, settings=settings.index)
    place = Place(store=store, gallery=gallery, version=indexed.version, recogniser=recogniser)
    shards = list(indexed.shards)
    align_gallery(
        place=place, shards=shards, source=source, layout=settings.index.layout, settings=settings.align
    )
    chosen = (
        key_id
        or key_in_use(place, settings)
        or fitting_key(store, settings)
        or create_key_flow(
            store=store,
            settings=settings.key,
            recovery=settings.protect.recovery,
            template=template,
            pictures=key_pictures,
            reason=f"first run of gallery {gallery}",
        ).key_id
    )
    record = RunRecord(
        gallery=gallery, version=indexed.version, source=source, recogniser=recogniser, key_id=chosen,
        settings=settings, lpips_backbone=lpips_backbone,
    )  # fmt: skip
    save_run(record, store=place.folder)
    made: list[ShardRecord] = protect_gallery(
        place=place, key_id=chosen, shards=shards, settings=settings.protect
    )
    evaluation = evaluate_gallery(
        place=place, key_id=chosen, shards=shards, recovery=settings.protect.recovery,
        settings=settings.evaluate, lpips_backbone=lpips_backbone, described=described(record),
        enforce_limits=enforce_limits,
    )  # fmt: skip
    return GalleryRun(
        gallery=gallery, version=indexed.version, key_id=chosen, counts=add_counts(made), added=indexed.added,
        shards_made=sum(shard.made for shard in made), summary=evaluation.summary, run=evaluation.run,
    )  # fmt: skip


def key_in_use(place: Place, settings: RunSettings) -> str | None:
    """Return the key that this version was begun with, while it may still protect."""
    try:
        begun = load_run(store=place.folder, gallery=place.gallery, version=place.version)
        record = KeyStore(place.folder.keys).require(begun.key_id, purpose="protect")
    except (UsageError, KeyRefused):
        return None
    return record.key_id if record.recovery == settings.protect.recovery else None


def fitting_key(store: str, settings: RunSettings) -> str | None:
    """Return the newest active key that serves the settings' recovery, if there is one."""
    keys = KeyStore(Store(Path(store)).keys)
    fitting = [
        record.key_id
        for record in keys.list()
        if record.state == "active" and record.recovery == settings.protect.recovery
    ]
    return fitting[-1] if fitting else None
