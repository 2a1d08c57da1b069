"""Evaluate stage, second half: identification, summary, plots, contact sheets and the report of a version."""

from pathlib import Path

import numpy as np
import pandas as pd

from avih import __version__
from avih.atomic import write_bytes, write_json
from avih.errors import UsageError
from avih.evaluation import plots
from avih.evaluation.contact_sheet import contact_sheet, write_private_png
from avih.evaluation.identification import IdentificationResult, identify
from avih.evaluation.report import report_text
from avih.evaluation.summary import COUNTED, check_limits, summarise, unchecked_limits
from avih.images import encode_png
from avih.settings import EvaluateSettings, Recovery
from tasks.evaluate_shard import evaluated_address
from tasks.records import Place, Record
from tasks.sheets import ContactRows, collect_rows

ACCOUNT = ("protected", "below_quality", "skipped", "failed")


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


def read_measurements(*, place: Place, key_id: str, shards: list[int]) -> pd.DataFrame:
    """Read the measured rows of all shards, sorted by image id."""
    paths = [place.folder.shard(evaluated_address(place, key_id, number), "parquet") for number in shards]
    if not paths:
        raise UsageError("Expected at least one shard, got none: the gallery is empty.")
    return pd.concat([pd.read_parquet(path) for path in paths], ignore_index=True).sort_values(
        "image_id", ignore_index=True
    )


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
    rows = read_measurements(place=place, key_id=key_id, shards=shards)
    folder = place.folder.folder("evaluated", gallery=place.gallery, version=place.version, key_id=key_id)
    identification = _identify(rows, settings)
    metrics = summarise(rows, identification)
    counts = {status: int((rows.status == status).sum()) for status in ACCOUNT}
    notes = [note for note in (identification.note, lpips_reason) if note]
    if metrics["wrong_key_ssim_d"] is None:
        notes.append("wrong-key SSIM_d: the store holds no second generator to try")
    if unchecked := unchecked_limits(metrics):
        notes.append(f"not measured, so not checked: {', '.join(unchecked)}")
    reasons = rows[rows.reason != ""].reason.str.split(" ").str[0].value_counts().to_dict()
    facts = {
        "gallery": place.gallery,
        "version": place.version,
        "key_id": key_id,
        "recovery": recovery,
        "images": counts,
        "reasons": reasons,
        "metrics": metrics,
        "identification": {"persons": len(identification.probe_persons), "probes": identification.probe_photos,
                           "gallery": identification.gallery_size},
        "notes": notes,
        "code_version": __version__,
    }  # fmt: skip
    broken = check_limits(metrics, settings.limits)
    sheets = collect_rows(
        place=place, key_id=key_id, rows=rows, recovery=recovery, most=settings.contact_sheet_images
    )
    tracked = _figures(folder, place.gallery, rows, sheets, settings)
    owner = _owner_sheet(folder, sheets)
    write_json(folder / "summary.json", facts | {"broken_limits": broken})
    write_bytes(folder / "report.md", report_text(facts, broken=broken, figures=tracked).encode())
    return GallerySummary(
        counts=counts,
        metrics=metrics,
        broken_limits=tuple(broken),
        notes=tuple(notes),
        folder=str(folder),
        report=str(folder / "report.md"),
        owner_contact_sheet=str(owner) if owner else None,
        files_for_tracking=tuple(str(path) for path in tracked),
    )


def _identify(rows: pd.DataFrame, settings: EvaluateSettings) -> IdentificationResult:
    counted = rows[rows.status.isin(COUNTED)]
    return identify(
        original=np.array(counted.feature_original.tolist()),
        protected=np.array(counted.feature_protected.tolist()),
        persons=counted.person.tolist(),
        count=settings.probe_persons,
        minimum_photos=settings.minimum_photos,
        seed=settings.seed,
    )


def _figures(
    folder: Path, gallery: str, rows: pd.DataFrame, sheets: ContactRows, settings: EvaluateSettings
) -> list[Path]:
    """Write the plots and the contact sheet that anybody may see; none shows an original."""
    figures = {"quality.png": plots.quality_distributions(rows, data_set=gallery, limits=settings.limits)}
    if len(sheets.originals) >= plots.FEWEST_IMAGES:
        pair = (sheets.originals, sheets.protected)
        figures["histograms.png"] = plots.pixel_histograms(*pair, data_set=gallery)
        figures["adjacent_pixels.png"] = plots.adjacent_pixel_correlation(*pair, data_set=gallery)
    paths = []
    for name, figure in figures.items():
        figure.savefig(folder / name, dpi=110, metadata={"Software": None})
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
