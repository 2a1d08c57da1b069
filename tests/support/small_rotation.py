"""The cheapest rotation there is: every step is taken, none is hard. Attacks are tested elsewhere."""

from avih.attack.settings import AttackSettings
from avih.key_gate import GateSettings

GATE = GateSettings(images=2, steps=2)
# Limits that any result passes: how a verdict is reached has tests of its own.
ATTACK = AttackSettings(
    pairs=(2,), steps=1, minimum_steps=1, test_images=2, width=4, blocks=0, judge_width=4, prior_steps=0,
    batch_size=1, control_pairs=2, control_tests=1, control_key_steps=1, control_key_width=4, control_steps=1,
    control_ssim_advantage=-1, pass_ssim_advantage=1, fail_ssim_advantage=1, second_minimum=1.0,
)  # fmt: skip
