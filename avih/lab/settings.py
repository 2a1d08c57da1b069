"""How hard the lab tries, and what passes. Seeds of attacks are no secrets."""

from typing import Final, Literal

from pydantic import Field

from avih.attack.settings import AttackSettings
from avih.errors import UsageError
from avih.settings import Count, Fraction, Frozen

Profile = Literal["quick", "full"]


class LabLimits(Frozen):
    """From figures to a verdict; identification is judged with luck allowed for."""

    pass_id_advantage: Fraction = Field(
        0.02, description="Pass up to here over the prior, or up to twice chance."
    )
    fail_id_advantage: Fraction = Field(0.10, description="Fail from here on, if surely so.")
    fail_tar: Fraction = Field(0.05, description="Fail from this TAR on, if surely above the prior's.")
    false_match_rate: Fraction = Field(0.001, description="FMR at which TAR is read.")
    pass_ssim_advantage: float = Field(0.05, ge=-1, le=1, description="Pass up to here over the prior.")
    fail_ssim_advantage: float = Field(0.15, ge=-1, le=1, description="Fail from here on.")
    originals: Fraction = Field(
        0.9, description="Rank-1 of the second recogniser on originals that the first control needs."
    )
    second_minimum: Fraction = Field(
        0.5, description="Rank-1 on originals below which identification does not count at all."
    )


class LabSettings(Frozen):
    """Sizes of everything that an attack does; ``quick`` and ``full`` are the two presets."""

    profile: Profile = Field("quick", description="Name of the preset.")
    limits: LabLimits = LabLimits()
    network: AttackSettings = Field(
        AttackSettings(), description="Recipe of every attack network (width, steps, losses)."
    )
    targets: Count = Field(32, description="Most attacked pictures; of persons of whom nothing leaked.")
    most_images: Count = Field(600, description="Most stored pictures that are read, whole persons.")
    leaks: tuple[Count, ...] = Field((16,), description="Leaked pairs tried; the whole leak comes last.")
    most_leaked: Count = Field(96, description="The whole leak, at most.")
    every_loss_everywhere: bool = Field(
        False, description="Try all training losses at every size of the leak, not at the largest only."
    )
    own_keys: Count = Field(
        2, description="Keys of the lab's own for crossed keys, external keys and versions."
    )
    many_keys: tuple[Count, ...] = Field((1, 2), description="Key counts of the attacker who makes own keys.")
    key_pictures: Count = Field(8, description="Pictures hidden under each key of the lab's own.")
    cheap_keys: bool = Field(
        True,
        description="The lab's own keys: unmixed by the short recipe of the rotation check, keyed with the "
        "gallery's generator. Otherwise by the gallery's own recipe, which takes hours and a graphics card.",
    )
    versions: tuple[Count, ...] = Field((3,), description="Versions of one picture that are compared.")
    fit_pictures: Count = Field(4, description="Pictures that are fitted one by one (gradient, inversion).")
    fit_steps: Count = Field(40, description="Steps of such a fit.")
    seeds: Count = Field(2, description="Guessed small seeds, the true one among them.")
    shown: Count = Field(6, description="Reconstructions kept per attack for consenting data sets.")
    seed: int = Field(0, ge=0, description="Start of everything random in the attacks. No secret.")


QUICK: Final = LabSettings(network=AttackSettings(steps=80, minimum_steps=60))
FULL: Final = LabSettings(
    profile="full",
    network=AttackSettings(steps=300, minimum_steps=150, width=24, test_images=96),
    targets=64,
    most_images=2000,
    leaks=(1, 4, 16, 64),
    most_leaked=512,
    every_loss_everywhere=True,
    own_keys=4,
    many_keys=(1, 2, 4, 8, 16),
    key_pictures=24,
    versions=(2, 4, 8, 16),
    fit_pictures=8,
    fit_steps=200,
    seeds=4,
)
PROFILES: Final = {"quick": QUICK, "full": FULL}


def lab_settings(profile: str) -> LabSettings:
    """Return a preset.

    Raises:
        UsageError: there is no such profile.
    """
    if profile not in PROFILES:
        raise UsageError(f"Expected the profile quick or full, got {profile!r}.")
    return PROFILES[profile]
