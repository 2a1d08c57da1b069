"""Every choice of a run, as frozen pydantic models: saved beside the output, drawn as forms by Prefect.

No secret is ever a setting: keys, start values and mixings come from the operating system's entropy and from
the key itself.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from avih.errors import UsageError
from avih.evaluation.summary import Limits

Recovery = Literal["keyed", "unmixed", "sealed"]
Preset = Literal["fast", "paper"]
Fraction = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Crop = Annotated[int, Field(ge=16, multiple_of=4)]


class Frozen(BaseModel):
    """Base of all settings: immutable, and an unknown field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def digest(self) -> str:
        """SHA-256 of the canonical JSON: equal settings have equal digests."""
        return hashlib.sha256(json.dumps(self.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()


class IndexSettings(Frozen):
    """Which photos belong to the gallery and how they are cut into shards."""

    layout: str = Field(
        "auto", description="Reader of the source: auto, lfw, orl, celeba, coco, image_folder."
    )
    limit: Count | None = Field(None, description="Most photos to take; persons with many photos come first.")
    shard_size: Count = Field(64, description="Photos per shard: the unit of work, retry and resume.")


class AlignSettings(Frozen):
    """How faces are found and brought into position."""

    template: str = Field("112x96", description="Five-point template; the recogniser's card decides.")
    minimum_confidence: Fraction = Field(0.9, description="MTCNN confidence below which a face is no face.")
    batch_size: Count = Field(32, description="Photos per MTCNN pass.")


class KeySettings(Frozen):
    """Which generator a new key gets and how it is trained; its seed is secret and comes from the system."""

    architecture: Literal["codec", "resnet", "none"] = Field(
        "codec", description="Network: codec (keyed), resnet (papers), none (sealed)."
    )
    width: Count = Field(48, description="Channels of the first layer.")
    blocks: Count = Field(4, description="Residual blocks.")
    trunk_norm_only: bool = Field(
        False, description="ResNet: normalise only inside the trunk (fast on CPUs)."
    )
    steps: Count = Field(400, description="Training steps.")
    batch_size: Count = Field(8, description="Pictures per training step.")
    learning_rate: float = Field(5e-4, gt=0, description="Adam's first step size; it falls to zero (cosine).")
    l1_weight: float = Field(1.0, ge=0, description="Weight of the mean absolute error.")
    ssim_weight: float = Field(0.25, ge=0, description="Weight of 1 - SSIM.")
    adversarial_weight: float = Field(
        0.0, ge=0, description="Weight of the PatchGAN term (pix2pix: 1, L1: 100)."
    )
    noise_levels: float = Field(8.0, ge=0, description="Most noise added while training, in grey levels.")
    crop: Crop | None = Field(
        None, description="Side of square training crops in pixels, 4 n; none: the template's size."
    )
    warm_up: int = Field(0, ge=0, description="Steps in which the step size rises to its first value.")
    dropout: Fraction = Field(0.5, description="ResNet: share of features left out in training steps.")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="Number format of training; auto: bfloat16 for a ResNet where it is faster."
    )
    leak_budget: Count | None = Field(
        None, description="Most images that may ever be protected under the key; none: by recovery."
    )

    @property
    def training_steps(self) -> int:
        """Training steps that there will be: none where there is no generator."""
        return 0 if self.architecture == "none" else self.steps

    def options(self) -> dict[str, float]:
        """Return the arguments of the generator's constructor."""
        if self.architecture == "none":
            return {}
        options: dict[str, float] = {"width": self.width, "blocks": self.blocks}
        return (
            options if self.architecture == "codec" else options | {"trunk_norm_only": self.trunk_norm_only}
        )


class ProtectSettings(Frozen):
    """How pictures are hidden."""

    method: Literal["avih"] = Field("avih", description="Protection method.")
    recovery: Recovery = Field(
        "keyed",
        description="keyed: generator and secret mixing. sealed: an encrypted copy beside the image. unmixed: "
        "the papers.",
    )
    rule: Literal["closing", "adaptive", "decaying"] = Field(
        "closing", description="Step rule: closing (fast), adaptive (fast, unmixed), decaying (papers)."
    )
    steps: Count = Field(200, description="Most gradient steps per image.")
    step_size: float = Field(0.2, gt=0, description="First step, in units of the pixel range.")
    momentum: Fraction = Field(0.9, description="Weight of past gradients.")
    stop_cosine: float | None = Field(
        0.998, ge=-1, le=1, description="Cosine at which an image is done; none: all steps."
    )
    stop_mse: float = Field(
        0.002, ge=0, description="Unmixed: squared recovery error an image must also reach to be done."
    )
    feature_weight: float = Field(1.0, ge=0, description="Unmixed: weight of the feature term.")
    recovery_weight: float = Field(0.2, ge=0, description="Unmixed: weight mu of the recovery term.")
    variance_weight: float = Field(0.001, ge=0, description="Unmixed: weight lambda of the block variance.")
    batch_size: Count = Field(16, description="Images optimised together.")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="Number format of a first pass (keyed), or of the generator (unmixed)."
    )
    minimum_cosine: Fraction = Field(0.98, description="Below it an image is marked below_quality.")
    minimum_ssim_d: Fraction = Field(0.5, description="Recovery below it marks an image below_quality.")


