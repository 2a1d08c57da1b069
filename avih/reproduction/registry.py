"""The experiments that there are: one line each, in the order of the papers."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from avih.errors import UsageError
from avih.reproduction.context import Context
from avih.reproduction.outcome import Outcome, Paper


@dataclass(frozen=True)
class Experiment:
    """One table or figure of a paper.

    Attributes:
        name: what the command line calls it: ``avih-table-1``.
        table: what the paper calls it: ``Table 1``.
        title: what it shows.
        place: ``module:function`` below ``avih.reproduction``; the function takes a Context and gives an Outcome.
    """

    name: str
    paper: Paper
    table: str
    title: str
    place: str

    def run(self, context: Context) -> Outcome:
        """Run it."""
        module, _, function = self.place.partition(":")
        chosen: Callable[[Context], Outcome] = getattr(
            importlib.import_module(f"avih.reproduction.{module}"), function
        )
        return chosen(context)


def _of(paper: Paper, table: str, title: str, place: str) -> Experiment:
    return Experiment(f"{paper} {table}".lower().replace(" ", "-"), paper, table, title, place)


EXPERIMENTS: Final = (
    _of("AVIH", "Table 1", "Quality of protected and recovered pictures, and cosine", "hiding.gallery:quality"),
    _of("AVIH", "Table 2", "Rank-1 accuracy, galleries original and protected", "hiding.gallery:identification"),
    _of("AVIH", "Table 3", "A key trained without faces", "hiding.natural_key:natural_key"),
    _of("AVIH", "Table 4", "Recovery from noisy protected pictures", "hiding.gallery:noise"),
    _of("AVIH", "Table 5", "Accuracy of classifiers on protected pictures", "classification.tables:accuracy"),
    _of("AVIH", "Table 6", "Iterations against time and quality", "hiding.iterations:table"),
    _of("AVIH", "Table 7", "Another recogniser on protected pictures", "hiding.gallery:other_recogniser"),
    _of("AVIH", "Table 8", "Picture quality of methods for classifiers", "classification.tables:quality"),
    _of("AVIH", "Table 9", "ImageNet pictures and ResNet-50", "classification.imagenet:imagenet"),
    _of("AVIH", "Figure 5", "Recovery with the keys of others (16 keys)", "hiding.keys:cross_recovery"),
    _of("AVIH", "Figure 6", "A network trained on leaked pairs", "hiding.keys:attack_model"),
    _of("AVIH", "Figure 7", "Block variance against other visual losses", "hiding.ablations:losses"),
    _of("AVIH", "Figure 8", "Kernel, stride and weight of the block variance", "hiding.ablations:kernel"),
    _of("AVIH", "Figure 10", "Time to protect, by batch size", "hiding.iterations:batch_sizes"),
    _of("AVIH", "Figure 11", "Pictures after different iterations", "hiding.iterations:pictures"),
    _of("AVIH", "Figure 12", "Correlation of adjacent pixels", "hiding.gallery:correlation"),
    _of("AVIH", "Figure 13", "Histograms", "hiding.gallery:histogram"),
    _of("Veils", "Table 1", "Quality of veiled pictures, beside V-UAP", "veils.tables:hiding"),
    _of("Veils", "Table 2", "Quality of recovered pictures", "veils.tables:recovery"),
    _of("Veils", "Table 3", "With and without block variance", "veils.tables:ablation"),
    _of("Veils", "Figure 4", "Matching with the same and with another recogniser", "veils.matching:matching"),
    _of("Veils", "Figure 6", "Matching by alpha", "veils.matching:alpha"),
    _of("Veils", "Figure 7", "Matching under noise and filters", "veils.matching:robustness"),
    _of("Veils", "Figure 8", "Visibility by alpha", "veils.matching:visibility"),
    _of("Veil Privacy", "Table 2", "Baseline and veiled models", "veil_privacy.accuracy:accuracy"),
    _of("Veil Privacy", "Table 3", "SSIM of veiled and original pictures", "veil_privacy.hiding:similarity"),
    _of("Veil Privacy", "Table 4", "Combination, fine-tuning and transfer", "veil_privacy.training:variants"),
    _of("Veil Privacy", "Table 5", "Flip ratio, noise for flips, layers", "veil_privacy.ablations:flip_ratio"),
    _of("Veil Privacy", "Table 6", "SSIM of the pictures of Figure 4", "veil_privacy.inversion:figure_4"),
    _of("Veil Privacy", "Table 7", "SSIM of the pictures of Figure 5", "veil_privacy.restoration:figure_5"),
)  # fmt: skip


def chosen(names: tuple[str, ...]) -> tuple[Experiment, ...]:
    """Return experiments by name, or all.

    Raises:
        UsageError: there is no experiment of a name.
    """
    known = {experiment.name: experiment for experiment in EXPERIMENTS}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UsageError(f"Expected tables of {', '.join(known)}; got {', '.join(unknown)}.")
    return tuple(known[name] for name in names) if names else EXPERIMENTS
