"""AVIH on classifiers beside LIE and ITP (000, section 4.5 and supplement C): Tables 5 and 8.

Both tables are made of the same measurements (``classification_measured.py``), on the same pictures. Table 9 has
a module of its own.
"""

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from avih.atomic import write_bytes
from avih.evaluation.contact_sheet import contact_sheet
from avih.images import decode_png, encode_png
from avih.reproduction.classification import findings
from avih.reproduction.classification.data import CLASSES, Pictures, Pixels, labelled_pictures
from avih.reproduction.classification.measured import Bench, Figures, keys
from avih.reproduction.classification.services import services
from avih.reproduction.context import Context
from avih.reproduction.outcome import Mark, Outcome, Row, mean_row, rate_row

# Method, model -> originals, protected (Table 5), and SSIM_e, SSIM_d (Table 8).
TABLE_5: Final[dict[tuple[str, str], tuple[float, float]]] = {
    ("LIE", "VGG19"): (10.59, 87.78),
    ("LIE", "ResNet50"): (11.00, 91.53),
    ("ITP", "VGG19"): (93.95, 90.70),
    ("ITP", "ResNet50"): (95.53, 90.16),
    ("AVIH", "VGG19"): (93.95, 93.95),
    ("AVIH", "ResNet50"): (95.53, 95.28),
}
TABLE_8: Final[dict[tuple[str, str], tuple[float, float | None]]] = {
    ("LIE", "VGG19"): (0.178, 1.000),
    ("LIE", "ResNet50"): (0.178, 1.000),
    ("ITP", "VGG19"): (0.068, None),
    ("ITP", "ResNet50"): (0.073, None),
    ("AVIH", "VGG19"): (0.171, 0.900),
    ("AVIH", "ResNet50"): (0.198, 0.923),
}


def accuracy(context: Context) -> Outcome:
    """Compare accuracies on originals and on protected pictures (Table 5)."""
    rows: list[Row] = []
    said: list[str] = []
    for bench in _benches(context):
        lie, itp, avih = bench.lie(), bench.itp(), bench.avih()
        rows += [
            *_pair(bench, "LIE", lie["original"], lie["protected"]),
            _rate(bench, "LIE, classifier not trained anew", "acc_protected", lie["old"]),
            *_pair(bench, "ITP", itp["original"], itp["protected"]),
            *_pair(bench, "AVIH", avih["before"], avih["after"]),
            _rate(bench, "AVIH, same answer as before", "class_kept", avih["kept"]),
        ]
        model = bench.service.name
        said += [
            findings.kept_accuracy(model, avih),
            findings.why_lost(model, avih),
            findings.lie_accuracy(model, lie),
            findings.itp_accuracy(model, itp, avih),
        ]
    return _outcome(context, rows, said)


def quality(context: Context) -> Outcome:
    """Compare SSIM of protected and of recovered pictures (Table 8), and how well edges show."""
    rows: list[Row] = []
    said: list[str] = []
    benches = _benches(context)
    for bench in benches:
        lie, itp, avih = bench.lie(), bench.itp(), bench.avih()
        measured = (("LIE", lie), ("ITP", itp), ("AVIH", avih))
        for method, figures in measured:
            rows += _looks(bench, method, figures)
        rows += [
            _mean(bench, "LIE, wrong key", "ssim_d", lie["wrong"]),
            _mean(bench, "AVIH, wrong key", "ssim_d", avih["wrong"]),
            _mean(bench, "ITP, undone linearly", "ssim_d", itp["undone"]),
            _mean(bench, "mean training picture", "ssim_d", itp["blank"]),
        ]
        model, paper = bench.service.name, TABLE_8["AVIH", bench.service.paper][1]
        said += [
            findings.recovery(model, avih, paper=paper or 0.0),
            findings.lie_exact(model, lie["exact"], len(lie["ssim_d"])),
            findings.way_back(model, itp),
            *(findings.edges(model, method, figures) for method, figures in measured),
        ]
    return _outcome(context, rows, said).model_copy(update={"figure": _draw(context, benches)})


