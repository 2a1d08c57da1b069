"""Every choice of a run, as frozen pydantic models: saved beside the output, drawn as forms by Prefect.

No secret is ever a setting: keys, start values and mixings come from the operating system's entropy and from
the key itself.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from avih.evaluation.summary import Limits
from avih.settings.base import Count, Frozen
from avih.settings.runner import RunnerSettings

Recovery = Literal["keyed", "unmixed", "sealed", "veil", "inverse"]
Preset = Literal["fast", "paper"]
Fraction = Annotated[float, Field(ge=0, le=1)]
Crop = Annotated[int, Field(ge=16, multiple_of=4)]

AVIH: Final = "avih"
AVIH_RECOVERIES: Final[tuple[Recovery, ...]] = ("keyed", "unmixed", "sealed")
# Fields of ProtectSettings that other methods than avih do not use.
AVIH_FIELDS: Final = (
    *("rule", "steps", "step_size", "momentum", "stop_cosine", "stop_mse", "feature_weight"),
    *("recovery_weight", "variance_weight", "batch_size", "precision"),
)
ARCHITECTURE_OF: Final[Mapping[Recovery, str]] = {
    "keyed": "codec",
    "unmixed": "resnet",
    "sealed": "none",
    "veil": "none",
    "inverse": "none",
}


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
    width: int = Field(48, ge=1, le=1024, description="Channels of the first layer.")
    blocks: int = Field(4, ge=1, le=64, description="Residual blocks.")
    trunk_norm_only: bool = Field(
        False, description="ResNet: normalise only inside the trunk (fast on CPUs)."
    )
    steps: Count = Field(400, description="Training steps.")
    batch_size: int = Field(8, ge=1, le=4096, description="Pictures per training step.")
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
    """How pictures are hidden; only what the method uses is written down, compared and hashed.

    From ``rule`` to ``precision`` the fields are AVIH's own; another method has ``options`` of its own.
    """

    method: str = Field("avih", description="Protection method, see avih methods.")
    recovery: Recovery = Field(
        "keyed",
        description="keyed: generator and secret mixing. sealed: an encrypted copy beside the image. unmixed: "
        "the papers. veil: the person's veil is taken off. inverse: the cipher is turned back.",
    )
    options: dict[str, Any] = Field(
        default_factory=dict, description="What other methods than avih let choose."
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

    def for_few(self, pictures: int) -> Self:
        """Return these settings for so few pictures: a batch is always computed whole, however empty it is."""
        return self.model_copy(update={"batch_size": max(1, min(self.batch_size, pictures))})

    @model_validator(mode="before")
    @classmethod
    def _with_whole_options(cls, values: Any) -> Any:
        """Let the method check its options and fill in the others, so that equal choices have equal digests."""
        if not isinstance(values, Mapping) or values.get("method", AVIH) == AVIH:
            return values
        from avih.methods.registry import pipeline_of  # the methods need torch and these settings

        pipeline = pipeline_of(str(values["method"]))
        chosen = {"recovery": pipeline.recoveries[0], **pipeline.protect, **values}
        return chosen | {"options": pipeline.whole_options(chosen.get("options") or {})}

    @model_validator(mode="after")
    def _of_one_method(self) -> Self:
        if self.method == AVIH:
            foreign = sorted(self.options)
            if self.recovery not in AVIH_RECOVERIES:
                raise ValueError(
                    f"method avih has the recoveries {', '.join(AVIH_RECOVERIES)}, got {self.recovery}"
                )
        else:
            from avih.methods.registry import pipeline_of

            pipeline_of(self.method).check_recovery(self.recovery)
            fields = type(self).model_fields
            foreign = [name for name in AVIH_FIELDS if getattr(self, name) != fields[name].default]
        if foreign:
            raise ValueError(
                f"method {self.method} has no {', '.join(foreign)}; see avih methods {self.method}"
            )
        return self

    @model_serializer(mode="wrap")
    def _what_counts(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        left_out = ("options",) if self.method == AVIH else AVIH_FIELDS
        return {name: value for name, value in write(self).items() if name not in left_out}


class EvaluateSettings(Frozen):
    """What is measured and which limits hold."""

    probe_persons: Count = Field(12, description="Persons whose photos are the probes.")
    minimum_photos: Count = Field(13, description="Photos a probe person has at least.")
    seed: int = Field(0, ge=0, description="Which persons, when more qualify. No secret.")
    contact_sheet_images: Count = Field(8, description="Images on a contact sheet.")
    limits: Limits = Field(default_factory=Limits, description="Outside these the run ends with exit code 4.")


class RunSettings(Frozen):
    """All stages of one gallery, and where its shards are made."""

    index: IndexSettings = IndexSettings()
    align: AlignSettings = AlignSettings()
    key: KeySettings = KeySettings()
    protect: ProtectSettings = ProtectSettings()
    evaluate: EvaluateSettings = EvaluateSettings()
    runner: RunnerSettings = RunnerSettings()

    def aligned_to(self, template: str) -> Self:
        """Return these settings with faces aligned to a template: the recogniser's card decides which."""
        return self.model_copy(update={"align": self.align.model_copy(update={"template": template})})
