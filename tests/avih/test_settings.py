"""Settings: frozen, closed, with a digest that tells every difference, and the two presets."""

import json
import subprocess
import sys
from typing import Any

import pytest
from pydantic import ValidationError

from avih import settings
from avih.errors import UsageError
from avih.settings import (
    AlignSettings,
    EvaluateSettings,
    IndexSettings,
    KeySettings,
    ProtectSettings,
    RunSettings,
    preset,
)

MODELS = (IndexSettings, AlignSettings, KeySettings, ProtectSettings, EvaluateSettings, RunSettings)


@pytest.mark.parametrize("model", MODELS)
def test_settings_are_frozen_and_closed(model: type[settings.Frozen]) -> None:
    made = model()
    field = next(iter(model.model_fields))
    with pytest.raises(ValidationError, match="frozen"):
        setattr(made, field, getattr(made, field))
    with pytest.raises(ValidationError, match="Extra"):
        model(**{"seed_of_the_mixing": 3})


@pytest.mark.parametrize(
    ("model", "values"),
    [
        (IndexSettings, {"limit": 0}),
        (IndexSettings, {"shard_size": 0}),
        (AlignSettings, {"minimum_confidence": 1.5}),
        (KeySettings, {"steps": 0}),
        (KeySettings, {"learning_rate": 0.0}),
        (KeySettings, {"architecture": "unet"}),
        (ProtectSettings, {"recovery": "none"}),
        (ProtectSettings, {"momentum": -0.1}),
        (ProtectSettings, {"step_size": 0.0}),
        (EvaluateSettings, {"probe_persons": 0}),
    ],
)
def test_values_out_of_range_are_refused(model: type[settings.Frozen], values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(values))):
        model(**values)


@pytest.mark.parametrize("model", MODELS)
def test_the_digest_survives_the_way_through_json(model: type[settings.Frozen]) -> None:
    made = model()
    again = model.model_validate_json(made.model_dump_json())
    shuffled = dict(reversed(json.loads(made.model_dump_json()).items()))
    assert again == made
    assert made.digest() == again.digest() == model(**shuffled).digest() == model().digest()
    assert len(made.digest()) == 64


def test_the_digest_is_the_same_in_another_process() -> None:
    code = "from avih.settings import *; print(RunSettings().digest())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == RunSettings().digest()


def test_every_field_of_the_protection_changes_the_digest() -> None:
    others: dict[str, Any] = {
        "recovery": "unmixed",
        "rule": "decaying",
        "steps": 201,
        "step_size": 0.21,
        "momentum": 0.91,
        "stop_cosine": None,
        "feature_weight": 2.0,
        "recovery_weight": 0.3,
        "variance_weight": 0.002,
        "batch_size": 17,
        "precision": "float32",
        "stop_mse": 0.01,
        "minimum_cosine": 0.97,
        "minimum_ssim_d": 0.4,
    }
    assert set(others) | {"method", "options"} == set(ProtectSettings.model_fields)
    digests = {ProtectSettings(**{name: value}).digest() for name, value in others.items()}
    assert len(digests | {ProtectSettings().digest()}) == len(others) + 1


def test_a_nested_change_changes_the_digest_of_the_run() -> None:
    assert RunSettings(index=IndexSettings(shard_size=65)).digest() != RunSettings().digest()


def test_equal_numbers_have_equal_digests() -> None:
    assert KeySettings(l1_weight=1).digest() == KeySettings(l1_weight=1.0).digest()


def test_the_generator_options_fit_the_architecture() -> None:
    assert KeySettings(width=16, blocks=2).options() == {"width": 16, "blocks": 2}
    resnet = KeySettings(architecture="resnet", trunk_norm_only=True).options()
    assert resnet == {"width": 48, "blocks": 4, "trunk_norm_only": True}


def test_the_fast_preset_is_the_default() -> None:
    assert preset("fast") == RunSettings()
    assert (preset("fast").protect.recovery, preset("fast").key.architecture) == ("keyed", "codec")


def test_the_paper_preset_has_the_papers_numbers() -> None:
    paper = preset("paper")
    assert (paper.key.architecture, paper.key.width, paper.key.blocks) == ("resnet", 64, 9)
    assert (paper.key.l1_weight, paper.key.adversarial_weight, paper.key.batch_size) == (100.0, 1.0, 1)
    hiding = paper.protect
    assert (hiding.recovery, hiding.rule, hiding.steps, hiding.stop_cosine) == (
        "unmixed",
        "decaying",
        800,
        None,
    )
    assert (hiding.recovery_weight, hiding.variance_weight) == (0.2, 0.001)
    assert (hiding.step_size, hiding.momentum) == (0.01, 0.3)


@pytest.mark.parametrize("name", ["fast", "paper"])
def test_key_steps_replace_those_of_the_preset_and_nothing_else(name: str) -> None:
    short = preset(name, key_steps=7)
    assert short.key.steps == 7
    assert short.model_copy(update={"key": preset(name).key}) == preset(name)


@pytest.mark.parametrize("steps", [0, -5])
def test_key_steps_are_checked_like_any_setting(steps: int) -> None:
    with pytest.raises((UsageError, ValidationError)):
        preset("fast", key_steps=steps)


def test_another_preset_is_refused() -> None:
    with pytest.raises(UsageError, match="fast, paper"):
        preset("slow")


@pytest.mark.parametrize(
    ("name", "recovery", "architecture", "protect"),
    [
        ("fast", "keyed", "codec", ProtectSettings()),
        ("fast", "sealed", "none", settings.SEALED_PROTECT),
        ("fast", "unmixed", "resnet", settings.FAST_UNMIXED_PROTECT),
        ("paper", "unmixed", "resnet", settings.PAPER_PROTECT),
    ],
)
def test_a_preset_has_settings_per_recovery(
    name: str, recovery: str, architecture: str, protect: ProtectSettings
) -> None:
    chosen = preset(name, recovery=recovery)
    assert (chosen.key.architecture, chosen.protect) == (architecture, protect)
    assert chosen.protect.recovery == recovery
    assert settings.ARCHITECTURE_OF[chosen.protect.recovery] == architecture


@pytest.mark.parametrize(("name", "recovery"), [("paper", "sealed"), ("paper", "keyed"), ("fast", "open")])
def test_a_recovery_that_a_preset_has_not_is_refused(name: str, recovery: str) -> None:
    with pytest.raises(UsageError, match=f"fast with sealed.*got '{name}' with '{recovery}'"):
        preset(name, recovery=recovery)


def test_a_sealed_key_has_no_training_steps() -> None:
    sealed = preset("fast", recovery="sealed").key
    assert (sealed.training_steps, sealed.options()) == (0, {})
    assert KeySettings(steps=7).training_steps == 7
    with pytest.raises(UsageError, match="no generator to train"):
        preset("fast", recovery="sealed", key_steps=7)
