"""Every choice of a run, as frozen pydantic models: saved beside the output, drawn as forms by Prefect.

No secret is ever a setting: keys, start values and mixings come from the operating system's entropy and from
the key itself.
"""

from avih.settings.base import Count, Frozen
from avih.settings.models import (
    ARCHITECTURE_OF,
    AVIH,
    AlignSettings,
    Crop,
    EvaluateSettings,
    Fraction,
    IndexSettings,
    KeySettings,
    Preset,
    ProtectSettings,
    Recovery,
    RunSettings,
)
from avih.settings.presets import (
    FAST_UNMIXED_KEY,
    FAST_UNMIXED_PROTECT,
    PAPER_KEY,
    PAPER_PROTECT,
    SEALED_KEY,
    SEALED_PROTECT,
    preset,
)
from avih.settings.runner import LOCAL, RunnerSettings

__all__ = [
    "ARCHITECTURE_OF",
    "AVIH",
    "FAST_UNMIXED_KEY",
    "FAST_UNMIXED_PROTECT",
    "LOCAL",
    "PAPER_KEY",
    "PAPER_PROTECT",
    "SEALED_KEY",
    "SEALED_PROTECT",
    "AlignSettings",
    "Count",
    "Crop",
    "EvaluateSettings",
    "Fraction",
    "Frozen",
    "IndexSettings",
    "KeySettings",
    "Preset",
    "ProtectSettings",
    "Recovery",
    "RunSettings",
    "RunnerSettings",
    "preset",
]
