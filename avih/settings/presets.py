"""The settings that go by a name: ``fast`` and ``paper`` of AVIH, and one preset of every other method."""

from collections.abc import Mapping
from typing import Any, Final

from pydantic import ValidationError

from avih.errors import UsageError
from avih.settings.models import AVIH, EvaluateSettings, KeySettings, ProtectSettings, RunSettings

PAPER_KEY = KeySettings(
    architecture="resnet",
    width=64,
    blocks=9,
    steps=51_512,  # 4 epochs of 12,878 CelebA photos, batch 1
    batch_size=1,
    learning_rate=2e-4,
    l1_weight=100.0,
    ssim_weight=0.0,
    adversarial_weight=1.0,
    noise_levels=0.0,
    precision="float32",
    leak_budget=20_000,  # far beyond what such a key bears; the papers' tables need whole data sets
)
FAST_UNMIXED_KEY = KeySettings(
    architecture="resnet",
    width=64,
    blocks=9,
    trunk_norm_only=True,
    steps=240,  # longer is nearer to the identity and worse: other keys then recover more, and the loop less
    batch_size=4,
    learning_rate=1e-3,
    l1_weight=1.0,
    ssim_weight=1.0,
    noise_levels=0.0,
    crop=64,
    warm_up=12,
    dropout=0.0,
)
PAPER_PROTECT = ProtectSettings(
    recovery="unmixed",
    rule="decaying",
    steps=800,
    step_size=0.01,
    momentum=0.3,
    stop_cosine=None,
    batch_size=4,
    precision="float32",
)
FAST_UNMIXED_PROTECT = ProtectSettings(
    recovery="unmixed",
    rule="adaptive",
    steps=220,
    step_size=0.6,
    momentum=0.9,
    stop_cosine=None,
    feature_weight=2.5,
    variance_weight=0.002,
    recovery_weight=1.0,
    batch_size=8,
)
SEALED_KEY = KeySettings(architecture="none")
SEALED_PROTECT = ProtectSettings(recovery="sealed")

_CHOICES: Final[Mapping[tuple[str, str], tuple[KeySettings, ProtectSettings]]] = {
    ("fast", "keyed"): (KeySettings(), ProtectSettings()),
    ("fast", "sealed"): (SEALED_KEY, SEALED_PROTECT),
    ("fast", "unmixed"): (FAST_UNMIXED_KEY, FAST_UNMIXED_PROTECT),
    ("paper", "unmixed"): (PAPER_KEY, PAPER_PROTECT),
}
_USUAL: Final = {"fast": "keyed", "paper": "unmixed"}
_METHOD_OF: Final = {"veil": "person_veil", "inverse": "lie"}  # recoveries that are not AVIH's


def preset(
    name: str,
    *,
    recovery: str | None = None,
    key_steps: int | None = None,
    method: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> RunSettings:
    """Return the settings of a preset.

    Args:
        name: ``fast``, or ``paper`` (Algorithm 1 of 000; AVIH alone).
        recovery: ``keyed`` (the default of ``fast``), ``sealed`` or ``unmixed`` (the only one of ``paper``);
            other methods have their own.
        key_steps: training steps of a new key's generator, in place of the preset's.
        method: protection method; by default that of the recovery, which is ``avih`` but for those of others.
        options: what another method than ``avih`` lets choose.

    Raises:
        UsageError: there is no such preset, it has no such recovery, an option that the method does not have, or
            training steps for a key without a generator.
    """
    chosen = method or _METHOD_OF.get(recovery or "", AVIH)
    made = _of_avih(name, recovery) if chosen == AVIH else _of_method(chosen, name, recovery, options or {})
    if options and chosen == AVIH:
        raise UsageError(
            f"Expected no options for the method avih, got {', '.join(options)}: give another --method."
        )
    if key_steps is None:
        return made
    if made.key.architecture == "none":
        raise UsageError(
            f"Expected no training steps for a {made.protect.recovery} key, got {key_steps}: it has no generator "
            "to train."
        )
    # Validated, which model_copy would not do.
    key = KeySettings.model_validate(made.key.model_dump() | {"steps": key_steps})
    return made.model_copy(update={"key": key})


def _of_avih(name: str, recovery: str | None) -> RunSettings:
    chosen = _CHOICES.get((name, recovery or _USUAL.get(name, "")))
    if chosen is None:
        known = ", ".join(f"{preset} with {served}" for preset, served in _CHOICES)
        got = f"{name!r} with {recovery!r}" if recovery else f"{name!r}"
        raise UsageError(f"Expected a preset of fast, paper ({known}); got {got}.")
    key, protect = chosen
    return RunSettings(key=key, protect=protect)


def _of_method(method: str, name: str, recovery: str | None, options: Mapping[str, Any]) -> RunSettings:
    from avih.methods.registry import pipeline_of  # the methods need torch and these settings

    pipeline = pipeline_of(method)
    if name != "fast" or recovery not in (None, *pipeline.recoveries):
        raise UsageError(
            f"Expected the preset fast and the recovery {' or '.join(pipeline.recoveries)} for the method "
            f"{method}, got {name!r} and {recovery!r}."
        )
    values = {"method": method, "options": dict(options), **pipeline.protect}
    try:
        protect = ProtectSettings.model_validate(values | ({"recovery": recovery} if recovery else {}))
    except ValidationError as error:
        raise UsageError(
            f"Expected other options for the method {method}: {error.errors()[0]['msg']}."
        ) from None
    return RunSettings(key=pipeline.key, protect=protect, evaluate=EvaluateSettings(limits=pipeline.limits))
