"""How hard the attack tries, and which results pass; the weights and seeds of an attack are no secrets."""

from pydantic import Field

from avih.settings import Count, Fraction, Frozen


class AttackSettings(Frozen):
    """Which pairs leak, how the attack network is trained, and the limits of the verdict."""

    pairs: tuple[Count, ...] = Field((8, 32), description="Leaked pairs tried; the whole leak comes last.")
    most_images: Count = Field(1000, description="Most images of a version that are read, whole persons.")
    test_images: Count = Field(48, description="Most images that are attacked and never leaked.")
    outsiders: Fraction = Field(
        0.25, description="Share of persons with three photos or more who never leak."
    )

    steps: Count = Field(160, description="Most training steps of one attack network.")
    minimum_steps: Count = Field(
        100, description="Steps before training may stop; never fewer than the control needed."
    )
    check_every: Count = Field(20, description="Steps between two looks at the held-back pairs.")
    patience: Count = Field(2, description="Looks without progress after which training stops.")
    batch_size: Count = Field(4, description="Pairs per step.")
    learning_rate: float = Field(2e-3, gt=0, description="Adam's step size.")
    width: Count = Field(16, description="Channels of the first layer (the papers' generator: 64).")
    blocks: int = Field(3, ge=0, description="Residual blocks (the papers' generator: 9).")
    judge_width: Count = Field(8, description="Channels of the PatchGAN (pix2pix: 64).")
    l1_weight: float = Field(1.0, ge=0, description="Weight of the mean absolute error.")
    ssim_weight: float = Field(1.0, ge=0, description="Weight of 1 - SSIM.")
    adversarial_weight: float = Field(0.002, ge=0, description="Weight of the PatchGAN term.")
    identity_weight: float = Field(
        0.02, ge=0, description="Weight of 1 - cosine of the recogniser's features."
    )
    prior_steps: int = Field(
        40, ge=0, description="Steps that improve the blank guess (best constant picture)."
    )
    seed: int = Field(0, ge=0, description="Start of the attack networks. No secret.")

    control_pairs: Count = Field(48, description="Leaked pairs of the unmixed sample (positive control).")
    control_tests: Count = Field(16, description="Images of the unmixed sample that are attacked.")
    control_key_steps: Count = Field(200, description="Training steps of the sample's own generator.")
    control_key_width: Count = Field(12, description="Channels of the sample's own generator.")
    control_steps: Count = Field(50, description="Most gradient steps per image of the sample.")

    control_ssim_advantage: float = Field(
        0.1, ge=-1, le=1, description="SSIM over the blank guess that the control must reach."
    )
    fail_ssim_advantage: float = Field(0.15, ge=-1, le=1, description="Fail from here on.")
    pass_ssim_advantage: float = Field(0.05, ge=-1, le=1, description="Pass up to here; between: warn.")
    fail_id_advantage: Fraction = Field(
        0.10, description="Fail if so much more often recognised, and surely so."
    )
    pass_id_advantage: Fraction = Field(0.02, description="Pass up to here, or up to twice the chance level.")
    fail_significance: Fraction = Field(
        0.001, description="Chance that a blank guess is recognised as often, below which a rate is sure."
    )
    warn_significance: Fraction = Field(0.01, description="The same for a warning, against the pass limit.")
    second_minimum: Fraction = Field(
        0.5, description="Rank-1 on originals that the second recogniser needs for its figures to count."
    )