def _benches(context: Context) -> list[Bench]:
    pictures = labelled_pictures(context)
    return [Bench(context, pictures, service) for service in services(context)]


def _outcome(context: Context, rows: Sequence[Row], said: Sequence[str]) -> Outcome:
    pictures, models = labelled_pictures(context), services(context)
    own = pictures.real and all(model.same for model in models)
    mark: Mark = "reproduced" if own else "substitute"
    return Outcome(
        mark=mark,
        rows=tuple(rows),
        data=pictures.name,
        model=", ".join(f"{model.name} for {model.paper}" for model in models),
        setting=_setting(context, pictures),
        findings=tuple(text for text in said if text),
    )


def _setting(context: Context, pictures: Pictures) -> str:
    return (
        f"trained on {len(pictures.train)} pictures; accuracies of LIE and ITP on {len(pictures.test)} test "
        "pictures, AVIH and all looks on the same number of each class among them; AVIH: the weights, step "
        f"sizes and batches of the released code; key: {keys(context)[0].made}, unmixed. LIE: 'original' is a "
        "classifier trained on encrypted pictures and shown plain ones. ITP: loss terms beyond the "
        "classification loss are ours. Intervals: Wilson for accuracies, each picture a trial; for SSIM whole "
        "classes are drawn (the pictures do not say who wrote them). edge_corr: correlation of the edges of "
        "original and protected picture, less what all have in common, our own measure. LPIPS "
        "was not measured: its weights are not at hand"
        + (
            ""
            if pictures.real
            else ". Digits are 8x8 pixels enlarged: a linear guess finds them more easily than photographs"
        )
    )


def _pair(bench: Bench, method: str, before: Sequence[bool], after: Sequence[bool]) -> Iterator[Row]:
    paper = TABLE_5[method, bench.service.paper]
    for metric, right, theirs in zip(("acc_original", "acc_protected"), (before, after), paper, strict=True):
        yield _rate(bench, method, metric, right, paper=theirs)


def _rate(
    bench: Bench, method: str, metric: str, right: Sequence[bool], *, paper: float | None = None
) -> Row:
    return rate_row(
        label=f"{method}, {bench.service.paper}",
        metric=metric,
        hits=sum(right),
        tries=len(right),
        paper=paper,
        model=bench.service.name,
    )


def _looks(bench: Bench, method: str, figures: Figures) -> list[Row]:
    hidden, back = TABLE_8[method, bench.service.paper]
    rows = [_mean(bench, method, "ssim_e", figures["ssim_e"], paper=hidden)]
    if "ssim_d" in figures:
        rows.append(_mean(bench, method, "ssim_d", figures["ssim_d"], paper=back))
    return [
        *rows,
        _mean(bench, method, "edge_corr", figures["edges"]),
        _mean(bench, f"{method}, with another picture", "edge_corr", figures["edges_other"]),
    ]


def _mean(
    bench: Bench, method: str, metric: str, values: Sequence[float], *, paper: float | None = None
) -> Row:
    return mean_row(
        label=f"{method}, {bench.service.paper}",
        metric=metric,
        values=values,
        persons=[str(label) for label in bench.labels],
        paper=paper,
        model=bench.service.name,
    )


def _draw(context: Context, benches: Sequence[Bench]) -> str | None:
    """Draw one picture of each class under each method; no figure where a row of pictures was not kept."""
    bench = benches[-1]
    folder = context.folder("classification", bench.service.paper)
    wanted = {
        "LIE": "lie", "ITP": "itp", "AVIH": "avih", "AVIH recovered": "recovered", "AVIH, wrong key": "wrong"
    }  # fmt: skip
    if not all((folder / f"{name}.png").is_file() for name in wanted.values()):
        return None
    columns: list[tuple[str, Sequence[Pixels]]] = [("original", list(bench.originals[:CLASSES]))]
    for label, name in wanted.items():
        row = decode_png((folder / f"{name}.png").read_bytes())
        columns.append((label, np.split(row, row.shape[1] // row.shape[0], axis=1)))
    path = context.folder("results") / "avih-table-8-pictures.png"
    write_bytes(path, encode_png(contact_sheet(columns, captions=(), scale=3)))
    return path.name
