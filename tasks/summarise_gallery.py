"""Evaluate stage, second half: identification, summary, plots, contact sheets and the report of a version."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from avih import __version__
from avih.atomic import atomic_file, remove, remove_leftovers, write_bytes, write_json
from avih.evaluation import plots
from avih.evaluation.contact_sheet import contact_sheet, write_private_png
from avih.evaluation.identification import IdentificationResult, identify_parts
from avih.evaluation.probe_persons import PersonCounts
from avih.evaluation.quality_plot import quality_distributions
from avih.evaluation.spread import Spread
from avih.evaluation.summary import COUNTED, Tally, check_limits, summarise, unchecked_limits, unmeasured
from avih.gallery_report.page import NAME as REPORT
from avih.gallery_report.page import page
from avih.images import encode_png
from avih.plan_history import TIMING
from avih.scratch import scratch_database
from avih.settings import EvaluateSettings, Recovery
from avih.veils.exposure import WARNING
from tasks import opened
from tasks.evaluate_shard import evaluated_address
from tasks.gallery_facts import SHOWN, SUMMARY, gather
from tasks.measurements import Measurements
from tasks.protect_shard import protected_address
from tasks.records import Place, Record
from tasks.sheets import ContactRows, collect_rows, sample_size
from tasks.signed_list import list_files

MEASURED = ("parquet", "done.json")
ACCOUNT = ("protected", "below_quality", "skipped", "failed")
NO_SECOND = "the store holds no second generator to try"
NOTES: dict[Recovery, str] = {
    "veil": f"{WARNING} wrong-key SSIM_d: noise of another secret was taken off in place of the veil.",
    "inverse": "encrypted pictures are for models that are trained anew on them; the recogniser as it is does "
    "not match them: limits of cosines and accuracies are broken by design, and the version does not go live.",
}
SEALED_REFUSES = "sealed: a wrong key is refused, there is no picture"


class GallerySummary(Record):
    """The figures of one version under one key, and where its files are."""

    counts: dict[str, int]
    metrics: dict[str, float | None]
    broken_limits: tuple[str, ...]
    notes: tuple[str, ...]
    folder: str
    report: str
    owner_contact_sheet: str | None
    files_for_tracking: tuple[str, ...]


def summarise_gallery(
    *,
    place: Place,
    key_id: str,
    shards: list[int],
    recovery: Recovery,
    settings: EvaluateSettings,
    lpips_reason: str | None,
) -> GallerySummary:
    """Condense all measurements of a version into files and one record."""
    measured = Measurements(place=place, key_id=key_id, shards=shards)
    folder = place.folder.folder("evaluated", gallery=place.gallery, version=place.version, key_id=key_id)
    remove_leftovers(folder)
    tally, identification, chosen = condense(measured, place=place, settings=settings)
    metrics = summarise(tally, identification)
    counts = {status: tally.statuses[status] for status in ACCOUNT}
    notes = [note for note in (identification.note, lpips_reason) if note]
    notes += [NOTES[recovery]] if recovery in NOTES else []
    if metrics["wrong_key_ssim_d"] is None:
        notes.append(f"wrong-key SSIM_d: {SEALED_REFUSES if recovery == 'sealed' else NO_SECOND}")
    if unchecked := unchecked_limits(metrics):
        notes.append(f"not measured, so not checked: {', '.join(unchecked)}")
    facts = {
        "gallery": place.gallery,
        "version": place.version,
        "key_id": key_id,
        "recovery": recovery,
        "images": counts,
        "reasons": dict(tally.reasons.most_common()),
        "metrics": metrics,
        "identification": {"persons": len(identification.probe_persons), "probes": identification.probe_photos,
                           "gallery": identification.gallery_size},
        "notes": notes,
        "code_version": __version__,
    }  # fmt: skip
    broken = [*check_limits(metrics, settings.limits), *unmeasured(tally)]
    sheets = collect_rows(
        place=place, key_id=key_id, chosen=chosen, recovery=recovery, most=settings.contact_sheet_images
    )
    tracked = _figures(folder, place.gallery, measured, sheets, settings)
    owner = _owner_sheet(folder, sheets)
    write_json(folder / SUMMARY, facts | {"broken_limits": broken})
    report = _report(measured, facts | {"broken_limits": broken}, place, settings, sheets)
    _sign(place, key_id, folder, shards)
    return GallerySummary(
        counts=counts,
        metrics=metrics,
        broken_limits=tuple(broken),
        notes=tuple(notes),
        folder=str(folder),
        report=str(report),
        owner_contact_sheet=str(owner) if owner else None,
        files_for_tracking=tuple(str(path) for path in tracked),
    )


def _report(
    measured: Measurements,
    facts: Mapping[str, Any],
    place: Place,
    settings: EvaluateSettings,
    sheets: ContactRows,
) -> Path:
    """Write the report that anybody may see."""
    key_id = facts["key_id"]
    gathered = gather(
        place=place, key_id=key_id, shards=measured.shards, tables=measured, summary=facts,
        limits=settings.limits,
        pictures=[encode_png(picture) for picture in sheets.protected[:SHOWN]] if sheets.shown else [],
        mac_key=opened.vault(place.folder.root).mac_key(),
    )  # fmt: skip
    folder = place.folder.folder("evaluated", gallery=place.gallery, version=place.version, key_id=key_id)
    write_bytes(folder / REPORT, page(gathered).encode())
    remove(folder / "report.md")  # as earlier releases wrote it
    return folder / REPORT


def _sign(place: Place, key_id: str, folder: Path, shards: list[int]) -> None:
    """Sign what was measured, and the times that went into it."""
    store = place.folder
    files = [store.shard(evaluated_address(place, key_id, n), end) for n in shards for end in MEASURED]
    files += [store.shard(protected_address(place, key_id, number), TIMING) for number in shards]
    files += [*sorted(folder.glob("*.png")), *sorted(folder.glob("owner/*.png"))]
    list_files(
        store=store, gallery=place.gallery, version=place.version, what=f"evaluated-{key_id}",
        files=[*files, folder / SUMMARY, folder / REPORT], mac_key=opened.vault(store.root).mac_key(),
    )  # fmt: skip


def condense(
    measured: Measurements, *, place: Place, settings: EvaluateSettings
) -> tuple[Tally, IdentificationResult, pd.DataFrame]:
    """Go through all measurements; return what they add up to, the accuracies, and rows of a sample to look at.

    In memory are one shard, the probe persons' features and the sample, however large the gallery is.
    """
    tally, spread = Tally(), Spread(sample_size(settings.contact_sheet_images))
    with scratch_database(place.folder.gallery_root("index", place.gallery)) as database:
        persons = PersonCounts(database)
        for rows in measured:
            tally.add(rows)
            counted = rows[rows.status.isin(COUNTED)]
            persons.add(counted.person.fillna("").tolist())
            spread.add(counted)
        identification = identify_parts(
            measured.features,
            counts=persons,
            count=settings.probe_persons,
            minimum_photos=settings.minimum_photos,
            seed=settings.seed,
        )
    return tally, identification, spread.chosen()


def _figures(
    folder: Path, gallery: str, measured: Measurements, sheets: ContactRows, settings: EvaluateSettings
) -> list[Path]:
    """Write the plots and the contact sheet that anybody may see; none shows an original."""
    figures = {"quality.png": quality_distributions(measured, data_set=gallery, limits=settings.limits)}
    if len(sheets.originals) >= plots.FEWEST_IMAGES:
        pair = (sheets.originals, sheets.protected)
        figures["histograms.png"] = plots.pixel_histograms(*pair, data_set=gallery)
        figures["adjacent_pixels.png"] = plots.adjacent_pixel_correlation(*pair, data_set=gallery)
    paths = []
    for name, figure in figures.items():
        with atomic_file(folder / name) as temporary:
            figure.savefig(temporary, format="png", dpi=110, metadata={"Software": None})
        paths.append(folder / name)
    if sheets.shown:
        columns = [("protected", sheets.protected[: sheets.shown])]
        write_bytes(folder / "protected_contact_sheet.png", encode_png(contact_sheet(columns)))
        paths.append(folder / "protected_contact_sheet.png")
    return paths


def _owner_sheet(folder: Path, sheets: ContactRows) -> Path | None:
    """Write original | protected | recovered | wrong key for the owner's eyes (mode 0600)."""
    if not sheets.shown:
        return None
    columns = [(name, pictures[: sheets.shown]) for name, pictures in sheets.columns()]
    path = folder / "owner" / "contact_sheet.png"
    write_private_png(path, contact_sheet(columns, captions=sheets.captions[: sheets.shown]))
    return path
