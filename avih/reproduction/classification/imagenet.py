"""ImageNet pictures and torchvision's ResNet-50 (000, supplement C, Table 9). Neither is ever downloaded."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import nn

from avih.batched import groups
from avih.classifiers.resnet32 import imagenet_resnet50
from avih.evaluation.metrics import ssim
from avih.methods.avih_classifier import ClassifierSettings, protect_for_classifier, recover_pictures
from avih.reproduction.classification.imagenet_data import (
    CHECKPOINT,
    CLASSES,
    Target,
    choose,
    find_weights,
    prepared,
    read_weights,
)
from avih.reproduction.context import Context
from avih.reproduction.networks import PUBLIC_SEED, trained_network
from avih.reproduction.outcome import NotRun, Outcome, Row, mean_row, not_run, rate_row
from avih.settings import PAPER_KEY, KeySettings

Figures = dict[str, list[Any]]

PAPER: Final = {"acc_original": 86.0, "acc_protected": 86.0, "ssim_d": 0.90}
BATCH: Final = 10
SMOKE_STEPS: Final = 20


def imagenet(context: Context) -> Outcome:
    """Protect 50 ImageNet pictures for ResNet-50 and recover them (Table 9).

    Wanted: ImageNet's validation pictures in 1,000 class folders (``data.imagenet``), and torchvision's weights,
    as ``resnet50*.safetensors`` beside these folders or as ``resnet50-0676ba61.pth`` there or in torch's cache.
    """
    folder = context.data.imagenet
    weights = find_weights(folder)
    missing = [
        *([] if folder and folder.is_dir() else ["ImageNet's validation pictures in 1,000 class folders"]),
        *([] if weights else [f"torchvision's weights of ResNet-50 ({CHECKPOINT}) in torch's cache"]),
    ]
    rows = [Row(label="ResNet50", metric=metric, paper=value) for metric, value in PAPER.items()]
    if missing or folder is None or weights is None:
        return not_run(f"Missing: {'; '.join(missing)}.", rows=rows)
    try:
        network = imagenet_resnet50(read_weights(weights)).to(context.device)
        target = Target(
            folder, network, CLASSES, f"ResNet-50 (torchvision, {weights.name})", "ImageNet", own=True
        )
        return measured(context, target, key=_key(context))
    except NotRun as reason:
        return not_run(str(reason), rows=rows)


def measured(context: Context, target: Target, *, key: KeySettings) -> Outcome:
    """Measure Table 9 on a target, ten pictures at a time.

    Raises:
        NotRun: another number of class folders than the network has classes, or no readable picture.
    """
    settings = ClassifierSettings(steps=context.size(smoke=SMOKE_STEPS, cpu=600, full=600), batch_size=BATCH)
    chosen = choose(target, most=context.size(smoke=4, cpu=10, full=50))
    generators = [
        trained_network(context, key, size=(target.side, target.side), seed=PUBLIC_SEED + more)
        for more in (0, 1)
    ]
    facts = {
        "data": target.data, "model": target.model, "settings": settings.model_dump(mode="json"),
        "key": key.digest(), "side": [target.shorter, target.side],
    }  # fmt: skip
    found: Figures = {}
    for number, part in enumerate(groups(chosen, BATCH)):
        names = [path.relative_to(target.folder).as_posix() for path, _ in part]

        def compute(part: Sequence[tuple[Path, int]] = part) -> Figures:
            context.tell(f"protecting {len(part)} pictures of {target.data}")
            return _protect(target, part, settings, [made.generator for made in generators], context.device)

        piece = context.remember(f"classification/imagenet/{number}", facts | {"names": names}, compute)
        for name, values in piece.items():
            found.setdefault(name, []).extend(values)
    return Outcome(
        mark="reproduced" if target.own and context.profile == "full" else "substitute",
        rows=_rows(found),
        data=target.data,
        model=target.model,
        setting=(
            f"{len(chosen)} pictures, shorter side {target.shorter}, centre of {target.side}; {settings.steps} "
            f"steps with the weights of the released code; key: {generators[0].made}, unmixed. Intervals: "
            "Wilson for accuracies; for SSIM whole classes are drawn"
        ),
        findings=_findings(found, target.classes),
    )


def _protect(
    target: Target,
    part: Sequence[tuple[Path, int]],
    settings: ClassifierSettings,
    generators: Sequence[nn.Module],
    device: str,
) -> Figures:
    read = [prepared(path, shorter=target.shorter, side=target.side) for path, _ in part]
    pictures = np.stack([pixels for pixels in read if pixels is not None])
    place, truth = torch.device(device), np.array([label for _, label in part])
    found = protect_for_classifier(
        pictures=pictures, classifier=target.network, generator=generators[0], settings=settings, device=place
    )
    mine, wrong = (recover_pictures(stored=found.pixels, generator=one, device=place) for one in generators)
    own = (np.arange(len(truth)), found.classes)
    return {
        "label": truth.tolist(),
        "before": (found.classes == truth).tolist(),
        "after": (found.logits.argmax(axis=1) == truth).tolist(),
        "kept": found.kept.tolist(),
        "rise": (found.logits[own] - found.logits_before[own]).tolist(),
        "ssim_e": [ssim(a, b) for a, b in zip(found.pixels, pictures, strict=True)],
        "ssim_d": [ssim(a, b) for a, b in zip(mine, pictures, strict=True)],
        "wrong": [ssim(a, b) for a, b in zip(wrong, pictures, strict=True)],
    }


def _rows(found: Figures) -> tuple[Row, ...]:
    def rate(metric: str, part: str) -> Row:
        hits, tries = sum(found[part]), len(found[part])
        return rate_row(label="ResNet50", metric=metric, hits=hits, tries=tries, paper=PAPER.get(metric))

    def mean(label: str, metric: str, part: str, paper: float | None = None) -> Row:
        classes = [str(number) for number in found["label"]]
        return mean_row(label=label, metric=metric, values=found[part], persons=classes, paper=paper)

    return (
        rate("acc_original", "before"),
        rate("acc_protected", "after"),
        rate("class_kept", "kept"),
        mean("ResNet50", "ssim_e", "ssim_e"),
        mean("ResNet50", "ssim_d", "ssim_d", PAPER["ssim_d"]),
        mean("ResNet50, wrong key", "ssim_d", "wrong"),
    )


def _findings(found: Figures, classes: int) -> tuple[str, ...]:
    before, after, back = (float(np.mean(found[part])) for part in ("before", "after", "ssim_d"))
    same = "as" if before - after <= 0.01 else "other than"
    reached = "reaches" if back >= PAPER["ssim_d"] else "stays below"
    return (
        f"Accuracy goes from {100 * before:.0f} to {100 * after:.0f} %, {same} in the paper, where it stays.",
        f"SSIM_d {back:.3f} {reached} the paper's {PAPER['ssim_d']:.2f}.",
        f"The logit's weight goes with a mean over {classes} classes, {classes / 10:.3g} times weaker than with "
        f"ten; the own logit rose in {sum(rise > 0 for rise in found['rise'])} of {len(found['rise'])} pictures.",
    )


def _key(context: Context) -> KeySettings:
    small = KeySettings(architecture="resnet", width=32, blocks=4, trunk_norm_only=True, steps=600)
    return context.size(smoke=small, cpu=small, full=PAPER_KEY)