class EvaluateSettings(Frozen):
    """What is measured and which limits hold."""

    probe_persons: Count = Field(12, description="Persons whose photos are the probes.")
    minimum_photos: Count = Field(13, description="Photos a probe person has at least.")
    seed: int = Field(0, description="Which persons, when more qualify. No secret.")
    contact_sheet_images: Count = Field(8, description="Images on a contact sheet.")
    limits: Limits = Field(default_factory=Limits, description="Outside these the run ends with exit code 4.")


class RunSettings(Frozen):
    """All stages of one gallery."""

    index: IndexSettings = IndexSettings()
    align: AlignSettings = AlignSettings()
    key: KeySettings = KeySettings()
    protect: ProtectSettings = ProtectSettings()
    evaluate: EvaluateSettings = EvaluateSettings()


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

ARCHITECTURE_OF: Mapping[Recovery, str] = {"keyed": "codec", "unmixed": "resnet", "sealed": "none"}
_CHOICES: Mapping[tuple[str, str], tuple[KeySettings, ProtectSettings]] = {
    ("fast", "keyed"): (KeySettings(), ProtectSettings()),
    ("fast", "sealed"): (SEALED_KEY, SEALED_PROTECT),
    ("fast", "unmixed"): (FAST_UNMIXED_KEY, FAST_UNMIXED_PROTECT),
    ("paper", "unmixed"): (PAPER_KEY, PAPER_PROTECT),
}
_USUAL = {"fast": "keyed", "paper": "unmixed"}


def preset(name: str, *, recovery: str | None = None, key_steps: int | None = None) -> RunSettings:
    """Return the settings of a preset.

    Args:
        name: ``fast``, or ``paper`` (Algorithm 1 of 000).
        recovery: ``keyed`` (the default of ``fast``), ``sealed`` or ``unmixed`` (the only one of ``paper``).
        key_steps: training steps of a new key's generator, in place of the preset's.

    Raises:
        UsageError: there is no such preset, it has no such recovery, or training steps for a key without one.
    """
    chosen = _CHOICES.get((name, recovery or _USUAL.get(name, "")))
    if chosen is None:
        known = ", ".join(f"{preset} with {served}" for preset, served in _CHOICES)
        got = f"{name!r} with {recovery!r}" if recovery else f"{name!r}"
        raise UsageError(f"Expected a preset of fast, paper ({known}); got {got}.")
    key, protect = chosen
    if key_steps is not None:
        if key.architecture == "none":
            raise UsageError(
                f"Expected no training steps for a sealed key, got {key_steps}: it has no generator to train."
            )
        # Validated, which model_copy would not do.
        key = KeySettings.model_validate(key.model_dump() | {"steps": key_steps})
    return RunSettings(key=key, protect=protect)
